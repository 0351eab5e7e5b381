/**
 * A plan of destruction on its way to execution: planned, requested by one records manager, approved by another. Both sign
 * the hash; every reader checks that again.
 */
import type { Context } from '../context.ts';
import type { SqlClient } from '../db/database.ts';
import { AuditkeepError } from '../errors.ts';
import { decideObject, openVerifier, signingPerson, verifyObject } from '../persons/decide-object.ts';
import type { CheckedObject } from '../persons/object-decision.ts';
import { textHash } from './hold.ts';
import { readHolds } from './hold-place.ts';
import type { FamilyName } from './policy.ts';
import { type PolicyVersion, readPolicyInForce } from './policy-store.ts';
import {
  beyondLimits,
  type PlanDocument,
  type PurgePlan,
  type PurgeScope,
  parsePurgeText,
  planPurge,
} from './purge-plan.ts';
import { draftPlan, readKnownRows, readPlans, readPurgeFacts, type StoredPlan } from './purge-store.ts';
import { translateRefusal } from './refusal.ts';
import { type SplitUnit, splitDue } from './split-due.ts';

type PurgeContext = Pick<Context, 'db' | 'clock' | 'actor'>;

/** What is due for destruction, and what stands in the way. Changes nothing. @throws DECISION_INVALID, REGISTER_INVALID */
export function planDestruction(ctx: Pick<Context, 'db' | 'clock'>, scope: PurgeScope = {}): Promise<PurgePlan> {
  return ctx.db.withClient((client) => planNow(client, ctx, scope, null));
}

/** The same on a connection, of these units only where they are given. */
export async function planNow(
  client: SqlClient,
  ctx: Pick<Context, 'clock'>,
  scope: PurgeScope,
  only: readonly bigint[] | null,
): Promise<PurgePlan> {
  const version = await readSignedPolicy(client);
  const holds = await readHolds(client);
  const unsigned = holds.find((hold) => hold.released_at !== null && hold.state !== 'released');
  if (unsigned !== undefined) throw unsignedObject(`the release of hold ${unsigned.hold_id}`, unsigned.findings);
  return planPurge({
    version,
    facts: await readPurgeFacts(client, only),
    holds: holds
      .filter((hold) => hold.placed_at !== null && hold.released_at === null)
      .map((hold) => ({ sha256: hold.sha256, table: hold.table_name })),
    now: ctx.clock.now(),
    scope,
  });
}

/** The policy in force; one that shortens counts only with both signatures. */
async function readSignedPolicy(client: SqlClient): Promise<PolicyVersion> {
  const version = await readPolicyInForce(client);
  if (!version.shortens) return version;
  const object = { kind: 'policy', id: version.policyId, hash: version.sha256 } as const;
  const checked = await verifyObject(client, object);
  if (checked.approval === null) throw unsignedObject(`version ${version.version} of the policy`, checked.findings);
  return version;
}

export interface RequestedPlan {
  readonly planId: string;
  readonly plan: PurgePlan;
  /** Units that were split first, since only some of their rows have to stay. */
  readonly splits: readonly SplitUnit[];
}

/**
 * Stores what is due and signs its request. What is blocked stays out of it; a unit of which only some rows are is split
 * first, unless `split` is false (a dry run).
 * @throws PLAN_EMPTY, PLAN_LIMITS, and those of decideObject
 */
export async function requestPurge(
  ctx: PurgeContext,
  input: PurgeScope & { readonly reason: string; readonly split?: boolean },
): Promise<RequestedPlan> {
  const { email } = signingPerson(ctx);
  const first = await planDestruction(ctx, input);
  const splits = input.split === false ? [] : await splitDue(ctx, first.units, { reason: input.reason });
  const plan = splits.length === 0 ? first : await planDestruction(ctx, input);
  const document = parsePurgeText(plan.document);
  if (document === null || document.units.length === 0) {
    throw new AuditkeepError('PLAN_EMPTY', {
      message: plan.units.length === 0 ? 'nothing is due for destruction' : 'everything that is due is blocked',
      hint: 'auditkeep purge plan shows what is due and what stands in the way',
    });
  }
  await refuseBeyondLimits(ctx, document);
  const { id: planId } = await decideObject(ctx, {
    ...{ kind: 'plan', hash: plan.planHash, meaning: 'request', reason: input.reason },
    id: (client) => draftPlan(client, { document: plan.document, actor: email, reason: input.reason }),
  });
  return { planId, plan, splits };
}

/** Blast radius: a run stops before its first action, and nobody is asked to sign what could not run. */
export async function refuseBeyondLimits(ctx: Pick<Context, 'db'>, document: PlanDocument): Promise<void> {
  const beyond = await ctx.db.withClient(async (client) => {
    const { limits } = (await readPolicyInForce(client)).policy;
    const rows = new Map<FamilyName, bigint>();
    for (const { table } of document.units) {
      if (!rows.has(table)) rows.set(table, await readKnownRows(client, table));
    }
    return beyondLimits(document, limits, (table) => rows.get(table) ?? 0n);
  });
  if (beyond === null) return;
  throw new AuditkeepError('PLAN_LIMITS', {
    message: `the plan reaches ${beyond}`,
    hint: 'request fewer units with --table or --before, or change the limits of the policy',
  });
}

/**
 * The second signature. The plan may start after the policy's cooling-off, for as long as its approval holds.
 * @param planId the plan's id, or the hash that was shown
 * @throws PLAN_UNKNOWN, and those of decideObject
 */
export async function approvePurge(ctx: PurgeContext, planId: string): Promise<StoredPlan> {
  const plan = await findPlan(ctx, planId);
  await decideObject(ctx, { kind: 'plan', id: plan.plan_id, hash: plan.plan_hash, meaning: 'approve' });
  return findPlan(ctx, plan.plan_id);
}

export interface ListedPlan extends StoredPlan {
  readonly decisions: CheckedObject;
}

/** Every plan with the decisions on it that hold, the newest first. */
export function listPlans(ctx: Pick<Context, 'db'>): Promise<readonly ListedPlan[]> {
  return ctx.db.withClient(async (client) => {
    const plans: ListedPlan[] = [];
    const verify = await openVerifier(client);
    for (const plan of await readPlans(client)) {
      plans.push({ ...plan, decisions: await verify({ kind: 'plan', id: plan.plan_id, hash: plan.plan_hash }) });
    }
    return plans;
  });
}

/** The plan of an id or hash, or of the beginning of one. @throws PLAN_UNKNOWN */
export async function findPlan(ctx: Pick<Context, 'db'>, id: string): Promise<StoredPlan> {
  const plans = await ctx.db.withClient((client) => readPlans(client));
  const found = plans.filter((plan) => plan.plan_id.startsWith(id.toLowerCase()) || plan.plan_hash.startsWith(id));
  const [plan] = found;
  if (plan !== undefined && found.length === 1) return plan;
  throw new AuditkeepError('PLAN_UNKNOWN', {
    message: found.length === 0 ? `there is no plan ${id}` : `${id} is the beginning of ${found.length} plans`,
    hint: 'auditkeep purge list shows them',
  });
}

/**
 * The content of an approved plan, with both signatures checked against the register.
 * @throws RETENTION_NOT_APPROVED, PLAN_DRIFT when it is not what was stored
 */
export async function readApproved(client: SqlClient, plan: StoredPlan): Promise<PlanDocument> {
  const document = parsePurgeText(plan.document);
  if (document === null || textHash(plan.document) !== plan.plan_hash) {
    throw new AuditkeepError('PLAN_DRIFT', {
      message: `plan ${plan.plan_id} is not the text that its hash is of`,
      hint: 'find out who changed the database, and make a new plan',
    });
  }
  const checked = await verifyObject(client, { kind: 'plan', id: plan.plan_id, hash: plan.plan_hash });
  if (checked.approval !== null) return document;
  throw new AuditkeepError('RETENTION_NOT_APPROVED', {
    message: `plan ${plan.plan_id} does not have two signatures that hold${checked.findings.map((finding) => `; ${finding}`).join('')}`,
    hint: 'auditkeep purge approve PLAN, as another records manager than the one who requested',
  });
}

function unsignedObject(what: string, findings: readonly string[]): AuditkeepError {
  return new AuditkeepError('DECISION_INVALID', {
    message: `${what} is not signed as it should be: ${findings.join('; ') || 'a signature is missing'}`,
    hint: 'nothing is destroyed until it is; find out who changed the database',
  });
}

/** Refusals of the database as coded errors. @param hints other words for them, by SQLSTATE */
export async function refusing<T>(fn: () => Promise<T>, hints: Readonly<Record<string, string>> = {}): Promise<T> {
  try {
    return await fn();
  } catch (error) {
    throw translateRefusal(error, hints);
  }
}
