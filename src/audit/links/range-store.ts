/** What the verification of a part of the chain reads: links by seq, and their events by key, partition by partition. */
import { z } from 'zod';
import type { SqlClient } from '../../db/database.ts';
import { queryMaybe, queryRows } from '../../db/query.ts';
import { uuidText } from '../copy/pg-time.ts';
import type { TupleSource } from '../copy/tuples.ts';
import { EVENT_TABLES, UNSEALED_TABLES } from '../event/event-origin.ts';
import { type EventRow, eventSource, RAW_EVENT_COLUMNS } from '../event/event-source.ts';
import { GENESIS } from '../tree/chain.ts';
import type { ChainHead } from './chain-store.ts';
import type { Gap } from './gap.ts';
import { LINK_COLUMNS, type LinkRow, linkTuples } from './link-source.ts';
import type { Snapshot } from './snapshot.ts';

/** Links [from, to). */
export interface SeqRange {
  readonly from: bigint;
  readonly to: bigint;
}

/** The links of a range in order. */
export function rangeLinkSource({ from, to }: SeqRange): TupleSource<LinkRow> {
  return {
    statement: `copy (select ${LINK_COLUMNS} from audit.chain_link
                       where seq >= ${from}::bigint and seq < ${to}::bigint order by seq) to stdout (format binary)`,
    ...linkTuples,
  };
}

/**
 * The events that the links of a range name, by key. A plain join would read every partition; `offset 0` keeps the
 * planner from making one out of this, so that each link prunes to the partition of its time.
 */
export function rangeEventQuery({ from, to }: SeqRange): string {
  const tables = EVENT_TABLES.map(
    (table) =>
      `select ${RAW_EVENT_COLUMNS} from ${table} e where e.event_timestamp = k.event_timestamp and e.id = k.event_id`,
  );
  return `select r.* from (select event_id, event_timestamp from audit.chain_link
                            where seq >= ${from}::bigint and seq < ${to}::bigint order by seq offset 0) k
           cross join lateral (${tables.join(' union all ')} offset 0) r`;
}

/** The events of a range. */
export function rangeEventSource(range: SeqRange): TupleSource<EventRow> {
  return eventSource(rangeEventQuery(range));
}

/** Events by id wherever they lie: reads every partition, for the few whose time was changed. Ids are 16 bytes each. */
export function eventsWithIdsSource(ids: readonly Buffer[]): TupleSource<EventRow> {
  const list = `'{${ids.map(uuidText).join(',')}}'::uuid[]`;
  return eventSource(
    EVENT_TABLES.map((table) => `select ${RAW_EVENT_COLUMNS} from ${table} e where e.id = any (${list})`).join(
      ' union all ',
    ),
  );
}

/** The sweep: events without a link, by an anti-join over everything. */
export const unlinkedEventSource: TupleSource<EventRow> = eventSource(
  EVENT_TABLES.map(
    (table) => `select ${RAW_EVENT_COLUMNS} from ${table} e
                 where not exists (select from audit.chain_link l where l.event_id = e.id)`,
  ).join(' union all '),
);

const gapShape = z.object({
  from: z.bigint(),
  to: z.bigint(),
  before: z.instanceof(Buffer),
  txid: z.bigint(),
  leaf: z.instanceof(Buffer).nullable(),
  chain_hash: z.instanceof(Buffer).nullable(),
});

/** Where links are missing below the head's size: reads every link, so it is asked only when some are. */
export async function readGaps(client: SqlClient, head: Pick<ChainHead, 'size' | 'chainHash'>): Promise<Gap[]> {
  const rows = await queryRows(
    client,
    gapShape,
    `select l.seq + 1 as "from", least(coalesce(l.next, $1::bigint), $1::bigint) as "to", l.chain_hash as before, l.txid,
            n.leaf, n.chain_hash
       from (select seq, chain_hash, txid, lead(seq) over (order by seq) as next from audit.chain_link
             union all select -1, $2::bytea, 0, min(seq) from audit.chain_link) l
       left join audit.chain_link n on n.seq = l.next
      where least(coalesce(l.next, $1::bigint), $1::bigint) > l.seq + 1
      order by 1`,
    [head.size, GENESIS],
  );
  return rows.map(({ from, to, before, leaf, chain_hash: hash, txid }) => ({
    ...{ from, to, before, txid },
    after: leaf === null || hash === null ? { leaf: null, chainHash: head.chainHash } : { leaf, chainHash: hash },
  }));
}

/** Unlinked events that were visible in a snapshot and not sealed: no more than the limit. Numbers are ours. */
export function overdueSource({
  sealed,
  due,
  limit,
}: {
  readonly sealed: Snapshot;
  readonly due: Snapshot;
  readonly limit: number;
}): TupleSource<EventRow> {
  const list = (ids: readonly bigint[]) => `'{${ids}}'::bigint[]`;
  const tables = UNSEALED_TABLES.map((table) => `select ${RAW_EVENT_COLUMNS} from ${table} e`).join(' union all ');
  return eventSource(
    `select * from (${tables}) u
      where (u.txid >= ${sealed.xmax}::bigint or u.txid = any (${list(sealed.running)}))
        and u.txid < ${due.xmax}::bigint and u.txid <> all (${list(due.running)})
        and not exists (select from audit.chain_link l where l.event_id = u.id)
      order by u.txid, u.event_timestamp, u.id limit ${limit}`,
  );
}

/** The chain hash of a link, or null. */
export async function readChainHash(client: SqlClient, seq: bigint): Promise<Buffer | null> {
  const row = await queryMaybe(
    client,
    z.object({ chain_hash: z.instanceof(Buffer) }),
    'select chain_hash from audit.chain_link where seq = $1::bigint',
    [seq],
  );
  return row?.chain_hash ?? null;
}

/** The seq of the last link, or null. */
export async function readLastSeq(client: SqlClient): Promise<bigint | null> {
  const shape = z.object({ seq: z.bigint() });
  return (await queryMaybe(client, shape, 'select seq from audit.chain_link order by seq desc limit 1'))?.seq ?? null;
}

const doubledShape = z.object({ event_id: z.string(), links: z.bigint(), seq: z.bigint() });

/** Events of a range that are linked more than once, in the range or before it. */
export function readDoubledIn(client: SqlClient, { from, to }: SeqRange): Promise<z.infer<typeof doubledShape>[]> {
  return queryRows(
    client,
    doubledShape,
    `select k.event_id::text, count(distinct l.seq) as links, max(l.seq) as seq
       from (select event_id from audit.chain_link where seq >= $1::bigint and seq < $2::bigint offset 0) k
      cross join lateral (select seq from audit.chain_link where event_id = k.event_id offset 0) l
      group by k.event_id having count(distinct l.seq) > 1 order by 3`,
    [from, to],
  );
}
