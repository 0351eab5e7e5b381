/** The chain's queries: head, links, checkpoints and the events that are not linked yet. */
import { z } from 'zod';
import { binaryArray } from '../../db/binary-array.ts';
import type { SqlClient } from '../../db/database.ts';
import { execute, queryMaybe, queryOne, queryRows } from '../../db/query.ts';
import type { TupleSource } from '../copy/tuples.ts';
import { UNSEALED_TABLES } from '../event/event-origin.ts';
import { type EventRow, eventSource, RAW_EVENT_COLUMNS } from '../event/event-source.ts';
import { decodeFrontier, type Frontier } from '../tree/merkle.ts';
import { parseSnapshot, type Snapshot } from './snapshot.ts';

/** Where a batch that was cut short goes on: what is visible in target is sealed up to this row. */
export interface SealCursor {
  readonly target: Snapshot;
  readonly txid: bigint;
  /** As PostgreSQL reads it, with microseconds. */
  readonly timestamp: string;
  readonly id: string;
}

export interface ChainHead {
  readonly size: bigint;
  readonly chainHash: Buffer;
  readonly frontier: Frontier;
  /** Null before the first seal. */
  readonly snapshot: Snapshot | null;
  readonly cursor: SealCursor | null;
  readonly incarnation: number;
  /** Rows of transaction ids below it may be linked already, since a dump was restored and swept; null otherwise. */
  readonly sweptUntil: bigint | null;
  /** Seconds since the sealer last came to its end. */
  readonly idleSeconds: number;
}

const headShape = z.object({
  size: z.bigint(),
  chain_hash: z.instanceof(Buffer),
  frontier: z.instanceof(Buffer),
  snapshot: z.string().nullable(),
  target_snapshot: z.string().nullable(),
  cursor_txid: z.bigint().nullable(),
  cursor_timestamp: z.string().nullable(),
  cursor_id: z.string().nullable(),
  incarnation: z.number(),
  swept_until: z.bigint().nullable(),
  idle_seconds: z.number(),
});

/** The head of the chain; there is always exactly one. */
export async function readHead(client: SqlClient): Promise<ChainHead> {
  const row = await queryOne(
    client,
    headShape,
    `select size, chain_hash, frontier, snapshot::text, target_snapshot::text, cursor_txid, cursor_timestamp::text,
            cursor_id::text, incarnation, swept_until,
            extract(epoch from clock_timestamp() - sealed_at)::float8 as idle_seconds
       from audit.chain_head`,
  );
  return {
    size: row.size,
    chainHash: row.chain_hash,
    frontier: decodeFrontier(row.size, row.frontier),
    snapshot: row.snapshot === null ? null : parseSnapshot(row.snapshot),
    cursor: cursorOf(row),
    incarnation: row.incarnation,
    sweptUntil: row.swept_until,
    idleSeconds: row.idle_seconds,
  };
}

function cursorOf(row: z.infer<typeof headShape>): SealCursor | null {
  const { target_snapshot: target, cursor_txid: txid, cursor_timestamp: timestamp, cursor_id: id } = row;
  if (target === null || txid === null || timestamp === null || id === null) return null;
  return { target: parseSnapshot(target), txid, timestamp, id };
}

/** The snapshot of the transaction that the client is in. */
export async function currentSnapshot(client: SqlClient): Promise<Snapshot> {
  const row = await queryOne(
    client,
    z.object({ snapshot: z.string() }),
    'select pg_catalog.pg_current_snapshot()::text as snapshot',
  );
  return parseSnapshot(row.snapshot);
}

export interface CandidateQuery {
  /** What earlier batches have sealed; rows visible in it are never candidates. */
  readonly sealed: Snapshot;
  /** What this round seals. */
  readonly target: Snapshot;
  /** The last row of the round that is sealed already. */
  readonly after: SealCursor | null;
  /** ChainHead.sweptUntil: candidates below it are looked up among the links. */
  readonly sweptUntil: bigint | null;
}

/** Leaves out what is linked although its transaction id has yet to come again. */
function unlinkedOnly(row: string, { sealed, sweptUntil }: Pick<CandidateQuery, 'sealed' | 'sweptUntil'>): string {
  if (sweptUntil === null || sealed.xmax >= sweptUntil) return '';
  return ` and not exists (select from audit.chain_link l where l.event_id = ${row}.id)`;
}

/**
 * Committed events not visible in `sealed` and visible in `target`, in the order (txid, event_timestamp, id), sorted
 * once a round. Two branches, since every transaction that was still running lies below xmax: each is a scan of the
 * txid index, so the work is O(new) whatever writer stays open. COPY takes no parameters: numbers are ours, the row of
 * the cursor goes through settings of the transaction (setCursor).
 */
export function candidateSource({ sealed, target, after, sweptUntil }: CandidateQuery): TupleSource<EventRow> {
  const tables = UNSEALED_TABLES.map((table) => `select ${RAW_EVENT_COLUMNS} from ${table} e`).join(' union all ');
  const until = `txid < ${target.xmax}::bigint${target.running.length === 0 ? '' : ` and txid <> all ('{${target.running}}'::bigint[])`}`;
  const from =
    after === null
      ? ''
      : ` and txid >= ${after.txid}::bigint and (txid, event_timestamp, id) > (${after.txid}::bigint,
          current_setting('auditkeep.cursor_timestamp')::timestamptz, current_setting('auditkeep.cursor_id')::uuid)`;
  const unlinked = unlinkedOnly('u', { sealed, sweptUntil });
  const branch = (condition: string) =>
    `(select * from (${tables}) u where ${condition} and ${until}${from}${unlinked})`;
  const branches = [branch(`txid >= ${sealed.xmax}::bigint`)];
  if (sealed.running.length > 0) branches.unshift(branch(`txid = any ('{${sealed.running}}'::bigint[])`));
  return eventSource(`select * from (${branches.join(' union all ')}) b order by txid, event_timestamp, id`);
}

/** Gives a row of a cursor to candidateSource for the rest of the transaction. */
export async function setCursor(client: SqlClient, cursor: SealCursor): Promise<void> {
  await execute(
    client,
    `select pg_catalog.set_config('auditkeep.cursor_timestamp', $1::text, true),
            pg_catalog.set_config('auditkeep.cursor_id', $2::text, true)`,
    [cursor.timestamp, cursor.id],
  );
}

export interface NewLinks {
  /** int64 microseconds since 2000-01-01 UTC a link. */
  readonly timestamps: Buffer;
  /** 16 bytes a link. */
  readonly ids: Buffer;
  /** int64 a link. */
  readonly txids: Buffer;
  /** 32 bytes a link. */
  readonly leaves: Buffer;
  /** 64 bytes a link: actor, payload; 32 zero bytes where absent. */
  readonly commitments: Buffer;
  /** 32 bytes a link. */
  readonly chainHashes: Buffer;
}

export interface HeadMove {
  readonly from: { readonly size: bigint; readonly chainHash: Buffer };
  readonly links: NewLinks;
  /** The nodes of the frontier after the links. */
  readonly frontier: Buffer;
  readonly snapshot: Snapshot | null;
  readonly cursor: SealCursor | null;
}

/** Appends links and moves the head by compare-and-set; SQLSTATE AK020 when the head is elsewhere. Gives the size. */
export async function appendLinks(client: SqlClient, move: HeadMove): Promise<bigint> {
  const { from, links, cursor } = move;
  const row = await queryOne(
    client,
    z.object({ size: z.bigint() }),
    `select audit.append_links($1::bigint, $2::bytea, $3::timestamptz[], $4::uuid[], $5::bigint[], $6::bytea,
              $7::bytea, $8::bytea, $9::bytea, $10::pg_snapshot, $11::pg_snapshot, $12::bigint, $13::timestamptz,
              $14::uuid) as size`,
    [
      from.size,
      from.chainHash,
      binaryArray('timestamptz', links.timestamps),
      binaryArray('uuid', links.ids),
      binaryArray('int8', links.txids),
      links.leaves,
      links.commitments,
      links.chainHashes,
      move.frontier,
      move.snapshot?.text ?? null,
      cursor?.target.text ?? null,
      cursor?.txid ?? null,
      cursor?.timestamp ?? null,
      cursor?.id ?? null,
    ],
  );
  return row.size;
}

/** Makes the partitions of chain_link that the next links need; gives how many were made. */
export async function extendChainLinks(client: SqlClient): Promise<number> {
  const shape = z.object({ made: z.number() });
  return (await queryOne(client, shape, 'select audit.extend_chain_links() as made')).made;
}

/** Keeps a signed checkpoint; the same one again is no error. */
export async function publishCheckpoint(
  client: SqlClient,
  checkpoint: { origin: string; size: bigint; root: Buffer; note: string },
): Promise<void> {
  await execute(client, 'select audit.publish_checkpoint($1::text, $2::bigint, $3::bytea, $4::text)', [
    checkpoint.origin,
    checkpoint.size,
    checkpoint.root,
    checkpoint.note,
  ]);
}

export interface StoredCheckpoint {
  readonly origin: string;
  readonly size: bigint;
  readonly root: Buffer;
  readonly note: string;
}

const checkpointShape = z.object({
  origin: z.string(),
  size: z.bigint(),
  root: z.instanceof(Buffer),
  note: z.string(),
});

/** The kept checkpoints from a size on, by size. */
export function readCheckpoints(client: SqlClient, from: bigint): Promise<StoredCheckpoint[]> {
  return queryRows(
    client,
    checkpointShape,
    'select origin, size, root, note from audit.checkpoint where size >= $1::bigint order by size, origin',
    [from],
  );
}

/** The largest kept checkpoint, or null. */
export function readLastCheckpoint(client: SqlClient): Promise<StoredCheckpoint | null> {
  return queryMaybe(
    client,
    checkpointShape,
    'select origin, size, root, note from audit.checkpoint order by size desc, origin limit 1',
  );
}

/** When the database kept the last checkpoint of an origin, ISO 8601 in UTC; null for none. */
export async function readSignedAt(client: SqlClient, origin: string): Promise<string | null> {
  const row = await queryMaybe(
    client,
    z.object({ at: z.string() }),
    `select to_char(signed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as at
       from audit.checkpoint where origin = $1::text order by size desc limit 1`,
    [origin],
  );
  return row?.at ?? null;
}

/** How many committed events a sealer would link now. */
export async function countCandidates(client: SqlClient, query: CandidateQuery): Promise<number> {
  const { sealed, target, after } = query;
  const counts = UNSEALED_TABLES.map(
    (table) => `select count(*) as n from ${table} e
      where (e.txid >= $1::bigint or e.txid = any ($2::bigint[])) and e.txid < $3::bigint
        and e.txid <> all ($4::bigint[])
        and ($5::bigint is null or (e.txid, e.event_timestamp, e.id) > ($5::bigint, $6::timestamptz, $7::uuid)
             or e.txid >= $8::bigint or e.txid = any ($9::bigint[]))${unlinkedOnly('e', query)}`,
  );
  const row = await queryOne(
    client,
    z.object({ n: z.coerce.number() }),
    `select sum(n) as n from (${counts.join(' union all ')}) c`,
    [
      sealed.xmax,
      sealed.running.map(String),
      target.xmax,
      target.running.map(String),
      after?.txid ?? null,
      after?.timestamp ?? null,
      after?.id ?? null,
      after?.target.xmax ?? null,
      after?.target.running.map(String) ?? [],
    ],
  );
  return row.n;
}
