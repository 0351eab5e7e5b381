/** The edges that run today, each as a step that a process can take, with the states around it. */
import type { Context } from '../../src/context.ts';
import { runArchive } from '../../src/retention/archive.ts';
import { drop, quarantine, rescue, split } from '../../src/retention/dispose.ts';
import { keepHouse } from '../../src/retention/housekeeping.ts';
import { collectDue } from '../../src/retention/late.ts';
import { reconcile } from '../../src/retention/reconcile.ts';
import { toInstant } from '../../src/time/clock.ts';

type StepContext = Pick<Context, 'db' | 'clock' | 'actor' | 'log'>;

interface Step {
  readonly edge: string;
  /** State that the unit is in before it, and after a crash in the middle of it; null where no unit is there yet. */
  readonly from: string | null;
  /** State after the step has run. */
  readonly to: string | null;
  run(ctx: StepContext, unitId: bigint): Promise<unknown>;
}

/** The plan that test/retention/rows.ts approves; nothing of a test may be imported by a process of its own. */
const PLAN = '00000000-0000-4000-8000-00000000aaaa';

const BEFORE = toInstant(Date.UTC(2023, 1, 1));
const archive = (ctx: StepContext) => runArchive(ctx, { table: 'audit_log', before: BEFORE, reason: 'crash' });
const input = (unitId: bigint) => ({ unitId, reason: 'crash' });

export const STEPS = {
  seal: { edge: 'hot -> sealed', from: 'hot', to: 'archived', run: archive },
  move: { edge: 'sealed -> archived', from: 'sealed', to: 'archived', run: archive },
  retry: { edge: 'failed -> sealed', from: 'failed', to: 'sealed', run: (ctx) => reconcile(ctx) },
  collect: {
    edge: 'new -> archived (late)',
    from: null,
    to: 'archived',
    run: (ctx) => collectDue(ctx, { table: 'audit_log', before: BEFORE, reason: 'crash' }),
  },
  quarantine: {
    edge: 'purge_approved -> quarantined',
    from: 'purge_approved',
    to: 'quarantined',
    run: (ctx, unitId) => quarantine(ctx, input(unitId)),
  },
  rescue: {
    edge: 'quarantined -> archived',
    from: 'quarantined',
    to: 'archived',
    run: (ctx, unitId) => rescue(ctx, input(unitId)),
  },
  drop: {
    edge: 'quarantined -> purging',
    from: 'quarantined',
    to: 'purging',
    run: (ctx, unitId) => drop(ctx, { ...input(unitId), planId: PLAN }),
  },
  split: {
    edge: 'archived -> split',
    from: 'archived',
    to: 'split',
    run: (ctx, unitId) => split(ctx, input(unitId)),
  },
  housekeeping: { edge: 'housekeeping', from: null, to: null, run: (ctx) => keepHouse(ctx) },
} as const satisfies Readonly<Record<string, Step>>;

export type StepName = keyof typeof STEPS;

/** The name of a step. @throws RangeError for any other text */
export function parseStep(text: string): StepName {
  for (const name of Object.keys(STEPS)) if (name === text) return name as StepName;
  throw new RangeError(`not a step: ${text}`);
}
