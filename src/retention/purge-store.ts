/** The queries on plans of destruction and certificates: one function each. */
import { z } from 'zod';
import type { SqlClient } from '../db/database.ts';
import { execute, queryMaybe, queryOne, queryRows } from '../db/query.ts';
import { parseInstant, type UtcInstant } from '../time/clock.ts';
import { FAMILIES, type FamilyName } from './policy.ts';
import type { PurgeFacts } from './purge-plan.ts';

const ISO = `'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'`;

const instantShape = z.string().transform((text, check): UtcInstant => {
  const instant = parseInstant(text);
  if (instant === null) check.addIssue({ code: 'custom', message: 'not an instant' });
  return instant ?? z.NEVER;
});

const factsShape = z
  .object({
    unit_id: z.bigint(),
    table_name: z.enum(FAMILIES),
    category: z.string().nullable(),
    relation_name: z.string(),
    lower_bound: instantShape.nullable(),
    upper_bound: instantShape,
    generation: z.number(),
    state: z.string(),
    bytes: z.bigint().nullable(),
    row_count: z.bigint().nullable(),
    fingerprint: z.string().nullable(),
    held: z.boolean(),
    longer: z.boolean(),
  })
  .transform(
    (row): PurgeFacts => ({
      ...{ unitId: row.unit_id, table: row.table_name, category: row.category, partition: row.relation_name },
      ...{ from: row.lower_bound, to: row.upper_bound, generation: row.generation, state: row.state },
      ...{ bytes: row.bytes ?? 0n, held: row.held, hasLongerRows: row.longer },
      sealed:
        row.row_count === null || row.fingerprint === null
          ? null
          : { rows: row.row_count, fingerprint: row.fingerprint },
    }),
  );

/** Every unit that could be reviewed for destruction (all, or these), oldest first. */
export function readPurgeFacts(client: SqlClient, only: readonly bigint[] | null = null): Promise<PurgeFacts[]> {
  return queryRows(
    client,
    factsShape,
    `select u.unit_id, u.table_name, nullif(u.category, '') as category, u.relation_name, u.generation, u.state,
            case when isfinite(u.lower_bound) then to_char(u.lower_bound at time zone 'UTC', ${ISO}) end as lower_bound,
            to_char(u.upper_bound at time zone 'UTC', ${ISO}) as upper_bound,
            pg_catalog.pg_total_relation_size(to_regclass(pg_catalog.format('%I.%I', u.schema_name, u.relation_name))) as bytes,
            m.row_count, encode(m.fingerprint, 'hex') as fingerprint, retention.is_held(u.unit_id) as held,
            retention.unit_has_longer_rows(u.unit_id) as longer
       from retention.unit u
       left join retention.manifest m using (unit_id)
      where u.state in ('archived', 'purge_due', 'failed') and ($1::bigint[] is null or u.unit_id = any ($1::bigint[]))
      order by u.table_name, u.category, u.lower_bound, u.generation`,
    [only],
  );
}

/** All rows of a table, hot, archived and late. */
export async function readKnownRows(client: SqlClient, table: FamilyName): Promise<bigint> {
  const shape = z.object({ rows: z.bigint() });
  return (await queryOne(client, shape, 'select retention.known_rows($1::text) as rows', [table])).rows;
}

/** Stores a plan; gives its id. */
export async function draftPlan(
  client: SqlClient,
  plan: { readonly document: string; readonly actor: string; readonly reason: string },
): Promise<string> {
  const text = 'select retention.draft_plan($1::text, $2::text, $3::text) as id';
  const { id } = await queryOne(client, z.object({ id: z.string() }), text, [plan.document, plan.actor, plan.reason]);
  return id;
}

const planShape = z.object({
  plan_id: z.string(),
  plan_hash: z.string(),
  document: z.string(),
  actor: z.string(),
  reason: z.string(),
  drafted_at: z.string(),
  starts_at: z.string().nullable(),
  ends_at: z.string().nullable(),
  started_at: z.string().nullable(),
  /** State and number of its units. */
  states: z.record(z.string(), z.number()),
  /** What was destroyed under it, in the order of its units. */
  certificates: z.array(z.object({ certificate: z.string(), partition: z.string() })),
});

/** A plan as stored, with the window that its approval gives it. */
export type StoredPlan = z.infer<typeof planShape>;

/** Every plan, or one; the newest first. */
export function readPlans(client: SqlClient, planId: string | null = null): Promise<StoredPlan[]> {
  return queryRows(
    client,
    planShape,
    `select p.plan_id, p.plan_hash, p.document, p.actor, p.reason,
            to_char(p.drafted_at at time zone 'UTC', ${ISO}) as drafted_at,
            to_char(w.starts_at at time zone 'UTC', ${ISO}) as starts_at,
            to_char(w.ends_at at time zone 'UTC', ${ISO}) as ends_at,
            to_char(s.started_at at time zone 'UTC', ${ISO}) as started_at,
            coalesce((select json_object_agg(n.state, n.units) from (select u.state, count(*) as units from retention.unit u
                       where u.plan_id = p.plan_id group by u.state) n), '{}'::json) as states,
            coalesce((select json_agg(json_build_object('certificate', c.certificate_id, 'partition', u.relation_name) order by u.unit_id)
                        from retention.certificate c join retention.unit u using (unit_id)
                       where c.plan_id = p.plan_id), '[]'::json) as certificates
       from retention.plan p
       left join retention.plan_start s using (plan_id)
       left join lateral retention.plan_window(p.plan_id) w on true
      where $1::uuid is null or p.plan_id = $1::uuid
      order by p.drafted_at desc, p.plan_id`,
    [planId],
  );
}

/** Begins an approved plan: all of its units are purge_approved, or none. */
export async function startPlan(client: SqlClient, planId: string): Promise<void> {
  await execute(client, 'select retention.start_plan($1::uuid)', [planId]);
}

/** Takes a unit back that has not left its archive yet; gives `schema.table` of it. */
export async function withdrawUnit(client: SqlClient, unitId: bigint): Promise<string> {
  await execute(client, 'select retention.withdraw_unit($1::bigint)', [unitId]);
  const text = `select schema_name || '.' || relation_name as relation from retention.unit where unit_id = $1::bigint`;
  return (await queryOne(client, z.object({ relation: z.string() }), text, [unitId])).relation;
}

const goingShape = z.object({
  unit_id: z.bigint(),
  relation_name: z.string(),
  state: z.string(),
  held: z.boolean(),
  purged_at: z.string().nullable(),
  method: z.string(),
  seqs: z.array(z.tuple([z.bigint(), z.bigint()])),
});

/** A unit on its way under a plan, with its places in the chain as [from, to). */
export type GoingUnit = z.infer<typeof goingShape>;

/** The units that a plan has taken on, in the order of their ids. */
export async function readGoingUnits(client: SqlClient, planId: string): Promise<GoingUnit[]> {
  const rows = await queryRows(
    client,
    goingShape.extend({ seqs: z.array(z.string()) }),
    `select u.unit_id, u.relation_name, u.state, retention.is_held(u.unit_id) as held, m.method,
            to_char(coalesce(u.purged_at, u.changed_at) at time zone 'UTC', ${ISO}) as purged_at,
            array(select lower(r) || ' ' || upper(r) from unnest(m.seqs) r order by lower(r)) as seqs
       from retention.unit u join retention.manifest m using (unit_id)
      where u.plan_id = $1::uuid order by u.unit_id`,
    [planId],
  );
  return rows.map((row) => ({
    ...row,
    seqs: row.seqs.map((range) => {
      const [from = '0', to = '0'] = range.split(' ');
      return [BigInt(from), BigInt(to)];
    }),
  }));
}

const certificateShape = z.object({
  certificate_id: z.string(),
  unit_id: z.bigint(),
  document: z.string(),
  signature: z.string(),
});
export type StoredCertificate = z.infer<typeof certificateShape>;

/** purging -> purged, with the certificate. */
export async function recordCertificate(client: SqlClient, document: string, signature: string): Promise<void> {
  await execute(client, 'select retention.record_certificate($1::text, $2::text)', [document, signature]);
}

/** Every certificate, in the order of recording. */
export function readCertificates(client: SqlClient): Promise<StoredCertificate[]> {
  return queryRows(
    client,
    certificateShape,
    'select certificate_id, unit_id, document, signature from retention.certificate order by recorded_at, certificate_id',
  );
}

/** The certificate of an id, or null. */
export function readCertificate(client: SqlClient, id: string): Promise<StoredCertificate | null> {
  return queryMaybe(
    client,
    certificateShape,
    'select certificate_id, unit_id, document, signature from retention.certificate where certificate_id = $1::uuid',
    [id],
  );
}

/** The id that the certificate of a unit has or will have. */
export async function readCertificateId(client: SqlClient, planId: string, unitId: bigint): Promise<string> {
  const text = `select coalesce((select c.certificate_id from retention.certificate c where c.unit_id = $2::bigint),
                                retention.certificate_id($1::uuid, $2::bigint)) as id`;
  return (await queryOne(client, z.object({ id: z.string() }), text, [planId, unitId])).id;
}

/** What is signed on a plan, in the order of recording. */
export function readPlanDecisions(
  client: SqlClient,
  planId: string,
): Promise<{ readonly payload: string; readonly signature: string }[]> {
  return queryRows(
    client,
    z.object({ payload: z.string(), signature: z.string() }),
    'select payload, signature from compliance.object_decision where object_id = $1::uuid order by sequence',
    [planId],
  );
}

/** Whether a destruction is past its point of no return and waits for this certificate. */
export async function readDestroying(client: SqlClient, certificateId: string): Promise<boolean> {
  const { destroying } = await queryOne(
    client,
    z.object({ destroying: z.boolean() }),
    `select exists (select from retention.unit u where u.state = 'purging'
                       and retention.certificate_id(u.plan_id, u.unit_id) = $1::uuid) as destroying`,
    [certificateId],
  );
  return destroying;
}
