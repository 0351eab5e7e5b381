/** Decides which units a full verification takes over from a run that was cut short, and which it reads. */
import { randomBytes } from 'node:crypto';
import type { SqlClient } from '../../db/database.ts';
import { isoOf, type UtcInstant } from '../../time/clock.ts';
import type { Resumed } from '../links/finding.ts';
import { xminOf } from '../links/snapshot.ts';
import { type KeptRun, type KeptStep, readKeptRun, removeKeptRun } from './kept-steps.ts';
import { readStableUnits, readTraces, type StableUnit, type UnitTraces } from './stable-units.ts';
import type { Verifying, VerifyRun } from './verify-run.ts';

/** How long a unit that was read may be taken over. */
const KEPT_MS = 24 * 3600 * 1000;
/** Transaction ids are compared as 32 bits: far from where they go round. */
const FARTHEST_IDS = 2n ** 30n;

/** What a run reads and what it need not. */
export interface StepPlan {
  readonly units: readonly StableUnit[];
  /** Still to be read. */
  readonly unread: readonly StableUnit[];
  /** Read by the run that was cut short. */
  readonly taken: readonly { readonly unit: StableUnit; readonly step: KeptStep }[];
  /** How this run is kept: that of the earlier one when anything of it is taken over. */
  readonly kept: KeptRun;
  /** Null when there was nothing to go on from. */
  readonly resumed: Resumed | null;
}

type Planning = Pick<Verifying, 'clock' | 'config' | 'log'>;

/** Plans the units of a run. @param fresh everything is read, whatever was kept */
export async function planSteps(ctx: Planning, client: SqlClient, run: VerifyRun, fresh: boolean): Promise<StepPlan> {
  const units = await readStableUnits(client);
  const found = await readKeptRun(ctx.config.home);
  const earlier = typeof found === 'string' || found === null ? null : found;
  const refused = fresh
    ? 'reading everything was asked for'
    : typeof found === 'string'
      ? found
      : foreign(earlier, run);
  const taken: { unit: StableUnit; step: KeptStep }[] = [];
  if (earlier !== null && refused === null) {
    for (const step of earlier.steps) {
      const unit = units.find((one) => isOf(step, one));
      if (unit === undefined || !isRecent(step, { now: ctx.clock.now(), run })) continue;
      if (isUnchanged(step, await readTraces(client, unit, BigInt(step.horizon)))) taken.push({ unit, step });
    }
  }
  const gone = (earlier?.steps.length ?? 0) - taken.length;
  const resumed = found === null ? null : resumedOf(earlier, taken, { refused, gone });
  if (resumed !== null) ctx.log.info(resumed, 'chain.resumed');
  const known = new Set(taken.map(({ unit }) => unit));
  const unread = units.filter((unit) => !known.has(unit));
  if (earlier !== null && taken.length > 0) {
    return { units, unread, taken, kept: { ...earlier, steps: taken.map(({ step }) => step) }, resumed };
  }
  if (found !== null) await removeKeptRun(ctx.config.home);
  return { units, unread, taken, kept: newRun(ctx, run), resumed };
}

function newRun(ctx: Planning, { origin, opened, head }: VerifyRun): KeptRun {
  const own = opened.own;
  // What an older transaction wrote, the head's snapshot shows, and the sealer has linked.
  const since = head.snapshot === null ? '0' : String(xminOf(head.snapshot));
  return {
    ...{
      version: 1,
      format: 2,
      since,
      origin,
      startedAt: isoOf(ctx.clock.now()),
      key: randomBytes(32).toString('base64'),
    },
    checkpoint: own === null ? null : { size: String(own.size), root: own.root.toString('base64') },
    steps: [],
  };
}

/** Why what was kept is not about this log; null when it is. */
function foreign(kept: KeptRun | null, { origin, opened }: VerifyRun): string | null {
  if (kept === null) return null;
  if (kept.origin !== origin) return 'the kept units are of another log';
  const { checkpoint } = kept;
  if (checkpoint === null) return opened.own === null ? null : 'the kept units are of a log that was not signed';
  const { size, root } = checkpoint;
  const known = opened.heads.some((head) => String(head.size) === size && head.root.toString('base64') === root);
  return known ? null : 'the kept units are of other checkpoints';
}

/** The same relation, file, columns and bounds. */
function isOf(step: KeptStep, unit: StableUnit): boolean {
  const sameBounds = step.from === String(unit.from) && step.to === String(unit.to);
  return (
    step.identity === unit.identity && sameBounds && step.parent === unit.parent && step.relation === unit.relation
  );
}

/** Read not too long ago, by both clocks: the machine's, and the server's transaction ids. */
function isRecent(step: KeptStep, { now, run }: { readonly now: UtcInstant; readonly run: VerifyRun }): boolean {
  const age = now - step.readAt;
  const ids = run.now.xmax - BigInt(step.horizon);
  return age >= 0 && age <= KEPT_MS && ids >= 0n && ids < FARTHEST_IDS;
}

/** The very versions of the rows that were read: none is younger, none is missing. */
function isUnchanged(step: KeptStep, { rows, fresh }: UnitTraces): boolean {
  return fresh === 0n && rows === BigInt(step.rows);
}

function resumedOf(
  earlier: KeptRun | null,
  taken: StepPlan['taken'],
  { refused, gone }: { readonly refused: string | null; readonly gone: number },
): Resumed {
  return {
    units: taken.length,
    events: taken.reduce((sum, { step }) => sum + step.rows, 0),
    startedAt: earlier?.startedAt ?? null,
    readAgain: gone,
    ignored: refused,
  };
}
