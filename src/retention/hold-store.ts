/** The queries on holds: one function each. */
import { z } from 'zod';
import type { SqlClient } from '../db/database.ts';
import { execute, queryMaybe, queryOne, queryRows } from '../db/query.ts';

const iso = (column: string) => `to_char(${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')`;

const holdShape = z.object({
  hold_id: z.string(),
  sha256: z.string(),
  document: z.string(),
  table_name: z.string().nullable(),
  matter: z.string(),
  reason: z.string(),
  custodian: z.string(),
  placed_at: z.string().nullable(),
  released_at: z.string().nullable(),
  releases: z.array(
    z.object({ release_id: z.string(), sha256: z.string(), reason: z.string(), approved: z.boolean() }),
  ),
});

/** A hold with its releases, as the database has it; placed_at null: a draft that nobody signed. */
export type StoredHold = z.infer<typeof holdShape>;

/** Every hold, the oldest first. */
export function readStoredHolds(client: SqlClient): Promise<readonly StoredHold[]> {
  return queryRows(
    client,
    holdShape,
    `select h.hold_id, h.sha256, h.document, h.table_name, h.matter, h.reason, h.custodian,
            ${iso('d.recorded_at')} as placed_at, ${iso('retention.released_at(h.hold_id)')} as released_at,
            coalesce((select json_agg(json_build_object('release_id', r.release_id, 'sha256', r.sha256, 'reason', r.reason,
                        'approved', exists (select from compliance.object_decision a
                                             where a.object_id = r.release_id and a.meaning = 'approve')) order by r.drafted_at)
                        from retention.hold_release r where r.hold_id = h.hold_id), '[]'::json) as releases
       from retention.hold h
       left join compliance.object_decision d on d.object_id = h.hold_id and d.meaning = 'request'
      order by h.drafted_at, h.hold_id`,
  );
}

/** Stores what a hold would be; nothing is held before its request is signed. */
export async function draftHold(client: SqlClient, document: string): Promise<void> {
  await execute(client, 'select retention.draft_hold($1::text)', [document]);
}

const destroyedShape = z.object({ relation_name: z.string(), certificate_id: z.string() });

/** The first that a drafted hold comes too late for, unless it is to be placed beyond what is destroyed. */
export function readTooLate(client: SqlClient, holdId: string): Promise<z.infer<typeof destroyedShape> | null> {
  return queryMaybe(
    client,
    destroyedShape,
    `select d.relation_name, d.certificate_id
       from retention.hold h, retention.destroyed_within(h.table_name, h.held_from, h.held_to) d
      where h.hold_id = $1::uuid and not h.beyond_destroyed limit 1`,
    [holdId],
  );
}

/** Stores what a release would be; gives its id. */
export async function draftRelease(client: SqlClient, document: string): Promise<string> {
  const text = 'select retention.draft_release($1::text) as id';
  return (await queryOne(client, z.object({ id: z.string() }), text, [document])).id;
}

const heldShape = z.object({ unit_id: z.bigint(), relation_name: z.string(), state: z.string() });

/** The units that a hold reaches now. */
export function readHeldUnits(client: SqlClient, holdId: string): Promise<z.infer<typeof heldShape>[]> {
  return queryRows(
    client,
    heldShape,
    `select u.unit_id, u.relation_name, u.state from retention.unit u
      where $1::uuid in (select h from retention.holds_of(u.unit_id) h) order by u.lower_bound, u.unit_id`,
    [holdId],
  );
}
