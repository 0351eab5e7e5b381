/**
 * Aged units leave the hot tables: hot -> sealed -> archived, one unit after the other, oldest first. Whatever is killed
 * at any point leaves each unit in one state with all of its rows in one place; the next run goes on from there.
 */

import { randomUUID } from 'node:crypto';
import type { Context } from '../context.ts';
import type { SqlClient } from '../db/database.ts';
import { inTransaction } from '../db/transaction.ts';
import { AuditkeepError } from '../errors.ts';
import { countOf } from '../plural.ts';
import { isoOf, type UtcInstant } from '../time/clock.ts';
import { type Period, subtractPeriod } from '../time/period.ts';
import type { UnitFacts } from './facts.ts';
import { DEFAULT_WINDOW, type RetryWindow, retryOnLock } from './lock-retry.ts';
import { type Plan, type PlanUnit, planArchival, planOf } from './plan.ts';
import type { FamilyName, PolicyRule } from './policy.ts';
import { readPolicyInForce } from './policy-store.ts';
import { reconcile } from './reconcile.ts';
import { recordStep } from './record.ts';
import { translateRefusal } from './refusal.ts';
import { rollUp } from './rollup.ts';
import { countRows, moveUnit, readBranches, readFaults, readUnits, sealPartition } from './store.ts';
import { makeVacuumsGiveWay, moveInStructure } from './structure.ts';
import { actUnderLease, failUnit, releaseLease, takeLease } from './unit-store.ts';

type ArchiveContext = Pick<Context, 'db' | 'clock' | 'actor'>;

export interface ArchiveScope {
  /** One table; all when left out. */
  readonly table?: FamilyName | undefined;
  /** Units that end at or before this instant, whatever the policy says; the policy's own age when left out. */
  readonly before?: UtcInstant | undefined;
}

export interface ArchivePlan extends Plan {
  /** The rules that it follows. */
  readonly rules: readonly PolicyRule[];
}

/** Which units are old enough to leave, with exact row counts. Changes nothing. */
export function planArchive(ctx: Pick<Context, 'db' | 'clock'>, scope: ArchiveScope = {}): Promise<ArchivePlan> {
  return ctx.db.withClient(async (client) => {
    const branches = await readBranches(client);
    const faults = await readFaults(client);
    const now = ctx.clock.now();
    const inForce = await readPolicyInForce(client);
    const rules = inForce.policy.rules.filter((rule) => scope.table === undefined || rule.table === scope.table);
    const units = rules.flatMap((policy) => {
      const facts = branches.find((branch) => branch.table === policy.table && branch.category === policy.category);
      return facts === undefined ? [] : planArchival(policy, facts, now, scope.before ?? null, faults);
    });
    const counted: PlanUnit[] = [];
    for (const unit of units) counted.push({ ...unit, rows: unit.sealedRows ?? (await countRows(client, unit)) });
    return { ...planOf(counted, inForce.sha256), rules };
  });
}

/** What became of one unit of the plan. */
type UnitOutcome =
  | { readonly kind: 'archived'; readonly rows: number }
  /**
   * Something that goes away by itself stands in the way. byRule: a hold, open incidents or another run, which may last
   * as long as they do; otherwise a disturbance (events not yet linked, a lock), which overdue() gives a week.
   */
  | { readonly kind: 'postponed'; readonly reason: string; readonly byRule: boolean }
  | { readonly kind: 'failed'; readonly error: unknown };

export interface ArchiveRun {
  readonly planHash: string;
  readonly rules: readonly PolicyRule[];
  readonly units: readonly (PlanUnit & { readonly outcome: UnitOutcome })[];
}

export interface ArchiveInput extends ArchiveScope {
  /** Recorded in each unit's audit events. */
  readonly reason: string;
  readonly window?: RetryWindow;
  readonly signal?: AbortSignal;
}

/**
 * Seals and moves what planArchive lists. Each unit's move is one transaction with its audit event; one unit's failure
 * never stops the others and is in its outcome. Never throws for a unit.
 */
export async function runArchive(ctx: ArchiveContext, input: ArchiveInput): Promise<ArchiveRun> {
  await reconcile(ctx, input.window);
  const plan = await planArchive(ctx, input);
  const units: (PlanUnit & { outcome: UnitOutcome })[] = [];
  for (const unit of plan.units) {
    if (input.signal?.aborted === true) break;
    units.push({ ...unit, outcome: await archiveUnit(ctx, unit, input) });
  }
  return { planHash: plan.planHash, rules: plan.rules, units };
}

async function archiveUnit(ctx: ArchiveContext, unit: PlanUnit, input: ArchiveInput): Promise<UnitOutcome> {
  const [blocker] = unit.blockers;
  if (blocker === 'failed-before') return { kind: 'failed', error: failedBefore(unit) };
  if (blocker !== undefined) return { kind: 'postponed', reason: blocker, byRule: true };
  if (unit.unitId === null) return { kind: 'failed', error: new Error(`${unit.partition} is no unit`) };
  const { unitId } = unit;
  const holder = randomUUID();
  let outcome: UnitOutcome | null = null;
  try {
    // The claim lasts as long as the session that took it, so a dead worker's units are free at once.
    await ctx.db.withClient(async (client) => {
      if (!(await takeLease(client, unitId, { holder, seconds: LEASE_SECONDS }))) {
        outcome = { kind: 'postponed', reason: 'another run is at work on it', byRule: true };
        return;
      }
      outcome = await sealAndMove(ctx, unit, input, holder).catch((cause: unknown) =>
        outcomeOfFailure(ctx, unit, translateRefusal(cause)),
      );
      await releaseLease(client, unitId, holder);
    });
  } catch (error) {
    // A claim that cannot be given back has ended with its session.
    outcome ??= { kind: 'failed', error };
  }
  return outcome ?? { kind: 'failed', error: new Error('a unit without an outcome') };
}

/** Longer than a unit takes: for a session that lives on without its worker. */
const LEASE_SECONDS = 3600;

async function sealAndMove(
  ctx: ArchiveContext,
  unit: PlanUnit,
  input: ArchiveInput,
  holder: string,
): Promise<UnitOutcome> {
  if (unit.state === 'hot') {
    const window = input.window ?? DEFAULT_WINDOW;
    const unlinked = await retryOnLock(window, () => sealUnit(ctx, unit, input.reason, holder));
    if (unlinked > 0) {
      return {
        kind: 'postponed',
        reason: `${countOf(unlinked, 'event is', 'events are')} not linked in the chain yet`,
        byRule: false,
      };
    }
  }
  if (unit.table === 'performance_metrics' && unit.category === 'minute' && unit.unitId !== null) {
    await rollUp(ctx, { ...unit, unitId: unit.unitId }, holder);
  }
  return { kind: 'archived', rows: await moveOnce(ctx, unit, input, holder) };
}

async function outcomeOfFailure(ctx: ArchiveContext, unit: PlanUnit, error: unknown): Promise<UnitOutcome> {
  if (!(error instanceof AuditkeepError)) return await markFailed(ctx, unit, error);
  const reason = error.message;
  if (error.code === 'RETENTION_BUSY') return { kind: 'postponed', reason, byRule: false };
  if (error.code === 'RETENTION_HELD' || error.code === 'RETENTION_NOT_YET') {
    return { kind: 'postponed', reason, byRule: true };
  }
  // A wrong state is harmless only where another run has taken the unit further meanwhile.
  if (error.code === 'RETENTION_STATE' && (await hasMovedOn(ctx, unit))) {
    return { kind: 'postponed', reason: 'another run is at work on it', byRule: true };
  }
  return await markFailed(ctx, unit, error);
}

/** Remembers the failure in the unit, so that lists and plans show it until the next run tries again. */
async function markFailed(ctx: ArchiveContext, unit: PlanUnit, error: unknown): Promise<UnitOutcome> {
  const { unitId } = unit;
  const code = error instanceof AuditkeepError ? error.code : 'INTERNAL';
  // Without a database nothing can be remembered, and the unit is not what failed.
  if (unitId !== null && code !== 'DB_UNREACHABLE') {
    await inTransaction(ctx.db, async (client) => {
      if (!(await failUnit(client, unitId))) return;
      await recordStep(ctx, client, 'FAIL', { partition: unit.partition, result: 'failure', details: { code } });
    });
  }
  return { kind: 'failed', error };
}

async function hasMovedOn(ctx: ArchiveContext, unit: PlanUnit): Promise<boolean> {
  const units = await ctx.db.withClient((client) => readUnits(client, unit.table));
  const state = units.find((candidate) => candidate.unitId === unit.unitId)?.state;
  return state === 'sealed' || state === 'archived';
}

function failedBefore(unit: PlanUnit): AuditkeepError {
  return new AuditkeepError('RETENTION_STATE', {
    message: `unit ${unit.partition} failed before and has not been mended`,
    hint: 'auditkeep archive list shows the state of each unit',
  });
}

const OVERDUE_AFTER: Period = { unit: 'day', count: 7 };

/** Units that a disturbance has kept hot for more than a week past their policy: somebody has to look. */
export function overdue(run: ArchiveRun, now: UtcInstant): readonly PlanUnit[] {
  return run.units.filter(({ outcome, ...unit }) => {
    const hot = run.rules.find((rule) => rule.table === unit.table && rule.category === unit.category)?.hot ?? null;
    const isDisturbed = outcome.kind === 'postponed' && !outcome.byRule;
    return isDisturbed && hot !== null && unit.to <= subtractPeriod(subtractPeriod(now, OVERDUE_AFTER), hot);
  });
}

/** Diverts, then seals; gives the number of events that still lack their link (0: sealed). */
async function sealUnit(ctx: ArchiveContext, unit: PlanUnit, reason: string, holder: string): Promise<number> {
  const step = () =>
    inTransaction(ctx.db, async (client) => {
      await makeVacuumsGiveWay(client);
      await actUnderLease(client, holder);
      const result = await sealPartition(client, unit);
      if (result.state === 'sealed') {
        await recordUnitStep(ctx, client, unit, 'SEAL', reason, result.rows ?? 0, result.fingerprint);
      }
      return result;
    });
  const first = await step();
  if (first.state === 'sealed') return 0;
  // The divert trigger has to be committed before the leaf is looked at: only then can no row enter any more.
  const result = first.unlinked === null ? await step() : first;
  return result.state === 'sealed' ? 0 : (result.unlinked ?? 0);
}

async function moveOnce(ctx: ArchiveContext, unit: PlanUnit, input: ArchiveInput, holder: string): Promise<number> {
  const moved = await moveInStructure(
    ctx,
    { window: input.window },
    async (client) => {
      await actUnderLease(client, holder);
      return await moveUnit(client, unit);
    },
    (client, done) => recordUnitStep(ctx, client, unit, 'ARCHIVE', input.reason, done.rows),
  );
  return moved.rows;
}

async function recordUnitStep(
  ctx: ArchiveContext,
  client: SqlClient,
  unit: PlanUnit,
  step: 'SEAL' | 'ARCHIVE',
  reason: string,
  rows: number,
  fingerprint: string | null = null,
): Promise<void> {
  await recordStep(ctx, client, step, {
    partition: unit.partition,
    details: {
      reason,
      table: unit.table,
      category: unit.category,
      from: unit.from === null ? null : isoOf(unit.from),
      to: isoOf(unit.to),
      rows,
      ...(fingerprint === null ? {} : { fingerprint }),
    },
  });
}

/** Every unit that has left the hot tables, also those that hang there again for a while; oldest first. */
export async function listArchive(
  ctx: Pick<Context, 'db'>,
  scope: Pick<ArchiveScope, 'table'> = {},
): Promise<readonly UnitFacts[]> {
  const units = await ctx.db.withClient((client) => readUnits(client, scope.table ?? null));
  return units.filter((unit) => unit.state !== 'hot' && (unit.state !== 'sealed' || unit.expiresAt !== null));
}
