/**
 * The sealer: gives every committed event a dense seq and links it. Writers hash nothing and take no lock; this is the
 * one place that does. States of the head:
 *
 *   idle (snapshot S, no cursor) -- a full batch of what a newer snapshot T shows --> cut short (S, target T, cursor)
 *   cut short -- further batches of T, also after a crash --> cut short -- the last batch --> idle (snapshot T)
 *
 * Candidates are the rows visible in T whose transaction was not visible in S, so that no row is missed or linked
 * twice however long a writer stays open. One connection streams the candidates of a round, sorted once; the other
 * appends them batch by batch, each in a transaction of its own, while the next batch is hashed. A kill loses at most
 * that batch, which the next run makes again from the cursor.
 */
import type { Config } from '../../config.ts';
import type { Context } from '../../context.ts';
import { withFreeLock } from '../../db/advisory-lock.ts';
import { ChunkMemory } from '../../db/copy-out.ts';
import type { Database, SqlClient } from '../../db/database.ts';
import { sqlStateOf } from '../../db/errors.ts';
import { transact } from '../../db/transaction.ts';
import { AuditkeepError } from '../../errors.ts';
import { timestampText, uuidText } from '../copy/pg-time.ts';
import { bytesOf, readSlabs } from '../copy/slabs.ts';
import { eachTuple, type TupleSource } from '../copy/tuples.ts';
import {
  appendLinks,
  candidateSource,
  currentSnapshot,
  extendChainLinks,
  type HeadMove,
  readHead,
  type SealCursor,
  setCursor,
} from '../links/chain-store.ts';
import { NOTHING_SEEN, type Snapshot } from '../links/snapshot.ts';
import { requireTransactionOrder } from '../links/transaction-order.ts';
import { requireNotRolledBack } from '../publish/published.ts';
import { encodeFrontier } from '../tree/merkle.ts';
import { EventBatch, linkBatch, type TreeEnd } from './seal-batch.ts';
import { cancelQuery, readBackendPid, requireDurableCommit } from './seal-store.ts';

/** Links in one transaction; audit.append_links refuses more. */
const BATCH_SIZE = 10_000;
const HEAD_MOVED = 'AK020';

export interface SealInput {
  /** Stops after this many batches; undefined goes on until everything visible at the start of a round is sealed. */
  readonly maxBatches?: number;
  /** Links a batch, from 1 to 10,000. */
  readonly batchSize?: number;
  /** Stops before the next batch once aborted. */
  readonly signal?: AbortSignal;
}

/** What sealing needs of the context. */
export interface Sealing extends Pick<Context, 'db' | 'log'> {
  readonly config: Pick<Config, 'home' | 'origin' | 'witnesses'>;
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
 * nothing and says complete: false. Takes two connections.
 * @throws CHAIN_ROLLED_BACK when the signer's store knows a longer chain, CHAIN_SIGNER_STORE; CHAIN_TXID_WENT_BACK after a
 * dump and restore; CHAIN_HEAD_MOVED when something else moved the head; nothing of that batch is kept
 */
export function sealChain(ctx: Sealing, input: SealInput = {}): Promise<SealResult> {
  return ctx.db.withClient(async (writer) => {
    const result = await withFreeLock(writer, 'sealer', 'exclusive', async () => {
      await requireNotRolledBack(writer, ctx.config, await readHead(writer));
      return sealRounds(ctx.db, writer, input);
    });
    if (result === null) return { sealed: 0, size: (await readHead(writer)).size, batches: 0, complete: false };
    if (result.sealed > 0) ctx.log.info({ sealed: result.sealed, size: String(result.size) }, 'chain.sealed');
    return result;
  });
}

/**
 * Seals the rest of a round that was cut short, whatever the signer knows; nothing where no round is open. For whoever
 * holds the sealer's lock and goes on after a restore: the record of that can only be linked between two rounds.
 */
export async function finishRound(db: Database, writer: SqlClient): Promise<void> {
  if ((await readHead(writer)).cursor === null) return;
  await sealRound(db, writer, { batchSize: BATCH_SIZE, batchDone: () => true });
}

async function sealRounds(db: Database, writer: SqlClient, input: SealInput): Promise<SealResult> {
  let [sealed, batches] = [0, 0];
  const mayGoOn = () => batches < (input.maxBatches ?? Number.POSITIVE_INFINITY) && input.signal?.aborted !== true;
  const batchSize = Math.min(input.batchSize ?? BATCH_SIZE, BATCH_SIZE);
  if (!(batchSize >= 1)) throw new RangeError(`a batch of ${batchSize} links would never come to an end`);
  for (;;) {
    const round: Round = {
      batchSize,
      batchDone: (links) => {
        sealed += links;
        batches += 1;
        return mayGoOn();
      },
    };
    const { size, drained, resumed } = await sealRound(db, writer, round);
    // The end of a round that an earlier run began says nothing about what was committed since.
    if (drained && !resumed) return { sealed, size, batches, complete: true };
    if (!drained || !mayGoOn()) return { sealed, size, batches, complete: false };
  }
}

interface Round {
  readonly batchSize: number;
  /** Counts a batch; false stops the round after it. */
  batchDone(links: number): boolean;
}

interface RoundEnd {
  readonly size: bigint;
  /** Everything of the round is sealed. */
  readonly drained: boolean;
  /** The round was begun by an earlier run and cut short. */
  readonly resumed: boolean;
}

/** Leaves a round before its end; the reader's transaction and connection end with it. */
class RoundCut extends Error {
  readonly end: RoundEnd;

  constructor(end: RoundEnd) {
    super('the round was cut short');
    this.end = end;
  }
}

async function sealRound(db: Database, writer: SqlClient, round: Round): Promise<RoundEnd> {
  try {
    return await db.withClient((reader) =>
      transact(reader, () => sealCandidates(db, { reader, writer }, round), 'repeatable read, read only'),
    );
  } catch (error) {
    if (error instanceof RoundCut) return error.end;
    throw error;
  }
}

async function sealCandidates(
  db: Database,
  { reader, writer }: { readonly reader: SqlClient; readonly writer: SqlClient },
  round: Round,
): Promise<RoundEnd> {
  const head = await readHead(reader);
  const resumed = head.cursor !== null;
  const now = await currentSnapshot(reader);
  requireTransactionOrder(head, now);
  const target = head.cursor?.target ?? now;
  if (head.cursor !== null) await setCursor(reader, head.cursor);
  const pid = await readBackendPid(reader);
  const source = candidateSource({
    ...{ sealed: head.snapshot ?? NOTHING_SEEN, target },
    ...{ after: head.cursor, sweptUntil: head.sweptUntil },
  });
  let end: TreeEnd = head;
  let appended = Promise.resolve(true);
  for await (const batch of readBatches(reader, source, round.batchSize)) {
    const drained = !batch.full;
    const { links, end: next } = linkBatch(end, batch);
    // One batch is on its way while the next one is hashed. Without the cancellation the rest would be read.
    const goesOn = await appended.catch((error: unknown) => cancelled(db, pid, error));
    if (!goesOn) await cancelled(db, pid, new RoundCut({ size: end.size, drained: false, resumed }));
    const place = drained
      ? { snapshot: target, cursor: null }
      : { snapshot: head.snapshot, cursor: cursorAt(target, batch) };
    appended = appendBatch(writer, { from: end, links, frontier: encodeFrontier(next.frontier), ...place }).then(() =>
      round.batchDone(batch.count),
    );
    // Awaited with the next batch or at the end; until then a failure is not unheard.
    appended.catch(() => undefined);
    end = next;
  }
  await appended;
  return { size: end.size, drained: true, resumed };
}

/** Ends the stream of a round that is cut short. Where that fails the stream ends with its connection; the reason is told. */
async function cancelled(db: Database, pid: number, reason: unknown): Promise<never> {
  await db.withClient((client) => cancelQuery(client, pid)).catch(() => undefined);
  throw reason;
}

/** Batches of exactly this size, and at the end a shorter one, which may be empty. */
async function* readBatches(
  reader: SqlClient,
  source: TupleSource<unknown>,
  size: number,
): AsyncGenerator<EventBatch, void, undefined> {
  const memory = new ChunkMemory();
  let [batch, ended] = [new EventBatch(size), false];
  for await (const slab of readSlabs(reader, source, memory)) {
    const filled: EventBatch[] = [];
    ended = eachTuple(bytesOf(slab), source, (tuple) => {
      batch.addTuple(tuple);
      if (!batch.full) return;
      filled.push(batch);
      batch = new EventBatch(size);
    });
    memory.give(slab.buffer);
    yield* filled;
  }
  if (!ended) throw new RangeError('the COPY stream ended early');
  yield batch;
}

async function appendBatch(writer: SqlClient, move: HeadMove): Promise<void> {
  await extendChainLinks(writer);
  await transact(writer, async () => {
    await requireDurableCommit(writer);
    await appendLinks(writer, move);
  }).catch(headMoved);
}

function cursorAt(target: Snapshot, { last }: EventBatch): SealCursor | null {
  if (last === null) return null;
  return { target, txid: last.txid, timestamp: timestampText(last.timestamp), id: uuidText(last.id) };
}

function headMoved(error: unknown): never {
  if (sqlStateOf(error) !== HEAD_MOVED) throw error;
  throw new AuditkeepError('CHAIN_HEAD_MOVED', {
    message: 'the head of the chain moved while a batch was being sealed',
    hint: 'run it again; only one sealer can hold the lock, so find out who else writes to the chain',
    cause: error,
  });
}
