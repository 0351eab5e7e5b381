/**
 * The built-in retention rules, as data. Hot is how long rows stay in the hot table before their partition moves to the
 * archive; null keeps them there. Seven years for an audit log is common practice, not a rule that names it: counsel
 * decides. The citations say what each rule binds.
 */
import type { CalendarStep, Period } from '../time/period.ts';

/** The partitioned tables under retention. */
export const FAMILIES = [
  'audit_log',
  'data_access_log',
  'security_events_log',
  'performance_metrics',
  'distributed_traces',
] as const;

export type FamilyName = (typeof FAMILIES)[number];

/** The rule of one branch: a table, or one list value of it. */
export interface BranchPolicy {
  readonly table: FamilyName;
  /** The list value (retention_category, aggregation_period); null where the table has none. */
  readonly category: string | null;
  /** One partition holds one such step of the UTC calendar. */
  readonly interval: CalendarStep;
  /** How far ahead partitions are made; at least three intervals. */
  readonly premake: Period;
  readonly hot: Period | null;
  readonly citation: string;
}

/** Changes whenever a rule below does; part of every plan's hash. */
export const POLICY_VERSION = 'built-in/1';

const QUARTER: Period = { unit: 'month', count: 3 };
const WEEK: Period = { unit: 'day', count: 7 };
const SOX_HIPAA =
  "common practice; 17 CFR 210.2-06 binds the auditor's papers, 45 CFR 164.316(b)(2)(i) required documentation";
const MINIMISATION = 'GDPR 5(1)(e), storage limitation';

/** Every branch once; audit_log first, because everything that is done to the others is recorded in it. */
export const POLICIES: readonly BranchPolicy[] = [
  monthly('audit_log', null, { unit: 'year', count: 2 }, SOX_HIPAA),
  monthly('security_events_log', null, { unit: 'year', count: 7 }, SOX_HIPAA),
  monthly('data_access_log', 'standard', { unit: 'year', count: 3 }, SOX_HIPAA),
  monthly('data_access_log', 'extended', { unit: 'year', count: 7 }, SOX_HIPAA),
  monthly('data_access_log', 'permanent', null, 'kept by its own category'),
  daily('performance_metrics', 'minute', { unit: 'day', count: 30 }, MINIMISATION),
  monthly('performance_metrics', 'hour', { unit: 'year', count: 2 }, MINIMISATION),
  monthly('performance_metrics', 'day', { unit: 'year', count: 7 }, MINIMISATION),
  daily('distributed_traces', null, { unit: 'day', count: 14 }, MINIMISATION),
];

/** The rules of a table, one for each of its categories. */
export function policiesOf(table: FamilyName): readonly BranchPolicy[] {
  return POLICIES.filter((policy) => policy.table === table);
}

function monthly(table: FamilyName, category: string | null, hot: Period | null, citation: string): BranchPolicy {
  return { table, category, interval: 'month', premake: QUARTER, hot, citation };
}

function daily(table: FamilyName, category: string | null, hot: Period, citation: string): BranchPolicy {
  return { table, category, interval: 'day', premake: WEEK, hot, citation };
}
