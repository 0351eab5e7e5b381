/**
 * Units that are due but for some of their rows (a hold that reaches only those, their own retention_days) are split before a
 * destruction is requested, so that what may go can go and what has to stay is a unit of its own.
 */
import type { Context } from '../context.ts';
import { AuditkeepError } from '../errors.ts';
import { split } from './dispose.ts';
import type { RetryWindow } from './lock-retry.ts';
import type { PlanUnit } from './plan.ts';
import type { Sibling } from './unit-store.ts';

export interface SplitUnit {
  readonly partition: string;
  readonly siblings: readonly Sibling[];
}

/** Whether only rows of it stand in the way: another part of them may be free. Pure. */
function mayPart({ blockers }: PlanUnit): boolean {
  return blockers.length > 0 && blockers.every((blocker) => blocker === 'held' || blocker === 'rows-not-due');
}

/**
 * Splits what of a plan may part; each in one transaction that proves that the siblings hold exactly its rows. A unit whose
 * rows belong together, that a lock keeps, or that cannot be split, stays as it is, and blocked.
 */
export async function splitDue(
  ctx: Pick<Context, 'db' | 'clock' | 'actor'>,
  units: readonly PlanUnit[],
  input: { readonly reason: string; readonly window?: RetryWindow },
): Promise<readonly SplitUnit[]> {
  const done: SplitUnit[] = [];
  for (const { unitId, partition } of units.filter(mayPart)) {
    if (unitId === null) continue;
    try {
      const siblings = await split(ctx, { unitId, reason: input.reason, window: input.window });
      if (siblings.length > 0) done.push({ partition, siblings });
    } catch (error) {
      // It stays in its plan, blocked as before; what differs from its manifest is never destroyed either.
      if (!(error instanceof AuditkeepError)) throw error;
    }
  }
  return done;
}
