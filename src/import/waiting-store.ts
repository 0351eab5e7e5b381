/** The queries about events that wait for the sealer: one function each. */
import { z } from 'zod';
import type { SqlClient } from '../db/database.ts';
import { execute, queryOne, queryRows } from '../db/query.ts';
import { streamRows } from '../db/stream.ts';

const markShape = z.object({ now: z.string(), sealed: z.string() });
const idShape = z.object({ id: z.string() });

/** Snapshots as PostgreSQL writes them: the present one, and the one up to which the chain holds everything. */
export type WaitingWatermark = z.infer<typeof markShape>;

/** Before the first seal nothing is in the chain: a snapshot in which no transaction had ended. */
export function readWaitingWatermark(client: SqlClient): Promise<WaitingWatermark> {
  return queryOne(
    client,
    markShape,
    `select pg_catalog.pg_current_snapshot()::text as now, coalesce(d.snapshot::text, '1:1:') as sealed
       from audit.chain_head d`,
  );
}

/** The number of the transaction under way, as the rows that it stores carry it. */
export async function readTxid(client: SqlClient): Promise<string> {
  const row = await queryOne(
    client,
    z.object({ txid: z.string() }),
    'select pg_catalog.pg_current_xact_id()::text as txid',
  );
  return row.txid;
}

/**
 * The ids of events that were committed after a snapshot, in batches; those of one transaction left out. Sequential
 * scans are off: statistics lag behind an import, and a partition without any would be read whole for its few new rows.
 */
export async function* readWaitingSince(
  client: SqlClient,
  since: string,
  exceptTxid: string | null,
): AsyncGenerator<{ id: string }[], void, undefined> {
  await execute(client, 'set local enable_seqscan = off');
  yield* streamRows(client, {
    shape: idShape,
    text: `select e.id::text as id
             from (select h.id, h.txid from audit.audit_log h
                    where h.txid >= pg_catalog.pg_snapshot_xmin($1::pg_snapshot)::text::bigint
                   union all
                   select l.id, l.txid from audit.audit_log_late l
                    where l.txid >= pg_catalog.pg_snapshot_xmin($1::pg_snapshot)::text::bigint) e
            where e.txid is distinct from $2::bigint
              and not pg_catalog.pg_visible_in_snapshot(e.txid::text::xid8, $1::pg_snapshot)`,
    values: [since, exceptTxid],
    batchSize: 10_000,
  });
  await execute(client, 'set local enable_seqscan to default');
}

/**
 * Which of a few ids an event has that waits, or that was linked since it waited: one statement, so that none is missed
 * between the two. Reads every waiting event: ask for suspects only.
 */
export async function findStoredAmong(client: SqlClient, ids: readonly string[]): Promise<string[]> {
  const rows = await queryRows(
    client,
    idShape,
    `with near as materialized (
       select e.id, e.txid, d.snapshot
         from audit.chain_head d
        cross join lateral (
          select h.id, h.txid from audit.audit_log h
           where h.txid >= coalesce(pg_catalog.pg_snapshot_xmin(d.snapshot)::text::bigint, 0)
          union all
          select l.id, l.txid from audit.audit_log_late l
           where l.txid >= coalesce(pg_catalog.pg_snapshot_xmin(d.snapshot)::text::bigint, 0)) e
        where e.id = any ($1::uuid[]))
     select n.id::text as id from near n
      where n.snapshot is null or not pg_catalog.pg_visible_in_snapshot(n.txid::text::xid8, n.snapshot)
     union
     select c.event_id::text from audit.chain_link c where c.event_id = any ($1::uuid[])`,
    [ids],
  );
  return rows.map((row) => row.id);
}
