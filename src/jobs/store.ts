/** Queries of runs and schedules. */
import { z } from 'zod';
import type { SqlClient } from '../db/database.ts';
import { execute, queryOne, queryRows } from '../db/query.ts';
import { isoOf, type UtcInstant } from '../time/clock.ts';

export type RunOutcome = 'done' | 'findings' | 'failed' | 'stopped' | 'lost';

const runShape = z.object({
  id: z.string(),
  job: z.string(),
  queueJobId: z.string(),
  attempt: z.number(),
  dueAt: z.string().nullable(),
  startedAt: z.string(),
  finishedAt: z.string().nullable(),
  outcome: z.enum(['done', 'findings', 'failed', 'stopped', 'lost']).nullable(),
  summary: z.string().nullable(),
  counts: z.record(z.string(), z.number()),
  errorCode: z.string().nullable(),
});

/** One attempt of a job; times are PostgreSQL's text in UTC. */
export type Run = z.infer<typeof runShape>;

const RUN_COLUMNS = `id::text, job, queue_job_id::text as "queueJobId", attempt, due_at as "dueAt",
  started_at as "startedAt", finished_at as "finishedAt", outcome, summary, counts, error_code as "errorCode"`;

export interface RunStart {
  readonly job: string;
  readonly queueJobId: string;
  readonly attempt: number;
  readonly dueAt: string | null;
  readonly startedAt: UtcInstant;
}

/** Records that an attempt starts and gives its id; earlier attempts that never ended become `lost`. */
export async function startRun(client: SqlClient, start: RunStart): Promise<string> {
  const row = await queryOne(
    client,
    z.object({ id: z.string() }),
    'select ops.start_run($1::text, $2::uuid, $3::int, $4::timestamptz, $5::timestamptz)::text as id',
    [start.job, start.queueJobId, start.attempt, start.dueAt, isoOf(start.startedAt)],
  );
  return row.id;
}

export interface RunEnd {
  readonly finishedAt: UtcInstant;
  readonly outcome: RunOutcome;
  readonly summary: string;
  readonly counts: Readonly<Record<string, number>>;
  readonly errorCode: string | null;
}

/** Records how an attempt ended; false when it had been given up as lost. */
export async function finishRun(client: SqlClient, id: string, end: RunEnd): Promise<boolean> {
  const row = await queryOne(
    client,
    z.object({ ended: z.boolean() }),
    'select ops.finish_run($1::uuid, $2::timestamptz, $3::text, $4::text, $5::jsonb, $6::text) as ended',
    [id, isoOf(end.finishedAt), end.outcome, end.summary, JSON.stringify(end.counts), end.errorCode],
  );
  return row.ended;
}

/** The attempts of one queued job, first attempt first. */
export function listAttempts(client: SqlClient, queueJobId: string): Promise<Run[]> {
  return queryRows(
    client,
    runShape,
    `select ${RUN_COLUMNS} from ops.run where queue_job_id = $1::uuid order by attempt`,
    [queueJobId],
  );
}

const scheduleShape = z.object({
  job: z.string(),
  version: z.number(),
  cron: z.string(),
  timeZone: z.string(),
  paused: z.boolean(),
  changedAt: z.string(),
  changedBy: z.string(),
  reason: z.string(),
});

/** A job's schedule as it counts now. */
export type StoredSchedule = z.infer<typeof scheduleShape>;

export function listStoredSchedules(client: SqlClient): Promise<StoredSchedule[]> {
  return queryRows(
    client,
    scheduleShape,
    `select job, version, cron, time_zone as "timeZone", paused, changed_at as "changedAt", changed_by as "changedBy",
            reason from ops.schedule order by job`,
  );
}

export interface ScheduleChange {
  readonly job: string;
  readonly cron: string;
  readonly timeZone: string;
  readonly paused: boolean;
  readonly changedBy: string;
  readonly reason: string;
}

/** Adds a version of a schedule and gives its number. */
export async function changeSchedule(client: SqlClient, change: ScheduleChange, now: UtcInstant): Promise<number> {
  const row = await queryOne(
    client,
    z.object({ version: z.number() }),
    'select ops.change_schedule($1::text, $2::text, $3::text, $4::boolean, $5::timestamptz, $6::text, $7::text) as version',
    [change.job, change.cron, change.timeZone, change.paused, isoOf(now), change.changedBy, change.reason],
  );
  return row.version;
}

/** What the release's own versions say; an operator who names nobody acts as `auditkeep` too, with a reason of their own. */
const GIVEN = 'default of the release';
const TAKEN_BACK = 'no default of the release any more';
const OF_THE_RELEASE = `s.changed_by = 'auditkeep' and s.reason in ('${GIVEN}', '${TAKEN_BACK}')`;

/** Gives a schedule of this release to every job that has none; an operator's own stays. */
export async function installSchedule(
  client: SqlClient,
  schedule: { job: string; cron: string; timeZone: string; paused: boolean },
): Promise<void> {
  await execute(
    client,
    `select ops.change_schedule($1::text, $2::text, $3::text, $4::boolean, pg_catalog.now(), 'auditkeep', '${GIVEN}')
      where not exists (
        select from ops.schedule s
         where s.job = $1::text
           and (not (${OF_THE_RELEASE}) or (s.paused = $4::boolean and s.cron = $2::text and s.time_zone = $3::text)))`,
    [schedule.job, schedule.cron, schedule.timeZone, schedule.paused],
  );
}

/** Pauses the schedule that an older release gave to a job and this one does not; an operator's own stays. */
export async function retireSchedule(client: SqlClient, job: string): Promise<void> {
  await execute(
    client,
    `select ops.change_schedule(s.job, s.cron, s.time_zone, true, pg_catalog.now(), 'auditkeep', '${TAKEN_BACK}')
       from ops.schedule s where s.job = $1::text and ${OF_THE_RELEASE} and not s.paused`,
    [job],
  );
}

/**
 * Whether the run that was due at an instant is taken care of: it waits or runs in the queue, or it ended (with
 * `succeeded` only a success counts).
 */
export async function isTakenCareOf(
  client: SqlClient,
  due: { job: string; dueAt: UtcInstant; succeeded: boolean },
): Promise<boolean> {
  const row = await queryOne(
    client,
    z.object({ taken: z.boolean() }),
    `select exists (select from ops.run
                     where job = $1::text and due_at >= $2::timestamptz and finished_at is not null
                       and (outcome in ('done', 'findings') or (outcome = 'failed' and not $3::boolean)))
         or exists (select from pgboss.job
                     where name = $1::text and state < 'completed'
                       and (data ->> 'dueAt')::timestamptz >= $2::timestamptz) as taken`,
    [due.job, isoOf(due.dueAt), due.succeeded],
  );
  return row.taken;
}

const unnotedShape = z.object({
  job: z.string(),
  version: z.number(),
  cron: z.string(),
  timeZone: z.string(),
  after: z.string(),
});

/** Schedules that are not paused, each with the instant up to which its due runs are noted. */
export function listUnnoted(client: SqlClient): Promise<z.infer<typeof unnotedShape>[]> {
  return queryRows(
    client,
    unnotedShape,
    `select s.job, s.version, s.cron, s.time_zone as "timeZone",
            to_char(greatest(s.changed_at, (select max(d.due_at) from ops.due d where d.job = s.job)) at time zone 'UTC',
                    'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as after
       from ops.schedule s where not s.paused order by s.job`,
  );
}

/** Notes due instants of a job; those that are noted already stay. */
export async function noteDue(
  client: SqlClient,
  input: { readonly job: string; readonly version: number; readonly due: readonly UtcInstant[] },
): Promise<void> {
  await execute(client, 'select ops.note_due($1::text, $2::int, $3::timestamptz[])', [
    input.job,
    input.version,
    input.due.map(isoOf),
  ]);
}

/**
 * The instants at which a job was due, up to one, that no run has taken care of that began after them and succeeded, oldest
 * first, as ISO 8601.
 */
export async function listOutstanding(client: SqlClient, job: string, until: UtcInstant): Promise<string[]> {
  const rows = await queryRows(
    client,
    z.object({ dueAt: z.string() }),
    `select to_char(d.due_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as "dueAt" from ops.due d
      where d.job = $1::text and d.due_at <= $2::timestamptz
        and not exists (select from ops.run r
                         where r.job = d.job and r.started_at >= d.due_at and r.outcome in ('done', 'findings'))
      order by d.due_at`,
    [job, isoOf(until)],
  );
  return rows.map(({ dueAt }) => dueAt);
}
