/**
 * The retention rules as data, and the built-in ones. A policy's ages count from a row's time: rows stay hot until they
 * are `hot` old, in the archive until they are `archive` old, as cold objects until they are `cold` old; the last of them
 * is the whole period. null is for ever. Seven years for an audit log is common practice, not a rule that names it:
 * counsel decides. The citations say what each rule binds.
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

/** What partitions and archival need of a rule. One rule is about one branch: a table, or one list value of it. */
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

/** keep: nothing is ever destroyed; purge: due for review, and for destruction by two persons, after the whole period. */
type Disposition = 'keep' | 'purge';

/** Rows have to be kept this long. */
interface Minimum {
  readonly period: Period;
  /** The clause it follows from. */
  readonly clause: string;
  /** Why the clause binds this class of rows, as counsel recorded it; null: nobody did, and a maximum is not beaten. */
  readonly legalBasis: string | null;
}

/** Rows must not be kept longer. */
interface Maximum {
  readonly period: Period;
  readonly clause: string;
}

/** The whole rule of one branch. */
export interface PolicyRule extends BranchPolicy {
  readonly archive: Period | null;
  /** null: never cold; the unit stays in the archive table until its disposition. */
  readonly cold: Period | null;
  readonly disposition: Disposition;
  readonly minimum: Minimum | null;
  readonly maximum: Maximum | null;
  /** The column that says for each row how many days it stays; it may lengthen the whole period, never shorten it. */
  readonly rowDays: string | null;
}

/** What one destruction may reach at most, and how long its approval waits and holds. */
export interface PurgeLimits {
  readonly units: number;
  readonly rows: number;
  /** Of the table's rows, hot, archived and late together. */
  readonly percent: number;
  /** From the approval to the first moment of a start. */
  readonly coolingOffHours: number;
  /** From then to the last moment of a start. */
  readonly approvalHours: number;
}

export interface RetentionPolicy {
  readonly rules: readonly PolicyRule[];
  readonly limits: PurgeLimits;
}

const QUARTER: Period = { unit: 'month', count: 3 };
const WEEK: Period = { unit: 'day', count: 7 };
const years = (count: number): Period => ({ unit: 'year', count });
const days = (count: number): Period => ({ unit: 'day', count });
const SOX_HIPAA =
  "common practice; 17 CFR 210.2-06 binds the auditor's papers, 45 CFR 164.316(b)(2)(i) required documentation";
const MINIMISATION = 'GDPR 5(1)(e), storage limitation';

/** The built-in rules, every branch once; audit_log first, because what is done to the others is recorded in it. */
export const POLICIES: readonly PolicyRule[] = [
  { ...monthly('audit_log', null, years(2), SOX_HIPAA), archive: years(7) },
  { ...monthly('security_events_log', null, years(7), SOX_HIPAA), rowDays: 'retention_days' },
  monthly('data_access_log', 'standard', years(3), SOX_HIPAA),
  monthly('data_access_log', 'extended', years(7), SOX_HIPAA),
  { ...monthly('data_access_log', 'permanent', null, 'kept by its own category'), disposition: 'keep' },
  { ...monthly('performance_metrics', 'minute', days(30), MINIMISATION), interval: 'day', premake: WEEK },
  monthly('performance_metrics', 'hour', years(2), MINIMISATION),
  monthly('performance_metrics', 'day', years(7), MINIMISATION),
  { ...monthly('distributed_traces', null, days(14), MINIMISATION), interval: 'day', premake: WEEK },
];

/** What is in force until somebody applies another policy: version 1 of every installation. */
export const BUILT_IN_POLICY: RetentionPolicy = {
  rules: POLICIES,
  limits: { units: 36, rows: 100_000_000, percent: 40, coolingOffHours: 72, approvalHours: 24 },
};

/** The whole period of a rule; null is for ever. */
export function wholePeriod(rule: PolicyRule): Period | null {
  return rule.cold ?? rule.archive;
}

/** `audit_log`, `data_access_log/standard`. */
export function branchLabel(rule: Pick<BranchPolicy, 'table' | 'category'>): string {
  return rule.category === null ? rule.table : `${rule.table}/${rule.category}`;
}

function monthly(table: FamilyName, category: string | null, whole: Period | null, citation: string): PolicyRule {
  return {
    ...{ table, category, interval: 'month', premake: QUARTER, hot: whole, citation, archive: whole, cold: null },
    ...{ disposition: 'purge', minimum: null, maximum: null, rowDays: null },
  };
}
