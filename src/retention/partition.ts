/** Partitions exist before they are needed: the daily plan, its execution, and what an import needs at once. */

import { recordEvent } from '../audit/record/record.ts';
import type { Context } from '../context.ts';
import { inTransaction } from '../db/transaction.ts';
import { AuditkeepError } from '../errors.ts';
import { isoOf, type UtcInstant } from '../time/clock.ts';
import type { TimeRange } from './bounds.ts';
import type { BranchFacts, LeafFacts, UnitFacts } from './facts.ts';
import { DEFAULT_WINDOW, retryOnLock } from './lock-retry.ts';
import { type Plan, type PlanUnit, planGrowth, planNeeded, planOf } from './plan.ts';
import type { BranchPolicy, FamilyName } from './policy.ts';
import { readPolicyInForce } from './policy-store.ts';
import { recordStep } from './record.ts';
import { translateRefusal } from './refusal.ts';
import {
  adoptPartition,
  createPartition,
  fillGap,
  proveBounds,
  readBranches,
  readFaults,
  readUnits,
  repairDefault,
} from './store.ts';

type PartitionContext = Pick<Context, 'db' | 'clock' | 'actor'>;

/** What is missing up to each table's premake horizon. Changes nothing. */
export function planPartitions(ctx: Pick<Context, 'db' | 'clock'>): Promise<Plan & { rules: readonly BranchPolicy[] }> {
  return ctx.db.withClient(async (client) => {
    const branches = await readBranches(client);
    const { policy, sha256 } = await readPolicyInForce(client);
    const now = ctx.clock.now();
    const faults = await readFaults(client);
    const units = policy.rules.flatMap((rule) => planGrowth(rule, factsOf(branches, rule), now, faults));
    return { ...planOf(units, sha256), rules: policy.rules };
  });
}

export interface AppliedPartitions {
  readonly planHash: string;
  readonly units: readonly PlanUnit[];
  readonly created: number;
  readonly adopted: number;
  /** Rows of DEFAULT partitions that found their place. */
  readonly repaired: number;
  /** Partitions with something wrong that a person has to mend; their plan lines name it. */
  readonly blocked: number;
}

/**
 * Executes planPartitions, branch after branch, audit_log first, since the events of the others need a place in it: the
 * rows of a DEFAULT partition move out, gaps close, the branch grows, other people's partitions become units. Durable
 * when it returns; running it again changes nothing.
 * @throws RETENTION_BUSY, RETENTION_BOUNDS after every branch was tried
 */
export async function applyPartitions(ctx: PartitionContext): Promise<AppliedPartitions> {
  const first = await planPartitions(ctx);
  const failures: unknown[] = [];
  const done = { created: 0, adopted: 0, repaired: 0 };
  for (const policy of first.rules) {
    try {
      let units = unitsOf(first, policy);
      if (units.some((unit) => unit.action === 'repair')) {
        done.repaired += await repairBranch(ctx, policy);
        // Its rows needed partitions of their own.
        units = unitsOf(await planPartitions(ctx), policy);
      }
      // Growth first: the events of adoption need a place in audit_log too.
      done.created += await growBranch(ctx, policy, units);
      done.adopted += await adoptAll(ctx, policy, units);
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
  const blocked = first.units.filter((unit) => unit.blockers.length > 0).length;
  return { planHash: first.planHash, units: first.units, ...done, blocked };
}

function unitsOf(plan: Plan, policy: BranchPolicy): readonly PlanUnit[] {
  return plan.units.filter((unit) => unit.table === policy.table && unit.category === policy.category);
}

async function growBranch(ctx: PartitionContext, policy: BranchPolicy, units: readonly PlanUnit[]): Promise<number> {
  const ranges = (action: PlanUnit['action']) =>
    units.flatMap((unit) => (unit.action === action && unit.from !== null ? [{ from: unit.from, to: unit.to }] : []));
  const filled = await createRanges(ctx, policy, ranges('fill'), fillGap);
  return filled + (await createRanges(ctx, policy, ranges('create')));
}

async function repairBranch(ctx: PartitionContext, policy: BranchPolicy): Promise<number> {
  return await retried(() =>
    inTransaction(ctx.db, async (client) => {
      const moved = await repairDefault(client, policy.table, policy.category);
      if (moved === null) return 0;
      await recordStep(ctx, client, 'REPAIR', { partition: branchName(policy), details: { rows: Number(moved) } });
      return Number(moved);
    }),
  );
}

/** All of one branch's ranges in one transaction: their event may need the newest of them. */
async function createRanges(
  ctx: PartitionContext,
  policy: BranchPolicy,
  ranges: readonly TimeRange[],
  make: typeof createPartition = createPartition,
): Promise<number> {
  const [first, last] = [ranges[0], ranges.at(-1)];
  if (first === undefined || last === undefined) return 0;
  return await retried(() =>
    inTransaction(ctx.db, async (client) => {
      let made = 0;
      for (const range of ranges) {
        if (await make(client, policy.table, policy.category, range)) made += 1;
      }
      if (made === 0) return 0;
      await recordEvent(ctx, client, {
        type: 'partition.created',
        category: 'system',
        action: 'CREATE',
        resourceType: 'partition',
        resourceId: branchName(policy),
        details: { partitions: made, from: isoOf(first.from), to: isoOf(last.to) },
      });
      return made;
    }),
  );
}

async function adoptAll(ctx: PartitionContext, policy: BranchPolicy, units: readonly PlanUnit[]): Promise<number> {
  let adopted = 0;
  for (const unit of units.filter((candidate) => candidate.action === 'adopt' && candidate.blockers.length === 0)) {
    await retried(() =>
      inTransaction(ctx.db, async (client) => {
        if (!(await adoptPartition(client, unit.table, unit.category, unit.partition))) return;
        await recordStep(ctx, client, 'ADOPT', {
          partition: unit.partition,
          details: { branch: branchName(policy) },
        });
        adopted += 1;
      }),
    );
    await retried(() => inTransaction(ctx.db, (client) => proveBounds(client, unit.table, unit.partition)));
  }
  return adopted;
}

export interface EnsuredPartitions {
  readonly created: number;
  /** Sealed, archived or gone units over which instants fall: their rows go to the late table, or are to be refused. */
  readonly archivedRanges: readonly UnitFacts[];
  /** Leaves that took rows when the call began: instants within them need no call. */
  readonly hot: readonly LeafFacts[];
}

/** More than a century of months in one call is a corrupt input, not history. */
const MOST_PARTITIONS_A_CALL = 1500;

/**
 * Makes the partitions that rows at these instants need, wherever nothing was archived yet (a tombstone gives way; the
 * next archival run moves them). Instants beyond the premake horizon are left out: their rows fail with the database's
 * own error. `categories` narrows tables that have them; all otherwise. Call it again where more instants turn up.
 * @throws RETENTION_BOUNDS when the instants need more partitions than any real history has; RETENTION_BUSY
 */
export async function ensurePartitions(
  ctx: PartitionContext,
  table: FamilyName,
  instants: readonly UtcInstant[],
  categories?: readonly string[],
): Promise<EnsuredPartitions> {
  let created = 0;
  const archivedRanges: UnitFacts[] = [];
  const hot: LeafFacts[] = [];
  const inForce = await ctx.db.withClient(readPolicyInForce);
  for (const policy of inForce.policy.rules) {
    if (policy.table !== table) continue;
    if (categories !== undefined && policy.category !== null && !categories.includes(policy.category)) continue;
    const { facts, units, grown } = await readGrown(ctx, policy);
    created += grown;
    const needed = planNeeded(policy, facts, units, instants);
    if (needed.create.length > MOST_PARTITIONS_A_CALL) throw tooMany(table, needed.create.length);
    // One transaction each: a tombstone that gives way locks out writers for a moment, and only for one.
    for (const range of needed.create) created += await createRanges(ctx, policy, [range]);
    archivedRanges.push(...needed.closed);
    hot.push(...facts.leaves.filter((leaf) => !leaf.tombstone));
  }
  return { created, archivedRanges, hot };
}

/** Looks taken at a branch while others may change it. */
const LOOKS = 5;

/**
 * A branch once it has grown. The catalog is no snapshot: while another importer replaces a tombstone it can look like a
 * gap, which is gone when it is to be filled. Then the branch is looked at again.
 */
async function readGrown(
  ctx: PartitionContext,
  policy: BranchPolicy,
): Promise<{ readonly facts: BranchFacts; readonly units: readonly UnitFacts[]; readonly grown: number }> {
  for (let look = 1; ; look += 1) {
    const { branches, units } = await ctx.db.withClient(async (client) => ({
      branches: await readBranches(client),
      units: await readUnits(client, policy.table),
    }));
    const facts = factsOf(branches, policy);
    try {
      const grown = await growBranch(ctx, policy, planGrowth(policy, facts, ctx.clock.now()));
      return { facts, units, grown };
    } catch (error) {
      if (look === LOOKS || !(error instanceof AuditkeepError) || error.code !== 'RETENTION_BOUNDS') throw error;
    }
  }
}

function factsOf(branches: readonly BranchFacts[], policy: BranchPolicy): BranchFacts {
  const found = branches.find((branch) => branch.table === policy.table && branch.category === policy.category);
  return found ?? { table: policy.table, category: policy.category, parent: branchName(policy), leaves: [] };
}

function branchName(policy: BranchPolicy): string {
  return policy.category === null ? policy.table : `${policy.table}_${policy.category}`;
}

async function retried<T>(fn: () => Promise<T>): Promise<T> {
  try {
    return await retryOnLock(DEFAULT_WINDOW, fn);
  } catch (error) {
    throw translateRefusal(error);
  }
}

function tooMany(table: FamilyName, count: number): AuditkeepError {
  return new AuditkeepError('RETENTION_BOUNDS', {
    message: `the rows for ${table} need ${count} new partitions`,
    hint: 'check the timestamps of the input; import it in parts if they are right',
    details: { table, count },
  });
}
