/**
 * The outbox of notifications (migration 0213): rows that tell persons what waits for them, written in the transaction of what
 * they tell. They name roles and ids; addresses are resolved by the database when a channel takes them.
 */
import { z } from 'zod';
import type { SqlClient } from '../../db/database.ts';
import { queryOne, queryRows } from '../../db/query.ts';
import type { Meaning } from '../../persons/decision.ts';
import type { Role } from '../../persons/roles.ts';
import { isoOf, type UtcInstant } from '../../time/clock.ts';
import type { ReportModel } from '../model/model.ts';
import type { Deadline } from './deadline.ts';

interface Notification {
  /** What is told, once. */
  readonly subject: string;
  readonly kind: string;
  readonly role: Role | null;
  /** The one person who is told, by e-mail address; stored as the person's id. */
  readonly person?: string | null;
  readonly reportId: string;
  readonly details: Readonly<Record<string, string | readonly string[]>>;
}

/** Puts a row into the outbox; false when the subject was told before. */
async function notify(client: SqlClient, at: UtcInstant, told: Notification): Promise<boolean> {
  const { subject, kind, role, person, reportId, details } = told;
  const row = await queryOne(
    client,
    z.object({ fresh: z.boolean() }),
    `select ops.notify($1::text, $2::text, $3::timestamptz, $4::text, $5::text, $6::uuid, $7::jsonb) as fresh`,
    [subject, kind, isoOf(at), role, person ?? null, reportId, JSON.stringify(details)],
  );
  return row.fresh;
}

/** Tells preparers of a draft that waits for them, and of critical controls that failed in it. An interim one waits for nobody. */
export async function notifyGenerated(client: SqlClient, at: UtcInstant, model: ReportModel): Promise<void> {
  const { id: reportId } = model.report;
  if (!model.period.interim) {
    const subject = `generated:${reportId}`;
    await notify(client, at, { subject, kind: 'report-generated', role: 'preparer', reportId, details: {} });
  }
  const controls = model.controls
    .filter(({ severity, status }) => severity === 'critical' && status === 'fail')
    .map(({ id }) => id);
  if (controls.length === 0) return;
  const told = { subject: `critical:${reportId}`, kind: 'critical-findings', role: 'preparer', reportId } as const;
  await notify(client, at, { ...told, details: { controls } });
}

/** Who is told of a decision: those whose step is next. Null: the person who submitted. */
const TOLD: Readonly<Partial<Record<Meaning, { readonly kind: string; readonly role: Role | null }>>> = {
  submit: { kind: 'report-submitted', role: 'reviewer' },
  recall: { kind: 'report-recalled', role: 'reviewer' },
  review: { kind: 'report-reviewed', role: 'approver' },
  reject: { kind: 'report-rejected', role: null },
  approve: { kind: 'report-approved', role: 'records_manager' },
};

/** Tells of a decision. `submitter`: e-mail address of the person who submitted the report last. */
export async function notifyDecision(
  client: SqlClient,
  at: UtcInstant,
  decision: {
    readonly id: string;
    readonly meaning: Meaning;
    readonly reportId: string;
    readonly submitter: string | null;
  },
): Promise<void> {
  const told = TOLD[decision.meaning];
  if (told === undefined) return;
  const person = told.role === null ? decision.submitter : null;
  const subject = `decision:${decision.id}`;
  await notify(client, at, { subject, ...told, person, reportId: decision.reportId, details: {} });
}

const ASKED = { submit: 'preparer', review: 'reviewer', approve: 'approver' } as const;

/** Tells of a deadline that is near or over, each once a report and step; true when it was not told before. */
export async function notifyDeadline(
  client: SqlClient,
  at: UtcInstant,
  { reportId, step, dueAt, state }: Deadline & { readonly reportId: string },
): Promise<boolean> {
  if (state === 'open') return false;
  const kind = state === 'over' ? 'deadline-over' : 'deadline-near';
  const details = { step, dueAt };
  return notify(client, at, { subject: `${kind}:${reportId}:${step}`, kind, role: ASKED[step], reportId, details });
}

const takenSchema = z.object({
  id: z.string(),
  kind: z.string(),
  role: z.string().nullable(),
  recipients: z.int(),
  reportId: z.string().nullable(),
  framework: z.string().nullable(),
  periodStart: z.string().nullable(),
  periodEnd: z.string().nullable(),
  version: z.int().nullable(),
  details: z.record(z.string(), z.unknown()),
});

/** What the log says of a notification: how many it is for, not who. */
export type TakenNotification = z.infer<typeof takenSchema>;

/** Takes what a channel was not told yet, oldest first; commit after telling it. */
export function takeNotifications(client: SqlClient, channel: string, limit: number): Promise<TakenNotification[]> {
  return queryRows(
    client,
    takenSchema,
    `select id::text, kind, role, cardinality(recipients) as recipients, report_id::text as "reportId", framework,
            period_start::text as "periodStart", period_end::text as "periodEnd", report_version as version, details
       from ops.take_notifications($1::text, $2::integer)`,
    [channel, limit],
  );
}
