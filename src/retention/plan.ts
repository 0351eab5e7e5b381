/** What is due: policy + catalog facts + now -> actions. Pure; apply executes exactly what the plan prints. */
import { createHash } from 'node:crypto';
import { canonicalJson } from '../canonical-json.ts';
import { isoOf, type UtcInstant } from '../time/clock.ts';
import { addPeriod, describePeriod, startOfStep, subtractPeriod } from '../time/period.ts';
import { intersect, rangesFrom, rangesOf, type TimeRange } from './bounds.ts';
import type { UnitState } from './edges.ts';
import { type BranchFacts, type Fault, type LeafFacts, NO_FAULTS, type UnitFacts } from './facts.ts';
import type { BranchPolicy, FamilyName } from './policy.ts';

/**
 * fill: a partition in a gap; repair: a DEFAULT partition's rows move to where they belong; check: nothing to do but to
 * look at what somebody altered.
 */
type PlanAction = 'create' | 'fill' | 'repair' | 'adopt' | 'archive' | 'check' | 'purge';

/** One line of a plan. */
export interface PlanUnit {
  readonly table: FamilyName;
  readonly category: string | null;
  readonly partition: string;
  /** null reaches back to the beginning. */
  readonly from: UtcInstant | null;
  readonly to: UtcInstant;
  /** The planner's guess until the operation counts. */
  readonly rows: bigint;
  readonly bytes: bigint;
  readonly action: PlanAction;
  /** The rule in words, with what it cites. */
  readonly policy: string;
  /** Why the action cannot be taken now; empty when it can. */
  readonly blockers: readonly Blocker[];
  readonly unitId: bigint | null;
  readonly state: UnitState | null;
  readonly sealedRows: bigint | null;
}

type Blocker = 'held' | 'not-ended' | 'failed-before' | 'rows-not-due' | 'no-manifest' | Fault;

export interface Plan {
  /** SHA-256 (hex) of policy, units, bounds, sealed rows, holds and actions; sizes and guesses stay outside. */
  readonly planHash: string;
  readonly units: readonly PlanUnit[];
}

/** A plan over units, with its hash. @param policySha256 hash of the policy that it follows */
export function planOf(units: readonly PlanUnit[], policySha256: string): Plan {
  const hashed = canonicalJson({
    policy: policySha256,
    units: units.map((unit) => ({
      action: unit.action,
      category: unit.category,
      from: unit.from === null ? null : isoOf(unit.from),
      held: unit.blockers.includes('held'),
      partition: unit.partition,
      sealedRows: unit.sealedRows === null ? null : unit.sealedRows.toString(),
      table: unit.table,
      to: isoOf(unit.to),
      unitId: unit.unitId === null ? null : unit.unitId.toString(),
    })),
  });
  return { planHash: createHash('sha256').update(hashed).digest('hex'), units };
}

/**
 * What a branch lacks between max(now - hot, last end) and now + premake, the gaps between its partitions, a DEFAULT
 * partition to empty, and the partitions that somebody else made and that become units. What is wrong with a partition
 * is named as its blocker.
 */
export function planGrowth(
  policy: BranchPolicy,
  all: BranchFacts,
  now: UtcInstant,
  faults: BranchFaults = NO_FAULTS,
): readonly PlanUnit[] {
  const faultsOf = (leaf: LeafFacts) => faults.get(leaf.relation) ?? [];
  const strangers = all.leaves.filter((leaf) => faultsOf(leaf).includes('default'));
  const facts = { ...all, leaves: all.leaves.filter((leaf) => !strangers.includes(leaf)) };
  const foreign = facts.leaves.filter((leaf) => leaf.unit === null && !leaf.tombstone);
  const altered = facts.leaves.filter((leaf) => !foreign.includes(leaf) && faultsOf(leaf).length > 0);
  const line = (leaf: LeafFacts, action: PlanAction, blockers: readonly Blocker[]) => ({
    ...lineOf(policy, leaf, leaf.to ?? now),
    action,
    blockers,
  });
  return [
    ...strangers.map((leaf) => line(leaf, 'repair', [])),
    ...gapsOf(policy, facts).map((range): PlanUnit => ({ ...creation(policy, facts, range), action: 'fill' })),
    ...missingRanges(policy, facts, now).map((range) => creation(policy, facts, range)),
    ...foreign.map((leaf) => line(leaf, 'adopt', faultsOf(leaf))),
    ...altered.map((leaf) => line(leaf, 'check', faultsOf(leaf))),
  ];
}

/** What is wrong with partitions, by relation. */
export type BranchFaults = ReadonlyMap<string, readonly Fault[]>;

/** The ranges between neighbours that do not touch, cut at calendar steps. */
function gapsOf(policy: BranchPolicy, facts: BranchFacts): readonly TimeRange[] {
  return facts.leaves.flatMap((leaf, at) => {
    const next = facts.leaves[at + 1];
    if (next === undefined || leaf.to === null || next.from === null || leaf.to >= next.from) return [];
    const until = next.from;
    return rangesFrom(policy.interval, leaf.to, until).map(({ from, to }) => ({ from, to: to < until ? to : until }));
  });
}

function missingRanges(policy: BranchPolicy, facts: BranchFacts, now: UtcInstant): readonly TimeRange[] {
  const horizon = addPeriod(now, policy.premake);
  const oldestHot = startOfStep(policy.interval, policy.hot === null ? now : subtractPeriod(now, policy.hot));
  const last = facts.leaves.at(-1);
  if (last === undefined) return rangesFrom(policy.interval, oldestHot, horizon);
  if (last.to === null) return [];
  // A branch without a hot period keeps everything hot, so a gap in it would hold nothing but late rows.
  const from = policy.hot !== null && last.to < oldestHot ? oldestHot : last.to;
  return rangesFrom(policy.interval, from, horizon);
}

/** What an insert of rows at these instants needs. */
export interface NeededPartitions {
  readonly create: readonly TimeRange[];
  /** Units over which instants fall and whose new rows go to the late table. */
  readonly closed: readonly UnitFacts[];
}

/**
 * The partitions that rows at these instants need: tombstones give way wherever no unit ever was. Instants beyond the
 * last partition are left to the growth plan or, beyond the horizon, to the database's own error.
 */
export function planNeeded(
  policy: BranchPolicy,
  facts: BranchFacts,
  units: readonly UnitFacts[],
  instants: readonly UtcInstant[],
): NeededPartitions {
  const ranges = rangesOf(policy.interval, instants);
  const own = units.filter((unit) => unit.category === policy.category);
  const overlaps = (range: TimeRange, unit: UnitFacts) => intersect(range, unit) !== null;
  const inTombstones = facts.leaves
    .filter((leaf) => leaf.tombstone)
    .flatMap((leaf) => ranges.flatMap((range) => intersect(range, leaf) ?? []));
  return {
    create: inTombstones.filter((range) => !own.some((unit) => overlaps(range, unit))),
    closed: own.filter((unit) => unit.diverted && ranges.some((range) => overlaps(range, unit))),
  };
}

/**
 * The units of a branch that are older than its hot period, or than `before` where somebody asks for that; those that two
 * persons attached again are not, until their time is over.
 */
export function planArchival(
  policy: BranchPolicy,
  facts: BranchFacts,
  now: UtcInstant,
  before: UtcInstant | null,
  faults: BranchFaults = NO_FAULTS,
): readonly PlanUnit[] {
  const cutoff = before ?? (policy.hot === null ? null : subtractPeriod(now, policy.hot));
  if (cutoff === null) return [];
  return facts.leaves.flatMap((leaf) => {
    if (leaf.unit === null || leaf.to === null || leaf.to > cutoff || isAttached(leaf.unit, now)) return [];
    const unit = archival(policy, leaf, leaf.to, now);
    return [{ ...unit, blockers: [...unit.blockers, ...blockingFaults(faults.get(leaf.relation) ?? [])] }];
  });
}

function isAttached({ state, expiresAt }: Pick<UnitFacts, 'state' | 'expiresAt'>, now: UtcInstant): boolean {
  return state === 'sealed' && expiresAt !== null && expiresAt > now;
}

/** Sealing itself refuses altered leaves and says what is wrong; these would only fail in the move. */
function blockingFaults(faults: readonly Fault[]): readonly Fault[] {
  return faults.filter((fault) => fault === 'referenced' || fault === 'foreign-owner' || fault === 'not-a-table');
}

function archival(policy: BranchPolicy, leaf: LeafFacts, to: UtcInstant, now: UtcInstant): PlanUnit {
  const blockers: Blocker[] = [];
  if (leaf.unit?.held === true) blockers.push('held');
  if (to > now) blockers.push('not-ended');
  if (leaf.unit?.state === 'failed') blockers.push('failed-before');
  return { ...lineOf(policy, leaf, to), action: 'archive', blockers };
}

function lineOf(policy: BranchPolicy, leaf: LeafFacts, to: UtcInstant): Omit<PlanUnit, 'action' | 'blockers'> {
  return {
    table: policy.table,
    category: policy.category,
    partition: leaf.name,
    from: leaf.from,
    to,
    rows: leaf.unit?.rows ?? leaf.estimatedRows,
    bytes: leaf.sizeBytes,
    policy: describePolicy(policy),
    unitId: leaf.unit?.unitId ?? null,
    state: leaf.unit?.state ?? null,
    sealedRows: leaf.unit?.rows ?? null,
  };
}

function creation(policy: BranchPolicy, facts: BranchFacts, range: TimeRange): PlanUnit {
  return {
    table: policy.table,
    category: policy.category,
    partition: leafName(facts.parent, range),
    from: range.from,
    to: range.to,
    rows: 0n,
    bytes: 0n,
    action: 'create',
    policy: describePolicy(policy),
    blockers: [],
    unitId: null,
    state: null,
    sealedRows: null,
  };
}

function describePolicy(policy: BranchPolicy): string {
  const hot = policy.hot === null ? 'always hot' : `hot ${describePeriod(policy.hot)}`;
  return `${hot}, made ${describePeriod(policy.premake)} ahead (${policy.citation})`;
}

/** The name that retention.leaf_name gives a partition of these bounds; the layout test compares the two. */
export function leafName(parent: string, range: TimeRange): string {
  const [from, to] = [isoOf(range.from), isoOf(range.to)];
  const month = startOfStep('month', range.from) === range.from && addPeriod(range.from, { unit: 'month', count: 1 });
  const day = startOfStep('day', range.from) === range.from && addPeriod(range.from, { unit: 'day', count: 1 });
  if (month === range.to) return `${parent}_y${from.slice(0, 4)}m${from.slice(5, 7)}`;
  if (day === range.to) return `${parent}_y${from.slice(0, 4)}m${from.slice(5, 7)}d${from.slice(8, 10)}`;
  return `${parent}_${digitsOf(from)}_${digitsOf(to)}`;
}

function digitsOf(iso: string): string {
  return iso.slice(0, 19).replace(/\D/g, '');
}
