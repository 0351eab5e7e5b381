/** The queries on restored copies and attached units: one function each. */
import { z } from 'zod';
import type { SqlClient } from '../db/database.ts';
import { queryMaybe, queryOne, queryRows } from '../db/query.ts';
import { isoOf, type UtcInstant } from '../time/clock.ts';
import type { FamilyName } from './policy.ts';

const ISO = `'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'`;

const restorableShape = z.object({
  unit_id: z.bigint(),
  table: z.string(),
  category: z.string().nullable(),
  partition: z.string(),
  /** null reaches back without end. */
  from: z.string().nullable(),
  /** null reaches on without end. */
  to: z.string().nullable(),
  generation: z.number(),
  state: z.string(),
  rows: z.bigint().nullable(),
  fingerprint: z.string().nullable(),
  /** `schema.table` of the copy that is there already. */
  copy: z.string().nullable(),
  certificate: z.string().nullable(),
});

/** A unit of a range, with what decides whether it can come back. */
export type RestorableUnit = z.infer<typeof restorableShape>;

/** The units of a table that overlap [from, to), oldest first, without copies and what a split has replaced. */
export function readRestorable(
  client: SqlClient,
  scope: {
    readonly table: FamilyName;
    readonly category: string | null;
    readonly from: UtcInstant;
    readonly to: UtcInstant;
  },
): Promise<RestorableUnit[]> {
  return queryRows(
    client,
    restorableShape,
    `select u.unit_id, u.table_name as "table", nullif(u.category, '') as category, u.relation_name as partition,
            case when isfinite(u.lower_bound) then to_char(u.lower_bound at time zone 'UTC', ${ISO}) end as "from",
            case when isfinite(u.upper_bound) then to_char(u.upper_bound at time zone 'UTC', ${ISO}) end as "to",
            u.generation, u.state, m.row_count as rows, encode(m.fingerprint, 'hex') as fingerprint,
            (select c.schema_name || '.' || c.relation_name from retention.unit c
              where c.parent_id = u.unit_id and c.state = 'restored') as copy,
            case when u.state in ('purging', 'purged') then
              coalesce((select e.certificate_id from retention.certificate e where e.unit_id = u.unit_id),
                       retention.certificate_id(u.plan_id, u.unit_id)) end as certificate
       from retention.unit u left join retention.manifest m using (unit_id)
      where u.table_name = $1::text and ($2::text is null or u.category = $2::text)
        and u.lower_bound < $4::timestamptz and u.upper_bound > $3::timestamptz
        and u.state not in ('restored', 'expired', 'split')
      order by u.category, u.lower_bound, u.generation`,
    [scope.table, scope.category, isoOf(scope.from), isoOf(scope.to)],
  );
}

const restoredShape = z.object({
  unitId: z.number(),
  relation: z.string(),
  rows: z.number(),
  fingerprint: z.string(),
  expiresAt: z.string(),
});

/** A copy that is proven to hold what the manifest of its unit says. */
export type RestoredCopy = z.infer<typeof restoredShape>;

/** new -> restored. */
export async function restoreUnit(client: SqlClient, unitId: bigint, days: number): Promise<RestoredCopy> {
  const text = 'select retention.restore_unit($1::bigint, $2::int) as made';
  return (await queryOne(client, z.object({ made: restoredShape }), text, [unitId, days])).made;
}

/** Copies whose time is over, the oldest first. */
export async function readExpiredCopies(client: SqlClient): Promise<bigint[]> {
  const text = `select unit_id from retention.unit
                 where state = 'restored' and expires_at <= retention.clock() order by expires_at, unit_id`;
  return (await queryRows(client, z.object({ unit_id: z.bigint() }), text)).map((row) => row.unit_id);
}

/** restored -> expired; gives `schema.table` of what is gone. */
export async function expireCopy(client: SqlClient, unitId: bigint): Promise<string> {
  const text = 'select retention.expire_copy($1::bigint) as relation';
  return (await queryOne(client, z.object({ relation: z.string() }), text, [unitId])).relation;
}

const attachedShape = z.object({ unitId: z.number(), relation: z.string(), rows: z.number() });

/** archived -> sealed, in the caller's transaction. */
export async function attachUnit(
  client: SqlClient,
  unitId: bigint,
  restoreId: string,
): Promise<z.infer<typeof attachedShape>> {
  const text = 'select retention.attach_unit($1::bigint, $2::uuid) as moved';
  return (await queryOne(client, z.object({ moved: attachedShape }), text, [unitId, restoreId])).moved;
}

/** Stores what is to be attached. */
export async function draftRestore(client: SqlClient, document: string): Promise<string> {
  const text = 'select retention.draft_restore($1::text) as id';
  return (await queryOne(client, z.object({ id: z.string() }), text, [document])).id;
}

const requestShape = z.object({ restore_id: z.string(), document: z.string(), sha256: z.string() });

/** A stored request to attach units. */
export type RestoreRequest = z.infer<typeof requestShape>;

/** The request of an id. */
export function readRestoreRequest(client: SqlClient, id: string): Promise<RestoreRequest | null> {
  const text =
    'select restore_id, document, sha256 from retention.restore_request where restore_id::text = lower($1::text)';
  return queryMaybe(client, requestShape, text, [id]);
}

/** Where a unit is now. */
export async function readUnitState(client: SqlClient, unitId: bigint): Promise<string | null> {
  const text = 'select state from retention.unit where unit_id = $1::bigint';
  return (await queryMaybe(client, z.object({ state: z.string() }), text, [unitId]))?.state ?? null;
}
