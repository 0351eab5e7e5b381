/** The queries of reports: the facts as auditkeep_report, the reports' own rows as the engine. */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { SqlClient } from '../../db/database.ts';
import { execute, queryMaybe, queryOne, queryPrepared, queryRows } from '../../db/query.ts';
import { streamRows } from '../../db/stream.ts';
import { transact } from '../../db/transaction.ts';
import { isoOf } from '../../time/clock.ts';
import type { ReportPeriod } from '../../time/report-period.ts';

/** Holds every partition of the event views where it is. Takes no snapshot, so it comes before the first query. */
export async function lockFacts(client: SqlClient): Promise<void> {
  await execute(client, 'lock table facts.event, facts.security_event, facts.data_access in access share mode');
}

const sourceSchema = z.object({
  database: z.string(),
  serverVersion: z.string(),
  schemaVersion: z.string(),
  role: z.string(),
  snapshot: z.string(),
  chainSize: z.bigint(),
  chainHead: z.string().nullable(),
  events: z.bigint(),
});

/** Who reads what, under which snapshot, and how far the chain reaches. */
export function readSource(client: SqlClient): Promise<z.infer<typeof sourceSchema>> {
  return queryOne(
    client,
    sourceSchema,
    `select pg_catalog.current_database()::text as database,
            pg_catalog.current_setting('server_version') as "serverVersion",
            coalesce((select i.schema_version from facts.installation i), '') as "schemaVersion",
            current_user::text as role,
            pg_catalog.pg_current_snapshot()::text as snapshot,
            coalesce((select h.size from facts.chain_head h), 0)::bigint as "chainSize",
            (select h.chain_hash from facts.chain_head h) as "chainHead",
            (select count(*) from facts.event)::bigint as events`,
  );
}

/** EXPLAIN's JSON of a checked statement. */
export async function explainStatement(client: SqlClient, sql: string, values: readonly string[]): Promise<unknown> {
  // Through a portal, since the extended protocol takes one statement only, whatever the text holds.
  const shape = z.object({ 'QUERY PLAN': z.unknown() });
  const plans: unknown[] = [];
  for await (const batch of streamRows(client, { shape, text: `explain (verbose, format json) ${sql}`, values })) {
    plans.push(...batch.map((row) => row['QUERY PLAN']));
  }
  return plans[0];
}

const countSchema = z.object({ rows: z.bigint(), keys: z.bigint() });

/** The statement that counts a population. */
export function populationQuery(sql: string, key: string): string {
  return `select count(*)::bigint as rows, count(distinct population.${key})::bigint as keys from (${sql}) as population`;
}

/** Rows and distinct keys of a population. */
export function countPopulation(
  client: SqlClient,
  query: { readonly sql: string; readonly key: string; readonly values: readonly string[] },
): Promise<z.infer<typeof countSchema>> {
  return queryOne(client, countSchema, populationQuery(query.sql, query.key), query.values);
}

/** The statement around one that counts. */
export function countQuery(sql: string): string {
  return `select counted.n::bigint as n from (${sql}) as counted`;
}

/** The independent count, or that of a check. */
export async function countIndependently(client: SqlClient, sql: string, values: readonly string[]): Promise<bigint> {
  const shape = z.object({ n: z.bigint() });
  return (await queryOne(client, shape, countQuery(sql), values)).n;
}

interface ExceptionColumn {
  readonly name: string;
  readonly kind: string;
}

/** The statement that lists exceptions: texts of the columns. */
export function exceptionsQuery(sql: string, columns: readonly ExceptionColumn[]): string {
  const texts = columns.map(({ name, kind }) => `${columnText(`found.${name}`, kind)} as ${name}`);
  return `select ${texts.join(', ')} from (${sql}) as found`;
}

const figuresSchema = z.object({
  rows: z.bigint(),
  keys: z.bigint(),
  exceptions: z.bigint(),
  independent: z.bigint(),
  missing: z.bigint(),
  stale: z.bigint(),
});

/**
 * All figures of a control at once, from statements whose parameters are numbered through; null where there is no check. Planned
 * once a connection.
 */
export function countFigures(
  client: SqlClient,
  control: {
    readonly population: string;
    readonly exceptions: string;
    readonly completeness: string;
    readonly prerequisite: string | null;
    readonly freshness: string | null;
  },
  values: readonly string[],
): Promise<z.infer<typeof figuresSchema>> {
  const counted = (sql: string | null) => (sql === null ? '0::bigint' : `(${countQuery(sql)})`);
  const text = `select p.rows, p.keys, (select count(*) from (${control.exceptions}) as listed) as exceptions,
            ${counted(control.completeness)} as independent, ${counted(control.prerequisite)} as missing,
            ${counted(control.freshness)} as stale
       from (${control.population}) as p`;
  const name = createHash('sha256').update(text).digest('base64url'); // PostgreSQL takes 63 characters
  return queryPrepared(client, figuresSchema, { name, text, values });
}

/** Exceptions in batches. */
export function streamExceptions(
  client: SqlClient,
  query: {
    readonly sql: string;
    readonly columns: readonly ExceptionColumn[];
    readonly values: readonly string[];
  },
): AsyncGenerator<Record<string, string | null>[]> {
  return streamRows(client, {
    shape: z.record(z.string(), z.string().nullable()),
    text: exceptionsQuery(query.sql, query.columns),
    values: query.values,
  });
}

/** An instant is printed in UTC to the second; everything else as PostgreSQL prints it. Names are parsed identifiers. */
function columnText(name: string, kind: string): string {
  if (kind !== 'instant') return `${name}::text`;
  return `pg_catalog.to_char(${name}::timestamptz at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')`;
}

/** This connection's process, for cancelling what it runs. */
export async function backendPid(client: SqlClient): Promise<number> {
  return (await queryOne(client, z.object({ pid: z.int() }), 'select pg_catalog.pg_backend_pid() as pid')).pid;
}

/**
 * Cancels what another connection of the same login runs. As the login, not as the role it has taken on: what a
 * superuser's session runs, even under SET ROLE, only a superuser may cancel.
 */
export async function cancelBackend(client: SqlClient, pid: number): Promise<void> {
  await transact(client, async () => {
    await execute(client, 'set local role none');
    await execute(client, 'select pg_catalog.pg_cancel_backend($1::int)', [pid]);
  });
}

const reportSchema = z.object({
  id: z.string(),
  root: z.string(),
  version: z.int(),
  framework: z.string(),
  periodStart: z.string(),
  periodEnd: z.string(),
  status: z.string(),
  hash: z.string(),
  pdfSha256: z.string(),
  interim: z.boolean(),
  /** There is a newer version. */
  superseded: z.boolean(),
  generatedBy: z.string(),
  generatedAt: z.string(),
  engineVersion: z.string(),
  periodStartAt: z.string(),
  periodEndAt: z.string(),
  periodZone: z.string(),
  approvers: z.int(),
});
export type ReportRow = z.infer<typeof reportSchema>;

const REPORT_COLUMNS = `r.id::text as id, r.report_root::text as root, r.version, r.compliance_framework as framework,
  r.report_period_start::text as "periodStart", r.report_period_end::text as "periodEnd", r.status, r.report_hash as hash,
  r.review_pdf_sha256 as "pdfSha256", r.interim,
  exists (select from audit.compliance_reports n where n.supersedes = r.id) as superseded, r.generated_at::text as "generatedAt",
  r.engine_version as "engineVersion", r.period_zone as "periodZone",
  coalesce((select q.approvers from compliance.report_quorum q where q.report_id = r.id), 1) as approvers,
  to_char(r.period_start_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as "periodStartAt",
  to_char(r.period_end_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as "periodEndAt",
  (select p.email from compliance.person p where p.id = r.generated_by) as "generatedBy"`;

/** All reports, newest first. */
export function listReportRows(client: SqlClient): Promise<ReportRow[]> {
  return queryRows(
    client,
    reportSchema,
    `select ${REPORT_COLUMNS} from audit.compliance_reports r order by r.generated_at desc, r.id`,
  );
}

/** The reports whose id starts with a prefix: two rows at most, since one more than one is already ambiguous. */
export function findReportRows(client: SqlClient, idPrefix: string): Promise<ReportRow[]> {
  return queryRows(
    client,
    reportSchema,
    `select ${REPORT_COLUMNS} from audit.compliance_reports r where pg_catalog.starts_with(r.id::text, $1) limit 2`,
    [idPrefix],
  );
}

/** A report's envelope, or null. */
export async function readReportEnvelope(client: SqlClient, id: string): Promise<string | null> {
  const row = await queryMaybe(
    client,
    z.object({ envelope: z.string() }),
    'select r.report_data_encrypted as envelope from audit.compliance_reports r where r.id = $1::uuid',
    [id],
  );
  return row?.envelope ?? null;
}

export interface NewReport {
  readonly id: string;
  readonly framework: string;
  readonly period: ReportPeriod;
  readonly envelope: string;
  readonly hash: string;
  readonly pdfSha256: string;
  /** E-mail of the person; null is the service person. */
  readonly generatedBy: string | null;
  readonly generatedAt: string;
  readonly durationMs: number;
  readonly engineVersion: string;
  readonly supersedes: string | null;
  /** How many persons have to approve. */
  readonly approvers: number;
}

/** Inserts a draft; the database refuses with an AK... SQLSTATE. */
export async function insertReport(client: SqlClient, report: NewReport): Promise<void> {
  const { period } = report;
  await execute(
    client,
    `select audit.create_report($1::uuid, 'framework', $2::text, $3::date, $4::date, $5::text, $6::timestamptz,
       $7::timestamptz, $8::text, $9::text, $10::text, $11::text, $12::timestamptz, $13::integer, $14::text, $15::boolean,
       $16::uuid)`,
    [
      report.id,
      report.framework,
      period.startDate,
      period.endDate,
      period.zone,
      isoOf(period.startAt),
      isoOf(period.endAt),
      report.envelope,
      report.hash,
      report.pdfSha256,
      report.generatedBy,
      report.generatedAt,
      report.durationMs,
      report.engineVersion,
      period.interim,
      report.supersedes,
    ],
  );
  if (report.approvers === 1) return;
  await execute(client, 'select compliance.set_report_quorum($1::uuid, $2::integer)', [report.id, report.approvers]);
}
