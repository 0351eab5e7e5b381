/**
 * Executes approved plans, unit by unit, over the edges of destruction (README.md):
 *
 *   archived --start--> purge_approved -> quarantined -> 7 days -> purging (the point of no return) -> purged, certified
 *
 * The start looks at everything again and takes on all units of the plan, or none. Each later edge is one transaction and
 * asks the database for plan, policy and holds once more; a unit that a hold reaches goes back to its archive. A run that is
 * killed anywhere is gone on with by the next one.
 */
import { recordEvent } from '../audit/record/record.ts';
import type { Context } from '../context.ts';
import { inTransaction } from '../db/transaction.ts';
import { AuditkeepError } from '../errors.ts';
import { certify } from './certify.ts';
import { readJournal } from './destruction-journal.ts';
import { drop, quarantine, rescue, withdraw } from './dispose.ts';
import type { RetryWindow } from './lock-retry.ts';
import { readLacking } from './missing-destruction.ts';
import type { PlanDocument } from './purge-plan.ts';
import { findPlan, planNow, readApproved, refuseBeyondLimits, refusing } from './purge-request.ts';
import {
  type GoingUnit,
  readCertificateId,
  readDestroying,
  readGoingUnits,
  readPlans,
  type StoredPlan,
  startPlan,
} from './purge-store.ts';
import { translateRefusal } from './refusal.ts';

type PurgeContext = Pick<Context, 'db' | 'clock' | 'actor' | 'config'>;

type PurgeOutcome =
  | { readonly kind: 'purged'; readonly certificateId: string }
  /** In quarantine for less than seven days, or a lock is taken; the next run goes on. */
  | { readonly kind: 'waiting'; readonly reason: string }
  /** A hold came in time: back in its archive. */
  | { readonly kind: 'held' }
  | { readonly kind: 'failed'; readonly error: unknown };

export interface PurgeRun {
  readonly planId: string;
  readonly planHash: string;
  readonly units: readonly { readonly partition: string; readonly outcome: PurgeOutcome }[];
}

export interface PurgeRunInput {
  /** Id or hash of the plan. */
  readonly plan: string;
  readonly reason: string;
  readonly window?: RetryWindow;
  readonly signal?: AbortSignal;
}

/**
 * Starts an approved plan, or goes on with one that has begun.
 * @throws PLAN_UNKNOWN, RETENTION_NOT_APPROVED, PLAN_DRIFT, PLAN_WINDOW, PLAN_LIMITS, PURGE_REPLAY before the first action;
 * never for a unit
 */
export async function runPurge(ctx: PurgeContext, input: PurgeRunInput): Promise<PurgeRun> {
  await refuseRestored(ctx);
  const plan = await findPlan(ctx, input.plan);
  const document = await ctx.db.withClient((client) => readApproved(client, plan));
  if (plan.started_at === null) await begin(ctx, plan, document, input.reason);
  const units: PurgeRun['units'][number][] = [];
  for (const unit of await ctx.db.withClient((client) => readGoingUnits(client, plan.plan_id))) {
    if (input.signal?.aborted === true) break;
    const step = { plan, document, unitId: unit.unit_id, reason: input.reason, window: input.window };
    units.push({ partition: unit.relation_name, outcome: await dispose(ctx, step) });
  }
  return { planId: plan.plan_id, planHash: plan.plan_hash, units };
}

/** Plans that have begun and are not at their end. */
export async function readUnfinished(ctx: Pick<Context, 'db'>): Promise<readonly StoredPlan[]> {
  const plans = await ctx.db.withClient((client) => readPlans(client));
  return plans.filter((plan) => Object.keys(plan.states).some((state) => state !== 'purged'));
}

/** The plan is made again from what there is now; anything else than what was approved needs a new approval. */
async function begin(ctx: PurgeContext, plan: StoredPlan, document: PlanDocument, reason: string): Promise<void> {
  await refuseOutsideWindow(ctx, plan);
  const only = document.units.map((unit) => BigInt(unit.unit_id));
  const now = await ctx.db.withClient((client) => planNow(client, ctx, {}, only));
  if (now.planHash !== plan.plan_hash) {
    const blocked = now.units.filter((unit) => unit.blockers.length > 0).map((unit) => unit.partition);
    throw new AuditkeepError('PLAN_DRIFT', {
      message: `what plan ${plan.plan_id} was approved for is not what there is now${blocked.length === 0 ? '' : `; blocked: ${blocked.join(', ')}`}`,
      hint: 'request a new plan and have it approved',
      details: { approved: plan.plan_hash, now: now.planHash, blocked },
    });
  }
  await refuseBeyondLimits(ctx, document);
  await refusing(() =>
    inTransaction(ctx.db, async (client) => {
      await startPlan(client, plan.plan_id);
      await recordEvent(ctx, client, {
        type: 'purge.started',
        category: 'admin',
        action: 'START',
        resourceType: 'plan',
        resourceId: plan.plan_id,
        details: { planHash: plan.plan_hash, units: document.units.length, reason },
      });
    }),
  );
}

/** Says so in words before anything else; the database says it again by its own clock. */
async function refuseOutsideWindow(ctx: PurgeContext, plan: StoredPlan): Promise<void> {
  if (plan.starts_at !== null) return;
  await ctx.db.withClient((client) => readApproved(client, plan));
  throw new AuditkeepError('RETENTION_NOT_APPROVED', {
    message: `plan ${plan.plan_id} is not approved`,
    hint: 'auditkeep purge approve PLAN',
  });
}

interface Step {
  readonly plan: StoredPlan;
  readonly document: PlanDocument;
  readonly unitId: bigint;
  readonly reason: string;
  readonly window: RetryWindow | undefined;
}

/** Takes one unit as far as it may go now. */
async function dispose(ctx: PurgeContext, step: Step): Promise<PurgeOutcome> {
  try {
    for (;;) {
      const unit = await readGoing(ctx, step);
      if (unit.state === 'purged') return { kind: 'purged', certificateId: await readId(ctx, step) };
      if (unit.held && unit.state !== 'purging') return await takeBack(ctx, step);
      if (!(await takeFurther(ctx, step, unit))) return { kind: 'waiting', reason: `it is ${unit.state}` };
    }
  } catch (cause) {
    const error = translateRefusal(cause);
    if (!(error instanceof AuditkeepError)) return { kind: 'failed', error };
    const passes = error.code === 'RETENTION_NOT_YET' || error.code === 'RETENTION_BUSY';
    // Placed between our look at it and the database's: the next run takes the unit back.
    if (passes || error.code === 'RETENTION_HELD') return { kind: 'waiting', reason: error.message };
    return { kind: 'failed', error };
  }
}

/** One edge; false where none leads on from the unit's state. */
async function takeFurther(ctx: PurgeContext, step: Step, unit: GoingUnit): Promise<boolean> {
  const { plan, document, ...input } = step;
  switch (unit.state) {
    case 'purge_approved':
      await quarantine(ctx, input);
      return true;
    case 'quarantined':
      await drop(ctx, { ...input, planId: plan.plan_id });
      return true;
    case 'purging':
      await certify(ctx, plan, document, unit);
      return true;
    default:
      return false;
  }
}

/** Nothing under a hold moves towards destruction: what was on its way goes back where it was. */
async function takeBack(ctx: PurgeContext, step: Step): Promise<PurgeOutcome> {
  const { state } = await readGoing(ctx, step);
  if (state === 'quarantined') await rescue(ctx, { ...step, reason: 'a legal hold' });
  else await withdraw(ctx, { ...step, reason: 'a legal hold' });
  return { kind: 'held' };
}

async function readGoing(ctx: PurgeContext, { plan, unitId }: Step): Promise<GoingUnit> {
  const units = await ctx.db.withClient((client) => readGoingUnits(client, plan.plan_id));
  const unit = units.find((candidate) => candidate.unit_id === unitId);
  if (unit !== undefined) return unit;
  throw new AuditkeepError('RETENTION_STATE', {
    message: `unit ${unitId} is not under plan ${plan.plan_id} any more`,
    hint: 'another run took it back',
  });
}

function readId(ctx: PurgeContext, { plan, unitId }: Step): Promise<string> {
  return ctx.db.withClient((client) => readCertificateId(client, plan.plan_id, unitId));
}

/**
 * A database that was restored to before a destruction shows again what is certified as gone.
 * @throws PURGE_REPLAY naming how many, before anything else is destroyed
 */
async function refuseRestored(ctx: Pick<Context, 'db' | 'config'>): Promise<void> {
  const journal = await readJournal(ctx.config.home);
  const missing = await ctx.db.withClient(async (client) => {
    const ids: string[] = [];
    for (const { entry } of await readLacking(client, journal)) {
      const { certificate_id: id } = entry.certificate;
      if (!(await readDestroying(client, id))) ids.push(id);
    }
    return ids;
  });
  if (missing.length === 0) return;
  throw new AuditkeepError('PURGE_REPLAY', {
    message: `the database was restored to before ${missing.length} destructions that are certified, the first ${missing[0] ?? ''}`,
    hint: 'destroy again what they are of: auditkeep purge replay',
    details: { certificates: missing },
  });
}
