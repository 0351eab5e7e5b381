/** The guarded functions that take one unit further, one function each. */
import { z } from 'zod';
import type { SqlClient } from '../db/database.ts';
import { execute, queryOne, queryRows } from '../db/query.ts';
import { isoOf } from '../time/clock.ts';
import type { TimeRange } from './bounds.ts';
import { FAMILIES, type FamilyName } from './policy.ts';

const collectedShape = z.object({
  unitId: z.number().nullable(),
  relation: z.string().nullable(),
  rows: z.number(),
  unlinked: z.number(),
});

/** What became of the late rows of a range; unitId null: none are there, or `unlinked` of them lack their link. */
export type CollectedLate = z.infer<typeof collectedShape>;

/** Late rows of a closed range become a unit. */
export async function collectLate(
  client: SqlClient,
  table: FamilyName,
  category: string | null,
  range: TimeRange,
): Promise<CollectedLate> {
  const { collected } = await queryOne(
    client,
    z.object({ collected: collectedShape }),
    'select retention.collect_late($1::text, $2::timestamptz, $3::timestamptz, $4::text) as collected',
    [table, isoOf(range.from), isoOf(range.to), category ?? ''],
  );
  return collected;
}

const movedShape = z.object({ unitId: z.number(), relation: z.string(), rows: z.number() });

/** purge_approved -> quarantined. */
export async function quarantineUnit(client: SqlClient, unitId: bigint): Promise<z.infer<typeof movedShape>> {
  const text = 'select retention.quarantine_unit($1::bigint) as moved';
  return (await queryOne(client, z.object({ moved: movedShape }), text, [unitId])).moved;
}

/** quarantined -> archived. */
export async function rescueUnit(client: SqlClient, unitId: bigint): Promise<z.infer<typeof movedShape>> {
  const text = 'select retention.rescue_unit($1::bigint) as moved';
  return (await queryOne(client, z.object({ moved: movedShape }), text, [unitId])).moved;
}

const droppedShape = movedShape.extend({ copies: z.array(z.string()) });

/** quarantined -> purging: the table, and every restored copy of it, is gone when the transaction commits. */
export async function dropUnit(
  client: SqlClient,
  unitId: bigint,
  planId: string,
): Promise<z.infer<typeof droppedShape>> {
  const text = 'select retention.drop_unit($1::bigint, $2::uuid) as moved';
  return (await queryOne(client, z.object({ moved: droppedShape }), text, [unitId, planId])).moved;
}

const siblingShape = z.object({
  unitId: z.number(),
  relation: z.string(),
  rows: z.number(),
  /** ISO 8601; null: the policy alone decides. */
  keepUntil: z.string().nullable(),
  holdKey: z.string(),
});

/** One of the units that a unit was split into. */
export type Sibling = z.infer<typeof siblingShape>;

/** sealed or archived -> split; no siblings where all rows belong together. */
export async function splitUnit(client: SqlClient, unitId: bigint): Promise<readonly Sibling[]> {
  const { split } = await queryOne(
    client,
    z.object({ split: z.object({ siblings: z.array(siblingShape) }) }),
    'select retention.split_unit($1::bigint) as split',
    [unitId],
  );
  return split.siblings;
}

/** Stores hours and days of a sealed or late unit of raw metrics; gives how many, 0 when they are there already. */
export async function rollUpUnit(client: SqlClient, unitId: bigint): Promise<number> {
  const text = 'select retention.roll_up($1::bigint) as made';
  return Number((await queryOne(client, z.object({ made: z.bigint() }), text, [unitId])).made);
}

const unrolledShape = z.object({
  unit_id: z.bigint(),
  relation_name: z.string(),
  lower_bound: z.string(),
  upper_bound: z.string(),
});

/** Late units of raw metrics that are not rolled up yet. */
export function readUnrolled(client: SqlClient): Promise<z.infer<typeof unrolledShape>[]> {
  return queryRows(
    client,
    unrolledShape,
    `select unit_id, relation_name, lower_bound::text, upper_bound::text
       from retention.unrolled_units() order by lower_bound, unit_id`,
  );
}

const strayShape = z.object({
  unit_id: z.bigint(),
  relation_name: z.string(),
  state: z.enum(['gone', 'half detached', 'detached']),
});

/** Hot units whose table is not where it belongs. */
export function readStrays(client: SqlClient): Promise<z.infer<typeof strayShape>[]> {
  return queryRows(
    client,
    strayShape,
    'select unit_id, relation_name, state from retention.stray_units() order by unit_id',
  );
}

/** Brings a stray unit's table back below its parent. */
export async function reattachUnit(client: SqlClient, unitId: bigint): Promise<void> {
  await execute(client, 'select retention.reattach_unit($1::bigint)', [unitId]);
}

const failedShape = z.object({ unit_id: z.bigint(), relation_name: z.string(), failed_from: z.string() });

/** Units whose last edge failed. */
export function readFailed(client: SqlClient): Promise<z.infer<typeof failedShape>[]> {
  return queryRows(
    client,
    failedShape,
    `select unit_id, relation_name, failed_from from retention.unit where state = 'failed' order by unit_id`,
  );
}

/** Marks a unit as failed; false where its state has no edge to fail on. */
export async function failUnit(client: SqlClient, unitId: bigint): Promise<boolean> {
  const text = 'select retention.fail_unit($1::bigint) as done';
  return (await queryOne(client, z.object({ done: z.boolean() }), text, [unitId])).done;
}

/** Takes a failed unit back to where its edge began; false where it is not failed any more. */
export async function retryUnit(client: SqlClient, unitId: bigint): Promise<boolean> {
  const text = 'select retention.retry_unit($1::bigint) as done';
  return (await queryOne(client, z.object({ done: z.boolean() }), text, [unitId])).done;
}

/** Merges the lowest run of neighbouring tombstones; gives how many became one. */
export async function mergeTombstones(client: SqlClient, table: FamilyName, category: string | null): Promise<number> {
  const text = 'select retention.merge_tombstones($1::text, $2::text) as merged';
  return (await queryOne(client, z.object({ merged: z.number() }), text, [table, category ?? ''])).merged;
}

/** Claims a unit for a worker; false while another worker has it. */
export async function takeLease(
  client: SqlClient,
  unitId: bigint,
  lease: { readonly holder: string; readonly seconds: number },
): Promise<boolean> {
  const text = 'select retention.take_lease($1::bigint, $2::uuid, $3::int) as taken';
  const row = await queryOne(client, z.object({ taken: z.boolean() }), text, [unitId, lease.holder, lease.seconds]);
  return row.taken;
}

/** Gives a claim back. */
export async function releaseLease(client: SqlClient, unitId: bigint, holder: string): Promise<void> {
  await execute(client, 'select retention.release_lease($1::bigint, $2::uuid)', [unitId, holder]);
}

/** Says in this transaction who the worker is, for the functions that check leases. */
export async function actUnderLease(client: SqlClient, holder: string): Promise<void> {
  await execute(client, `select pg_catalog.set_config('auditkeep.lease', $1::text, true)`, [holder]);
}

const lateShape = z.object({
  table_name: z.enum(FAMILIES),
  category: z.string(),
  lower_bound: z.string(),
  upper_bound: z.string(),
});

/** The distinct UTC calendar steps in which uncollected late rows lie, by branch. */
export function readLateRanges(client: SqlClient): Promise<z.infer<typeof lateShape>[]> {
  return queryRows(
    client,
    lateShape,
    `select table_name, category, lower_bound::text, upper_bound::text
       from retention.late_ranges() order by table_name, category, lower_bound`,
  );
}
