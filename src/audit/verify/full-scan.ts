/**
 * Reads every link and every event once, both at the same time, and has worker threads hash them. The links come over a
 * second connection in the snapshot of the first one: the server's two processes work side by side. Units that cannot
 * change any more are read one by one, and kept when they are read (step-run.ts).
 */
import { ChunkMemory } from '../../db/copy-out.ts';
import type { Database, SqlClient } from '../../db/database.ts';
import { sqlStateOf } from '../../db/errors.ts';
import { transact } from '../../db/transaction.ts';
import { readSlabs, type Slab } from '../copy/slabs.ts';
import type { TupleSource } from '../copy/tuples.ts';
import type { Resumed } from '../links/finding.ts';
import { linkSource } from '../links/link-source.ts';
import { exportSnapshot, joinSnapshot } from '../links/snapshot-store.ts';
import type { ScanResult } from '../scan/chain-scan.ts';
import { EventSums } from '../scan/event-sums.ts';
import { ScanThreads } from '../scan/scan-threads.ts';
import { encodeFrontier } from '../tree/merkle.ts';
import { sumsOf } from './kept-steps.ts';
import { restSource, unitSource } from './stable-units.ts';
import { planSteps } from './step-plan.ts';
import { checkTakenOver, StepRun } from './step-run.ts';
import type { Verifying, VerifyRun } from './verify-run.ts';

const LOCK_NOT_AVAILABLE = '55P03';

export interface FullScan {
  readonly sums: EventSums;
  /** Of the thread that walked the links. */
  readonly walk: ScanResult;
  /** Events hashed, by this run or the one it goes on from. */
  readonly checked: number;
  /** Ids of which there may be more than one link; null when they are too many to tell. */
  readonly repeated: readonly Buffer[] | null;
  readonly resumed: Resumed | null;
}

type Scanning = Pick<Verifying, 'db' | 'progress' | 'clock' | 'config' | 'log'>;

/**
 * Scans everything that the client's transaction sees, but for units that an interrupted run has read.
 * @param fresh also those
 * @throws CHAIN_CANARY
 */
export async function scanChain(ctx: Scanning, client: SqlClient, run: VerifyRun, fresh: boolean): Promise<FullScan> {
  const plan = await planSteps(ctx, client, run, fresh);
  const sums = new EventSums(Buffer.from(plan.kept.key, 'base64'), BigInt(plan.kept.since));
  for (const { step } of plan.taken) sums.merge(sumsOf(step));
  await checkTakenOver(client, plan);
  const { size, chainHash, frontier } = run.head;
  const memory = new ChunkMemory();
  const threads = new ScanThreads({
    memory,
    input: {
      key: sums.key,
      since: sums.since,
      sizes: run.opened.heads.map((checkpoint) => checkpoint.size),
      head: { size, chainHash, frontier: encodeFrontier(frontier) },
    },
  });
  const hashAll = async (from: SqlClient, source: TupleSource<unknown>, hash: (slab: Slab) => Promise<void>) => {
    for await (const slab of readSlabs(from, source, memory)) {
      await hash(slab);
      ctx.progress.update(threads.rows);
    }
  };
  const steps = new StepRun(ctx, { run, plan, sums, threads });
  ctx.progress.start(steps.label, null);
  try {
    await besides(ctx.db, client, {
      second: (from) => hashAll(from, linkSource, (slab) => threads.links(slab)),
      first: async () => {
        for (const unit of plan.unread) {
          await hashAll(client, unitSource(unit), (slab) => threads.events(slab));
          steps.ended(unit);
        }
        await hashAll(client, restSource(plan.units), (slab) => threads.events(slab));
      },
    });
    const results = await threads.finish();
    for (const result of results) sums.merge(result.sums);
    await steps.finish();
    const [walk] = results;
    if (walk === undefined) throw new RangeError('no thread');
    const repeated = walk.repeated?.map((id) => Buffer.from(id)) ?? null;
    const checked = threads.rows - walk.walked + (plan.resumed?.events ?? 0);
    return { sums, walk, checked, repeated, resumed: plan.resumed };
  } finally {
    ctx.progress.stop();
    await threads.close();
    await steps.close();
  }
}

interface TwoReads {
  first(): Promise<void>;
  second(client: SqlClient): Promise<void>;
}

/**
 * Runs both reads at once, the second on a connection of its own; one after the other on the client's where somebody who
 * waits for our locks would let the second connection wait. Ends when both have ended.
 */
async function besides(db: Database, client: SqlClient, reads: TwoReads): Promise<void> {
  const snapshot = await exportSnapshot(client);
  let begun = false;
  const begin = () => {
    begun = true;
    return reads.first();
  };
  const together = db.withClient((other) =>
    transact(
      other,
      async () => {
        await joinSnapshot(other, snapshot);
        const outcomes = await Promise.allSettled([begin(), reads.second(other)]);
        for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
      },
      'repeatable read, read only',
    ),
  );
  await together.catch(async (error: unknown) => {
    if (begun || sqlStateOf(error) !== LOCK_NOT_AVAILABLE) throw error;
    await reads.second(client);
    await reads.first();
  });
}
