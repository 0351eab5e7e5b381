/** What a control's figures mean, and what a report concludes from its controls. Pure; empty or failed is never a pass. */
import type { EmptyMeaning } from '../template/template.ts';

export type ControlStatus =
  | 'pass'
  | 'pass_with_waiver'
  | 'fail'
  | 'not_applicable'
  | 'no_occurrences'
  | 'insufficient_data'
  | 'stale'
  | 'error';
/** A requirement without controls waits for a person. */
export type RequirementStatus = ControlStatus | 'manual_pending';
export type Opinion = 'satisfied' | 'exceptions' | 'inconclusive';

/** In the order in which they are counted and printed. */
export const CONTROL_STATUSES: readonly ControlStatus[] = [
  'pass',
  'pass_with_waiver',
  'fail',
  'error',
  'insufficient_data',
  'stale',
  'no_occurrences',
  'not_applicable',
];

/** Counts of one evaluated control. */
export interface ControlFigures {
  readonly population: number;
  /** Distinct keys in the population; fewer than rows means that the control counts something twice. */
  readonly distinctKeys: number;
  readonly exceptions: number;
  /** Exceptions that waivers cover. */
  readonly waived: number;
  /** The independent count. */
  readonly independent: number;
  /** Sources that do not reach back to what is judged, and sources that ended too early (0 without such a check). */
  readonly missing: number;
  readonly stale: number;
}

export interface Judgement {
  readonly status: ControlStatus;
  readonly reason:
    | 'exceptions_found'
    | 'exceptions_waived'
    | 'evidence_missing'
    | 'evidence_stale'
    | 'duplicate_keys'
    | 'population_incomplete'
    | 'population_empty'
    | 'no_exceptions';
}

/**
 * The status that a control's counts lead to. An exception counts even where the population is not shown complete; silence
 * counts for nothing where the evidence does not reach back far enough, or ended too early.
 */
export function judgeControl(figures: ControlFigures, whenEmpty: EmptyMeaning): Judgement {
  if (figures.distinctKeys !== figures.population) return { status: 'error', reason: 'duplicate_keys' };
  if (figures.exceptions > figures.waived) return { status: 'fail', reason: 'exceptions_found' };
  if (figures.missing > 0) return { status: 'insufficient_data', reason: 'evidence_missing' };
  if (figures.independent !== figures.population) {
    return { status: 'insufficient_data', reason: 'population_incomplete' };
  }
  if (figures.stale > 0) return { status: 'stale', reason: 'evidence_stale' };
  if (figures.population === 0) return judgeEmpty(figures, whenEmpty);
  if (figures.exceptions > 0) return { status: 'pass_with_waiver', reason: 'exceptions_waived' };
  return { status: 'pass', reason: 'no_exceptions' };
}

/** Nothing to judge is never a pass, and waived exceptions of nothing show that the population is not the whole one. */
function judgeEmpty({ exceptions }: ControlFigures, whenEmpty: EmptyMeaning): Judgement {
  if (exceptions > 0) return { status: 'insufficient_data', reason: 'population_incomplete' };
  return { status: whenEmpty, reason: 'population_empty' };
}

const WORST_FIRST: readonly RequirementStatus[] = [
  'fail',
  'error',
  'insufficient_data',
  'stale',
  'pass_with_waiver',
  'pass',
  'no_occurrences',
  'not_applicable',
];

/** The status of a requirement: the worst of its controls', or manual_pending when it has none. */
export function judgeRequirement(statuses: readonly ControlStatus[]): RequirementStatus {
  return WORST_FIRST.find((status) => statuses.some((other) => other === status)) ?? 'manual_pending';
}

const UNDECIDED: readonly ControlStatus[] = ['error', 'insufficient_data', 'stale'];

/**
 * exceptions: some control failed, or a person attested that a requirement is not met; inconclusive: neither, but not all
 * could be judged, nobody attested a requirement that has no control, or none passed.
 */
export function judgeReport(
  statuses: readonly ControlStatus[],
  requirements: readonly RequirementStatus[] = [],
): Opinion {
  if (statuses.includes('fail') || requirements.includes('fail')) return 'exceptions';
  if (requirements.includes('manual_pending')) return 'inconclusive';
  const passed = statuses.includes('pass') || statuses.includes('pass_with_waiver');
  return statuses.some((status) => UNDECIDED.includes(status)) || !passed ? 'inconclusive' : 'satisfied';
}
