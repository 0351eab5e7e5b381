/** Partitions exist before they are needed: the daily plan, its execution, and what an import needs at once. */

import { recordEvent } from '../audit/record.ts';
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
import { translateRefusal } from './refusal.ts';
import { adoptPartition, createPartition, proveBounds, readBranches, readUnits } from './store.ts';

type PartitionContext = Pick<Context, 'db' | 'clock' | 'actor'>;

/** What is missing up to each table's premake horizon. Changes nothing. */
export function planPartitions(ctx: Pick<Context, 'db' | 'clock'>): Promise<Plan & { rules: readonly BranchPolicy[] }> {
  return ctx.db.withClient(async (client) => {
    const branches = await readBranches(client);
    const { policy, sha256 } = await readPolicyInForce(client);
    const now = ctx.clock.now();
    const units = policy.rules.flatMap((rule) => planGrowth(rule, factsOf(branches, rule), now));
    return { ...planOf(units, sha256), rules: policy.rules };
  });
}

export interface AppliedPartitions {
  readonly planHash: string;
  readonly units: readonly PlanUnit[];
  readonly created: number;
  readonly adopted: number;
}

/**
 * Executes planPartitions: one transaction and one audit event a branch, audit_log first, since the events of the others
 * need a place in it. Durable when it returns; running it again changes nothing.
 * @throws RETENTION_BUSY, RETENTION_BOUNDS (a gap or a DEFAULT partition) after every branch was tried
 */
export async function applyPartitions(ctx: PartitionContext): Promise<AppliedPartitions> {
  const plan = await planPartitions(ctx);
  const failures: unknown[] = [];
  let created = 0;
  let adopted = 0;
  for (const policy of plan.rules) {
    const units = plan.units.filter((unit) => unit.table === policy.table && unit.category === policy.category);
    try {
      // Growth first: the events of adoption need a place in audit_log too.
      created += await growBranch(ctx, policy, units);
      adopted += await adoptAll(ctx, policy, units);
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
  return { planHash: plan.planHash, units: plan.units, created, adopted };
}

async function growBranch(ctx: PartitionContext, policy: BranchPolicy, units: readonly PlanUnit[]): Promise<number> {
  const ranges = units.flatMap((unit) =>
    unit.action === 'create' && unit.from !== null ? [{ from: unit.from, to: unit.to }] : [],
  );
  return createRanges(ctx, policy, ranges);
}

/** All of one branch's ranges in one transaction: their event may need the newest of them. */
async function createRanges(
  ctx: PartitionContext,
  policy: BranchPolicy,
  ranges: readonly TimeRange[],
): Promise<number> {
  const [first, last] = [ranges[0], ranges.at(-1)];
  if (first === undefined || last === undefined) return 0;
  return await retried(() =>
    inTransaction(ctx.db, async (client) => {
      let made = 0;
      for (const range of ranges) {
        if (await createPartition(client, policy.table, policy.category, range)) made += 1;
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
  for (const unit of units.filter((candidate) => candidate.action === 'adopt')) {
    await retried(() =>
      inTransaction(ctx.db, async (client) => {
        if (!(await adoptPartition(client, unit.table, unit.category, unit.partition))) return;
        await recordEvent(ctx, client, {
          type: 'partition.adopted',
          category: 'system',
          action: 'ADOPT',
          resourceType: 'partition',
          resourceId: unit.partition,
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
    const { branches, units } = await ctx.db.withClient(async (client) => ({
      branches: await readBranches(client),
      units: await readUnits(client, table),
    }));
    const facts = factsOf(branches, policy);
    created += await growBranch(ctx, policy, planGrowth(policy, facts, ctx.clock.now()));
    const needed = planNeeded(policy, facts, units, instants);
    if (needed.create.length > MOST_PARTITIONS_A_CALL) throw tooMany(table, needed.create.length);
    // One transaction each: a tombstone that gives way locks out writers for a moment, and only for one.
    for (const range of needed.create) created += await createRanges(ctx, policy, [range]);
    archivedRanges.push(...needed.closed);
    hot.push(...facts.leaves.filter((leaf) => !leaf.tombstone));
  }
  return { created, archivedRanges, hot };
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
