/** One whole run of archival, by the daily job, by hand or as a DBA asked: partitions, then late rows, then their roll-ups. */
import type { Context } from '../context.ts';
import { type ArchiveInput, type ArchiveRun, runArchive } from './archive.ts';
import { collectDue, type LateOutcome, rollUpLate } from './late.ts';

export interface ArchivalRun extends ArchiveRun {
  /** Late rows that became units of their own, and late raw metrics that were rolled up. */
  readonly late: readonly LateOutcome[];
}

/**
 * Moves what planArchive lists and collects what planLate lists, within the same scope. Durable step by step; one's
 * failure never stops the others and is in its outcome.
 */
export async function runArchival(
  ctx: Pick<Context, 'db' | 'clock' | 'actor'>,
  input: ArchiveInput,
): Promise<ArchivalRun> {
  const run = await runArchive(ctx, input);
  const collected = await collectDue(ctx, input);
  const isRaw = input.table === undefined || input.table === 'performance_metrics';
  const rolledUp = isRaw ? await rollUpLate(ctx, input.signal) : [];
  return { ...run, late: [...collected, ...rolledUp] };
}
