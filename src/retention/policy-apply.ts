/**
 * Applying a policy: a new version, in force at once, or, where it shortens, 72 hours after two policy owners signed.
 *
 *   file --apply--> in force
 *   file --apply, shortening, signed by a policy owner--> requested --approve, signed by another--> waits 72 h --> in force
 */
import { recordEvent } from '../audit/record/record.ts';
import type { Context } from '../context.ts';
import type { SqlClient } from '../db/database.ts';
import { inTransaction } from '../db/transaction.ts';
import { AuditkeepError } from '../errors.ts';
import { decideObject, signingPerson } from '../persons/decide-object.ts';
import type { RetentionPolicy } from './policy.ts';
import type { PolicyProblem } from './policy-check.ts';
import { diffPolicies, type PolicyDiff } from './policy-diff.ts';
import { policyHash, policyText } from './policy-document.ts';
import { parsePolicySection } from './policy-parse.ts';
import { type PolicyVersion, proposePolicy, readPolicyInForce, readPolicyVersions } from './policy-store.ts';
import { translateRefusal } from './refusal.ts';

type PolicyContext = Pick<Context, 'db' | 'clock' | 'actor' | 'config'>;

export interface PolicyPlan extends PolicyDiff {
  readonly inForce: PolicyVersion;
  readonly policy: RetentionPolicy;
  readonly sha256: string;
  /** What the policy of the file contradicts itself in, and what gave way. */
  readonly problems: readonly PolicyProblem[];
}

/** What the `retention:` section of the configuration would change. Changes nothing. @throws POLICY_INVALID */
export async function planPolicy(ctx: Pick<Context, 'db' | 'config'>): Promise<PolicyPlan> {
  const { policy, problems } = parsePolicySection(ctx.config.retention);
  const inForce = await ctx.db.withClient(readPolicyInForce);
  return { ...diffPolicies(inForce.policy, policy), inForce, policy, sha256: policyHash(policy), problems };
}

export interface AppliedPolicy {
  readonly plan: PolicyPlan;
  /** The version in force, or the new one. */
  readonly version: number;
  readonly outcome: 'unchanged' | 'in force' | 'requested';
}

/**
 * Makes the configuration's policy a version; durable when it returns.
 * @throws POLICY_INVALID, POLICY_CONFLICT, POLICY_STALE, and for a shortening those of decideObject
 */
export async function applyPolicy(ctx: PolicyContext, input: { readonly reason: string }): Promise<AppliedPolicy> {
  const plan = await planPolicy(ctx);
  refuseConflicts(plan.problems);
  if (plan.sha256 === plan.inForce.sha256) return { plan, version: plan.inForce.version, outcome: 'unchanged' };
  // Nobody is asked to sign before everything else is right.
  if (plan.shortens.length > 0) signingPerson(ctx);
  const newest = (await readVersions(ctx))[0]?.version ?? 0;
  const store = (client: SqlClient) => storeVersion(ctx, client, { plan, after: newest, reason: input.reason });
  return await refusing(async () => {
    if (plan.shortens.length === 0) {
      const { version } = await inTransaction(ctx.db, store);
      return { plan, version, outcome: 'in force' };
    }
    let version = 0;
    await decideObject(ctx, {
      ...{ kind: 'policy', hash: plan.sha256, meaning: 'request', reason: input.reason },
      id: async (client) => {
        const made = await store(client);
        version = made.version;
        return made.policy_id;
      },
    });
    return { plan, version, outcome: 'requested' };
  });
}

async function storeVersion(
  ctx: PolicyContext,
  client: SqlClient,
  { plan, after, reason }: { readonly plan: PolicyPlan; readonly after: number; readonly reason: string },
) {
  const actor = ctx.actor.kind === 'person' ? ctx.actor.email : ctx.actor.name;
  const made = await proposePolicy(client, { document: policyText(plan.policy), after, actor, reason });
  await recordEvent(ctx, client, {
    type: 'policy.applied',
    category: 'admin',
    action: 'APPLY',
    resourceType: 'retention_policy',
    resourceId: String(made.version),
    details: {
      reason,
      policySha256: plan.sha256,
      follows: plan.inForce.version,
      shortens: plan.shortens,
      changes: plan.changes.length,
    },
  });
  return made;
}

/**
 * The second signature of a version that shortens; it is in force 72 hours later, unless a newer version is by then.
 * @throws INPUT_INVALID, and those of decideObject
 */
export async function approvePolicy(ctx: PolicyContext, version: number): Promise<PolicyVersion> {
  const found = await findVersion(ctx, version);
  await decideObject(ctx, { kind: 'policy', id: found.policyId, hash: found.sha256, meaning: 'approve' });
  return findVersion(ctx, version);
}

/** Every version, the newest first. */
export function readVersions(ctx: Pick<Context, 'db'>): Promise<readonly PolicyVersion[]> {
  return ctx.db.withClient(readPolicyVersions);
}

async function findVersion(ctx: Pick<Context, 'db'>, version: number): Promise<PolicyVersion> {
  const found = (await readVersions(ctx)).find((candidate) => candidate.version === version);
  if (found !== undefined) return found;
  throw new AuditkeepError('INPUT_INVALID', {
    message: `there is no policy version ${version}`,
    hint: 'auditkeep policy show --all lists them',
  });
}

function refuseConflicts(problems: readonly PolicyProblem[]): void {
  const conflicts = problems.filter((problem) => problem.kind === 'conflict');
  if (conflicts.length === 0) return;
  throw new AuditkeepError('POLICY_CONFLICT', {
    message: `periods contradict each other: ${conflicts.map(({ branch, what }) => `${branch}: ${what}`).join('; ')}`,
    hint: 'change one of them, or record the legal basis of the minimum',
    details: { conflicts: conflicts.map(({ branch, what }) => ({ branch, what })) },
  });
}

async function refusing<T>(fn: () => Promise<T>): Promise<T> {
  try {
    return await fn();
  } catch (error) {
    throw translateRefusal(error);
  }
}
