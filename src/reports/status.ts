/** What a control's figures mean, and what a report concludes from its controls. Pure; empty or failed is never a pass. */
import type { EmptyMeaning } from './template.ts';

export type ControlStatus = 'pass' | 'fail' | 'not_applicable' | 'no_occurrences' | 'insufficient_data' | 'error';
/** A requirement without controls waits for a person. */
export type RequirementStatus = ControlStatus | 'manual_pending';
export type Opinion = 'satisfied' | 'exceptions' | 'inconclusive';

/** In the order in which they are counted and printed. */
export const CONTROL_STATUSES: readonly ControlStatus[] = [
  'pass',
  'fail',
  'error',
  'insufficient_data',
  'no_occurrences',
  'not_applicable',
];

/** Counts of one evaluated control. */
export interface ControlFigures {
  readonly population: number;
  /** Distinct keys in the population; fewer than rows means that the control counts something twice. */
  readonly distinctKeys: number;
  readonly exceptions: number;
  /** The independent count. */
  readonly independent: number;
}

export interface Judgement {
  readonly status: ControlStatus;
  readonly reason:
    | 'exceptions_found'
    | 'duplicate_keys'
    | 'more_exceptions_than_population'
    | 'population_incomplete'
    | 'population_empty'
    | 'no_exceptions';
}

/** The status that a control's counts lead to; an exception counts even where the population is not shown complete. */
export function judgeControl(figures: ControlFigures, whenEmpty: EmptyMeaning): Judgement {
  if (figures.distinctKeys !== figures.population) return { status: 'error', reason: 'duplicate_keys' };
  if (figures.exceptions > 0) return { status: 'fail', reason: 'exceptions_found' };
  if (figures.independent !== figures.population) {
    return { status: 'insufficient_data', reason: 'population_incomplete' };
  }
  if (figures.population === 0) return { status: whenEmpty, reason: 'population_empty' };
  return { status: 'pass', reason: 'no_exceptions' };
}

const WORST_FIRST: readonly RequirementStatus[] = [
  'fail',
  'error',
  'insufficient_data',
  'pass',
  'no_occurrences',
  'not_applicable',
];

/** The status of a requirement: the worst of its controls', or manual_pending when it has none. */
export function judgeRequirement(statuses: readonly ControlStatus[]): RequirementStatus {
  return WORST_FIRST.find((status) => statuses.some((other) => other === status)) ?? 'manual_pending';
}

/** exceptions: some control failed; inconclusive: none failed, but not all could be judged or none passed. */
export function judgeReport(statuses: readonly ControlStatus[]): Opinion {
  if (statuses.includes('fail')) return 'exceptions';
  const undecided = statuses.some((status) => status === 'error' || status === 'insufficient_data');
  return undecided || !statuses.includes('pass') ? 'inconclusive' : 'satisfied';
}
