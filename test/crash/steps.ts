/** Every edge that something takes today, as a step that a process can take, with the states around it. */
import type { Context } from '../../src/context.ts';
import { runArchive } from '../../src/retention/archive.ts';
import { drop, quarantine, rescue, split, withdraw } from '../../src/retention/dispose.ts';
import { keepHouse } from '../../src/retention/housekeeping.ts';
import { collectDue } from '../../src/retention/late.ts';
import { ensurePartitions } from '../../src/retention/partition.ts';
import { replayDestructions } from '../../src/retention/purge-replay.ts';
import { runPurge } from '../../src/retention/purge-run.ts';
import { reconcile } from '../../src/retention/reconcile.ts';
import { expireCopies, restoreRange } from '../../src/retention/restore.ts';
import { attach } from '../../src/retention/restore-attach.ts';
import { toInstant } from '../../src/time/clock.ts';

type StepContext = Pick<Context, 'db' | 'clock' | 'actor' | 'log' | 'config'>;

export interface Step {
  /** The edges of retention.unit_edge that its transaction takes, `a -> b`; none for what changes no unit. */
  readonly edges: readonly string[];
  /** State that the unit is in before it, and after a crash in the middle of it; null where no unit is there yet. */
  readonly from: string | null;
  /** State after the step has run. */
  readonly to: string | null;
  /** What the database holds before it: see arena.ts. */
  readonly stage: Stage;
  /** The unit that it takes, or makes, without its schema. */
  readonly unit: string;
  run(ctx: StepContext, unitId: bigint): Promise<unknown>;
}

/** Events of 2023; security events of 2015 that part ways; events of 2015 under a plan that two persons have signed. */
export type Stage = 'events' | 'parting' | 'approved';

/** The plan that test/retention/rows.ts approves; nothing of a test may be imported by a process of its own. */
const PLAN = '00000000-0000-4000-8000-00000000aaaa';

const [JANUARY, FEBRUARY] = [toInstant(Date.UTC(2023, 0, 1)), toInstant(Date.UTC(2023, 1, 1))];
const archive = (ctx: StepContext) => runArchive(ctx, { table: 'audit_log', before: FEBRUARY, reason: 'crash' });
const input = (unitId: bigint) => ({ unitId, reason: 'crash' });
/** The one plan of the stage `approved`. */
const purge = async (ctx: StepContext) => {
  const plan = await ctx.db.withClient((client) => client.query('select plan_id::text from retention.plan'));
  const [row] = plan.rows as { plan_id: string }[];
  return runPurge(ctx, { plan: row?.plan_id ?? '', reason: 'crash' });
};

const UNIT = 'audit_log_y2023m01';
const COPY = 'restored_audit_log_y2023m01_g2';
const PARTING = 'security_events_log_y2015m01';
const events = { stage: 'events', unit: UNIT } as const;
const parting = { stage: 'parting', unit: PARTING } as const;
const approved = { stage: 'approved', unit: 'audit_log_y2015m01' } as const;

export const STEPS = {
  create: {
    ...{ ...events, edges: ['new -> hot'], from: null, to: 'hot', unit: 'audit_log_y2019m07' },
    run: (ctx) => ensurePartitions(ctx, 'audit_log', [toInstant(Date.UTC(2019, 6, 1))]),
  },
  // One step of a run; the run goes on to the archive when nothing kills it.
  seal: { ...events, edges: ['hot -> sealed'], from: 'hot', to: 'archived', run: archive },
  move: { ...events, edges: ['sealed -> archived'], from: 'sealed', to: 'archived', run: archive },
  fail: { ...events, edges: ['sealed -> failed'], from: 'sealed', to: 'failed', run: archive },
  retry: {
    ...{ ...events, edges: ['failed -> sealed'], from: 'failed', to: 'sealed' },
    run: (ctx) => reconcile(ctx),
  },
  collect: {
    ...{ ...events, edges: ['new -> archived'], from: null, to: 'archived', unit: `${UNIT}_g2` },
    run: (ctx) => collectDue(ctx, { table: 'audit_log', before: FEBRUARY, reason: 'crash' }),
  },
  restore: {
    ...{ ...events, edges: ['new -> restored'], from: null, to: 'restored', unit: COPY },
    run: (ctx) => restoreRange(ctx, { table: 'audit_log', from: JANUARY, to: FEBRUARY, days: 7, reason: 'crash' }),
  },
  expire: {
    ...{ ...events, edges: ['restored -> expired'], from: 'restored', to: 'expired', unit: COPY },
    run: (ctx) => expireCopies(ctx),
  },
  attach: {
    ...{ ...events, edges: ['archived -> sealed'], from: 'archived', to: 'sealed' },
    run: (ctx, unitId) => attach(ctx, { ...input(unitId), restoreId: PLAN, until: '2100-01-01T00:00:00.000Z' }),
  },
  review: {
    ...{ ...events, edges: ['purge_due -> archived'], from: 'purge_due', to: 'archived' },
    run: (ctx, unitId) => withdraw(ctx, input(unitId)),
  },
  withdraw: {
    ...{ ...events, edges: ['purge_approved -> archived'], from: 'purge_approved', to: 'archived' },
    run: (ctx, unitId) => withdraw(ctx, input(unitId)),
  },
  quarantine: {
    ...{ ...events, edges: ['purge_approved -> quarantined'], from: 'purge_approved', to: 'quarantined' },
    run: (ctx, unitId) => quarantine(ctx, input(unitId)),
  },
  rescue: {
    ...{ ...events, edges: ['quarantined -> archived'], from: 'quarantined', to: 'archived' },
    run: (ctx, unitId) => rescue(ctx, input(unitId)),
  },
  drop: {
    ...{ ...events, edges: ['quarantined -> purging'], from: 'quarantined', to: 'purging' },
    run: (ctx, unitId) => drop(ctx, { ...input(unitId), planId: PLAN }),
  },
  split: {
    ...{ ...parting, edges: ['archived -> split', 'new -> archived'], from: 'archived', to: 'split' },
    run: (ctx, unitId) => split(ctx, input(unitId)),
  },
  splitSealed: {
    ...{ ...parting, edges: ['sealed -> split', 'new -> archived'], from: 'sealed', to: 'split' },
    run: (ctx, unitId) => split(ctx, input(unitId)),
  },
  start: {
    ...{ ...approved, edges: ['archived -> purge_due', 'purge_due -> purge_approved'], from: 'archived' },
    // The run goes on to quarantine when nothing kills it.
    ...{ to: 'quarantined', run: purge },
  },
  certify: { ...approved, edges: ['purging -> purged'], from: 'purging', to: 'purged', run: purge },
  // The whole way once more, in one transaction.
  replay: {
    ...{ ...approved, edges: [], from: 'archived', to: 'purged' },
    run: (ctx) => replayDestructions(ctx, { reason: 'crash' }),
  },
  housekeeping: { ...events, edges: [], from: 'sealed', to: 'sealed', run: (ctx) => keepHouse(ctx) },
} as const satisfies Readonly<Record<string, Step>>;

export type StepName = keyof typeof STEPS;

/** Edges that nothing takes yet, and what will. One that a step takes, or that is gone, may not stand here. */
export const NOT_TAKEN: Readonly<Record<string, string>> = {
  'archived -> copied': 'the cold archive',
  'copied -> verified': 'the cold archive',
  'verified -> locked': 'the cold archive',
  'locked -> committed': 'the cold archive',
  'committed -> quarantined': 'the cold archive',
  'quarantined -> dropped': 'the cold archive',
  'dropped -> purge_due': 'destruction of what went cold',
  'purge_approved -> purging': 'destruction of what went cold',
};

/** The name of a step. @throws RangeError for any other text */
export function parseStep(text: string): StepName {
  for (const name of Object.keys(STEPS)) if (name === text) return name as StepName;
  throw new RangeError(`not a step: ${text}`);
}
