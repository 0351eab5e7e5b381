/**
 * What every archival run does first: tables that somebody took out of a hot table go back (also after a DETACH
 * CONCURRENTLY that was cut short, whose rows are in neither place), failed units go back to where their edge began, and
 * neighbouring tombstones become one. One failure never stops the rest.
 */
import type { Context } from '../context.ts';
import { inTransaction } from '../db/transaction.ts';
import type { BranchFacts } from './facts.ts';
import type { RetryWindow } from './lock-retry.ts';
import { recordStep } from './record.ts';
import { translateRefusal } from './refusal.ts';
import { readBranches } from './store.ts';
import { moveInStructure } from './structure.ts';
import { mergeTombstones, readFailed, readStrays, reattachUnit, retryUnit } from './unit-store.ts';

type ReconcileContext = Pick<Context, 'db' | 'clock' | 'actor'>;

export interface Reconciled {
  readonly reattached: number;
  readonly retried: number;
  /** Tombstones that became part of a larger one. */
  readonly merged: number;
  /** What could not be mended; a person has to look, or the next run tries again. */
  readonly failures: readonly { readonly partition: string; readonly error: unknown }[];
}

/** Mends what can be mended. Running it twice, or killing it anywhere, changes nothing. */
export async function reconcile(ctx: ReconcileContext, window?: RetryWindow): Promise<Reconciled> {
  const failures: { partition: string; error: unknown }[] = [];
  const attempt = async (partition: string, fn: () => Promise<number>): Promise<number> => {
    try {
      return await fn();
    } catch (error) {
      failures.push({ partition, error: translateRefusal(error) });
      return 0;
    }
  };
  const { strays, failed } = await ctx.db.withClient(async (client) => ({
    strays: await readStrays(client),
    failed: await readFailed(client),
  }));
  let [reattached, retried, merged] = [0, 0, 0];
  for (const stray of strays) {
    reattached += await attempt(stray.relation_name, () => reattach(ctx, stray, window));
  }
  for (const unit of failed) retried += await attempt(unit.relation_name, () => retry(ctx, unit));
  for (const branch of await ctx.db.withClient(readBranches)) {
    if (longestRun(branch) < MERGE_FROM) continue;
    merged += await attempt(branch.parent, () => merge(ctx, branch));
  }
  return { reattached, retried, merged, failures };
}

type Stray = Awaited<ReturnType<typeof readStrays>>[number];

function reattach(ctx: ReconcileContext, stray: Stray, window: RetryWindow | undefined): Promise<number> {
  return moveInStructure(
    ctx,
    { window },
    async (client) => {
      await reattachUnit(client, stray.unit_id);
      return 1;
    },
    (client) =>
      recordStep(ctx, client, 'REATTACH', { partition: stray.relation_name, details: { found: stray.state } }),
  );
}

type FailedUnit = Awaited<ReturnType<typeof readFailed>>[number];

function retry(ctx: ReconcileContext, unit: FailedUnit): Promise<number> {
  return inTransaction(ctx.db, async (client) => {
    if (!(await retryUnit(client, unit.unit_id))) return 0;
    await recordStep(ctx, client, 'RETRY', { partition: unit.relation_name, details: { to: unit.failed_from } });
    return 1;
  });
}

/** Two neighbours cost nobody anything; a row of them costs every insert's planning a little. */
const MERGE_FROM = 4;

/** Merging can wait for any later run. */
const MERGE_WINDOW: RetryWindow = { attempts: 20, maxPauseMs: 50 };

/** How many tombstones lie side by side at most. */
function longestRun(branch: BranchFacts): number {
  let [longest, current] = [0, 0];
  for (const [at, leaf] of branch.leaves.entries()) {
    const touches = at > 0 && branch.leaves[at - 1]?.to === leaf.from;
    current = leaf.tombstone ? (touches ? current + 1 : 1) : 0;
    longest = Math.max(longest, current);
  }
  return longest;
}

async function merge(ctx: ReconcileContext, branch: BranchFacts): Promise<number> {
  let total = 0;
  for (;;) {
    const merged = await moveInStructure(
      ctx,
      { window: MERGE_WINDOW },
      (client) => mergeTombstones(client, branch.table, branch.category),
      async (client, count) => {
        if (count === 0) return;
        await recordStep(ctx, client, 'MERGE', { partition: branch.parent, details: { tombstones: count } });
      },
    );
    if (merged === 0) return total;
    total += merged;
  }
}
