/** The units of a full verification while it runs: what is finished is summed up, kept and shown. */
import type { SqlClient } from '../../db/database.ts';
import { readTuples } from '../copy/tuples.ts';
import { xminOf } from '../links/snapshot.ts';
import { checkCanary } from '../scan/canary.ts';
import type { EventSums, PartialSums } from '../scan/event-sums.ts';
import { MAC_WORDS } from '../scan/fixed-mac.ts';
import type { ScanThreads } from '../scan/scan-threads.ts';
import { type KeptStep, StepKeeper } from './kept-steps.ts';
import { type StableUnit, unitCanarySource } from './stable-units.ts';
import type { StepPlan } from './step-plan.ts';
import type { Verifying, VerifyRun } from './verify-run.ts';

type Running = Pick<Verifying, 'clock' | 'config' | 'log' | 'progress'>;

interface Scan {
  readonly run: VerifyRun;
  readonly plan: StepPlan;
  readonly sums: EventSums;
  readonly threads: ScanThreads;
}

export class StepRun {
  readonly #ctx: Running;
  readonly #scan: Scan;
  readonly #keeper: StepKeeper;
  /** Units whose slabs the threads still hash. */
  readonly #hashing: Promise<void>[] = [];
  #done: number;

  constructor(ctx: Running, scan: Scan) {
    this.#ctx = ctx;
    this.#scan = scan;
    this.#keeper = new StepKeeper({ home: ctx.config.home, log: ctx.log, run: scan.plan.kept });
    this.#done = scan.plan.taken.length;
  }

  /** What the progress bar is called. */
  get label(): string {
    const total = this.#scan.plan.units.length;
    return total === 0 ? 'links and events' : `links and events, ${this.#done} of ${total} units`;
  }

  /** The last slab of a unit was handed over: once it is hashed, the unit is kept. Reading goes on meanwhile. */
  ended(unit: StableUnit): void {
    this.#hashing.push(this.#keep(unit));
  }

  /** Resolves when every unit is summed up and kept; call it after the threads have finished. */
  async finish(): Promise<void> {
    await Promise.all(this.#hashing);
    await this.close();
  }

  /** Resolves when nothing is being written any more. */
  async close(): Promise<void> {
    await this.#keeper.settle();
  }

  async #keep(unit: StableUnit): Promise<void> {
    const { sums, threads, run } = this.#scan;
    const parts = await threads.cut();
    for (const part of parts) sums.merge(part);
    this.#keeper.add(stepOf(unit, parts, { horizon: xminOf(run.now), readAt: this.#ctx.clock.now() }));
    this.#done += 1;
    this.#ctx.progress.start(this.label, null);
  }
}

function stepOf(
  { parent, relation, from, to, identity }: StableUnit,
  parts: readonly PartialSums[],
  { horizon, readAt }: { readonly horizon: bigint; readonly readAt: number },
): KeptStep {
  const slices = new Map<number, Int32Array<ArrayBuffer>>();
  const suspect = new Set<number>();
  const young = new Set<number>();
  for (const part of parts) {
    for (const [at, lanes] of part.slices) {
      const sum = slices.get(at) ?? new Int32Array(MAC_WORDS + 1);
      slices.set(
        at,
        sum.map((lane, index) => lane + (lanes[index] ?? 0)),
      );
    }
    for (const at of part.suspect) suspect.add(at);
    for (const at of part.young) young.add(at);
  }
  // Of events alone, the last lane of a slice counts its rows.
  const rows = [...slices.values()].reduce((sum, lanes) => sum + (lanes[MAC_WORDS] ?? 0), 0);
  return {
    ...{ parent, relation, from: String(from), to: String(to), identity, horizon: String(horizon), readAt, rows },
    slices: [...slices],
    suspect: [...suspect],
    young: [...young],
  };
}

/**
 * A run that takes units over may read no event itself, and would not see whether it is blind: it tries its canary on one
 * of theirs. @throws CHAIN_CANARY
 */
export async function checkTakenOver(client: SqlClient, { taken }: StepPlan): Promise<void> {
  const any = taken.find(({ step }) => step.rows > 0);
  if (any === undefined) return;
  for await (const rows of readTuples(client, unitCanarySource(any.unit))) for (const row of rows) checkCanary(row);
}
