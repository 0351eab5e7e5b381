/**
 * The sealer: gives every committed event a dense seq and links it. Writers hash nothing and take no lock; this is the
 * one place that does. States of the head:
 *
 *   idle (snapshot S, no cursor) -- a full batch of what a newer snapshot T shows --> cut short (S, target T, cursor)
 *   cut short -- further batches of T, also after a crash --> cut short -- the last batch --> idle (snapshot T)
 *
 * Candidates are the rows visible in T whose transaction was not visible in S, so that no row is missed or linked
 * twice however long a writer stays open. Each batch is one transaction; a kill loses at most that batch, which the
 * next run makes again.
 */
import type { Context } from '../context.ts';
import { tryLockSession, unlockSession } from '../db/advisory-lock.ts';
import type { SqlClient } from '../db/database.ts';
import { sqlStateOf } from '../db/errors.ts';
import { transact } from '../db/transaction.ts';
import { AuditkeepError } from '../errors.ts';
import { commitEvent, eventLeaf } from './canonical.ts';
import { chainLeaves } from './chain.ts';
import {
  appendLinks,
  type ChainHead,
  candidateSource,
  currentSnapshot,
  extendChainLinks,
  type NewLinks,
  readHead,
  type SealCursor,
  setCursor,
} from './chain-store.ts';
import type { EventRow } from './event-source.ts';
import { DIGEST_BYTES } from './hash.ts';
import { appendLeaves, encodeFrontier } from './merkle.ts';
import { timestampText, uuidText } from './pg-time.ts';
import { NOTHING_SEEN } from './snapshot.ts';
import { readTuples } from './tuples.ts';

/** Links in one transaction; audit.append_links refuses more. */
const BATCH_SIZE = 10_000;
const HEAD_MOVED = 'AK020';
const NO_COMMITMENT = Buffer.alloc(DIGEST_BYTES);

export interface SealInput {
  /** Stops after this many batches; undefined goes on until everything visible at the start of a round is sealed. */
  readonly maxBatches?: number;
  /** Links a batch, at most 10,000. */
  readonly batchSize?: number;
  /** Stops before the next batch once aborted. */
  readonly signal?: AbortSignal;
}

export interface SealResult {
  /** Events linked by this call. */
  readonly sealed: number;
  /** The chain's size afterwards. */
  readonly size: bigint;
  readonly batches: number;
  /** False when another sealer holds the lock, or when maxBatches or the signal cut the work short. */
  readonly complete: boolean;
}

/**
 * Links everything that was committed when it began. Durable when it resolves. A second sealer at the same time does
 * nothing and says complete: false.
 * @throws CHAIN_HEAD_MOVED when something else moved the head; nothing of that batch is kept
 */
export function sealChain(ctx: Pick<Context, 'db' | 'log'>, input: SealInput = {}): Promise<SealResult> {
  return ctx.db.withClient(async (client) => {
    if (!(await tryLockSession(client, 'sealer', 'exclusive'))) {
      return { sealed: 0, size: (await readHead(client)).size, batches: 0, complete: false };
    }
    // When a batch fails the pool ends this connection, which gives the lock back.
    const result = await sealBatches(client, input);
    await unlockSession(client, 'sealer', 'exclusive');
    if (result.sealed > 0) ctx.log.info({ sealed: result.sealed, size: String(result.size) }, 'chain.sealed');
    return result;
  });
}

async function sealBatches(client: SqlClient, input: SealInput): Promise<SealResult> {
  const limit = Math.min(input.batchSize ?? BATCH_SIZE, BATCH_SIZE);
  let [sealed, batches, ownRound] = [0, 0, false];
  for (;;) {
    await extendChainLinks(client);
    const batch = await transact(client, () => sealBatch(client, limit), 'repeatable read').catch(headMoved);
    sealed += batch.sealed;
    batches += 1;
    // The end of a round that an earlier run began says nothing about what was committed since.
    ownRound ||= !batch.resumed;
    if (batch.drained && ownRound) return { sealed, size: batch.size, batches, complete: true };
    const stop = batches >= (input.maxBatches ?? Number.POSITIVE_INFINITY) || input.signal?.aborted === true;
    if (stop) return { sealed, size: batch.size, batches, complete: false };
  }
}

interface Batch {
  readonly sealed: number;
  readonly size: bigint;
  /** The batch went on with a round that was cut short. */
  readonly resumed: boolean;
  /** Everything of the round is sealed. */
  readonly drained: boolean;
}

async function sealBatch(client: SqlClient, limit: number): Promise<Batch> {
  const head = await readHead(client);
  const target = head.cursor?.target ?? (await currentSnapshot(client));
  if (head.cursor !== null) await setCursor(client, head.cursor);
  const source = candidateSource({ sealed: head.snapshot ?? NOTHING_SEEN, target, after: head.cursor, limit });
  const rows: EventRow[] = [];
  for await (const slab of readTuples(client, source)) rows.push(...slab);
  const drained = rows.length < limit;
  const { links, frontier } = linkRows(head, rows);
  const size = await appendLinks(client, {
    from: head,
    links,
    frontier,
    snapshot: drained ? target : head.snapshot,
    cursor: drained ? null : cursorAt(target, rows.at(-1)),
  });
  return { sealed: rows.length, size, resumed: head.cursor !== null, drained };
}

function linkRows(head: ChainHead, rows: readonly EventRow[]): { links: NewLinks; frontier: Buffer } {
  const commitments = rows.map(commitEvent);
  const leaves = rows.map((row, at) => eventLeaf(row.bare, commitments[at] ?? commitEvent(row)));
  return {
    links: {
      timestamps: rows.map((row) => timestampText(row.timestamp)),
      ids: rows.map((row) => uuidText(row.id)),
      txids: rows.map((row) => row.txid),
      leaves: Buffer.concat(leaves),
      commitments: Buffer.concat(commitments.flatMap((c) => [c.actor ?? NO_COMMITMENT, c.payload ?? NO_COMMITMENT])),
      chainHashes: Buffer.concat(chainLeaves(head, leaves)),
    },
    frontier: encodeFrontier(appendLeaves(head.frontier, leaves)),
  };
}

function cursorAt(target: SealCursor['target'], last: EventRow | undefined): SealCursor | null {
  if (last === undefined) return null;
  return { target, txid: last.txid, timestamp: timestampText(last.timestamp), id: uuidText(last.id) };
}

function headMoved(error: unknown): never {
  const state = sqlStateOf(error);
  // 40001: our snapshot is older than the other sealer's update of the head.
  if (state !== HEAD_MOVED && state !== '40001') throw error;
  throw new AuditkeepError('CHAIN_HEAD_MOVED', {
    message: 'the head of the chain moved while a batch was being sealed',
    hint: 'run it again; only one sealer can hold the lock, so find out who else writes to the chain',
    cause: error,
  });
}
