/** What is wrong with a policy: mistakes that no policy may have, and periods that contradict each other. Pure. */
import type { Period } from '../time/period.ts';
import { branchLabel, FAMILIES, POLICIES, type PolicyRule, type RetentionPolicy, wholePeriod } from './policy.ts';
import { ageText, lengthOf } from './policy-document.ts';

export interface PolicyProblem {
  /** mistake: the policy makes no sense; conflict: two clauses ask for what cannot both be; overridden: one gave way. */
  readonly kind: 'mistake' | 'conflict' | 'overridden';
  /** The branch, `audit_log` or `data_access_log/standard`. */
  readonly branch: string;
  readonly what: string;
}

/** Partitions of an interval that lie ahead at least. */
const LEAST_PREMADE = 3;
/** Rows of one partition go together, so its interval is how much longer than its maximum a row may stay. */
const LARGEST_PART_OF_MAXIMUM = 10;

/** Everything that is wrong, mistakes first. A policy may be applied when all that is left is overridden. */
export function checkPolicy(policy: RetentionPolicy): readonly PolicyProblem[] {
  return [
    ...checkBranches(policy.rules),
    ...policy.rules.flatMap(checkAges),
    ...policy.rules.flatMap(checkIntervals),
    ...policy.rules.flatMap(checkClauses),
  ];
}

/** The table is cut into these branches, and each needs its rule. */
function checkBranches(rules: readonly PolicyRule[]): PolicyProblem[] {
  const expected = new Set(POLICIES.map(branchLabel));
  const labels = rules.map(branchLabel);
  const unknown = labels.filter((label) => !expected.has(label));
  const twice = labels.filter((label, at) => labels.indexOf(label) < at);
  const missing = [...expected].filter((label) => !labels.includes(label));
  return [
    ...unknown.map((branch) => mistake(branch, `is no table under retention; there are ${FAMILIES.join(', ')}`)),
    ...twice.map((branch) => mistake(branch, 'has two rules')),
    ...missing.map((branch) => mistake(branch, 'has no rule')),
  ];
}

function checkAges(rule: PolicyRule): PolicyProblem[] {
  const problems: string[] = [];
  const { hot, archive, cold, disposition } = rule;
  if (isLonger(hot, archive)) problems.push(`hot ${ageText(hot)} is longer than the whole, ${ageText(archive)}`);
  if (cold !== null && !isLonger(cold, archive)) {
    problems.push(`cold until ${ageText(cold)} is no longer than the archive's ${ageText(archive)}`);
  }
  if (wholePeriod(rule) === null && disposition === 'purge') {
    problems.push('is kept for ever, so its disposition is keep');
  }
  if (rule.rowDays !== null && rule.rowDays !== ROW_DAYS[rule.table]) {
    problems.push(`has no column ${rule.rowDays} that says how long a row stays`);
  }
  return problems.map((what) => mistake(branchLabel(rule), what));
}

/** The columns that say for each row how long it stays. */
const ROW_DAYS: Readonly<Record<string, string>> = { security_events_log: 'retention_days' };

function checkIntervals(rule: PolicyRule): PolicyProblem[] {
  const problems: string[] = [];
  if (isLonger({ unit: rule.interval, count: LEAST_PREMADE }, rule.premake)) {
    problems.push(`premake ${ageText(rule.premake)} is less than ${LEAST_PREMADE} partitions of a ${rule.interval}`);
  }
  const built = POLICIES.find((candidate) => branchLabel(candidate) === branchLabel(rule));
  if (built?.interval === 'day' && rule.interval === 'month') problems.push('is cut into days, not months');
  const maximum = rule.maximum?.period ?? null;
  if (maximum !== null && isLonger({ unit: rule.interval, count: LARGEST_PART_OF_MAXIMUM }, maximum)) {
    problems.push(`partitions of a ${rule.interval} are longer than a tenth of the maximum, ${ageText(maximum)}`);
  }
  return problems.map((what) => mistake(branchLabel(rule), what));
}

/**
 * A minimum beats a maximum only where somebody recorded why it binds this class of rows (GDPR 17(3)(b)); otherwise the
 * conflict blocks.
 */
function checkClauses(rule: PolicyRule): PolicyProblem[] {
  const { minimum, maximum } = rule;
  const branch = branchLabel(rule);
  const whole = rule.disposition === 'keep' ? null : wholePeriod(rule);
  const isBeaten = minimum !== null && maximum !== null && isLonger(minimum.period, maximum.period);
  if (isBeaten && minimum.legalBasis === null) {
    const what = `at least ${ageText(minimum.period)} (${minimum.clause}) and at most ${ageText(maximum.period)} (${maximum.clause})`;
    return [{ kind: 'conflict', branch, what: `${what}: record the legal basis of the minimum, or change one` }];
  }
  const problems: PolicyProblem[] = [];
  if (isBeaten) {
    const what = `the minimum ${ageText(minimum.period)} (${minimum.clause}; ${minimum.legalBasis}) beats the maximum ${ageText(maximum.period)} (${maximum.clause})`;
    problems.push({ kind: 'overridden', branch, what });
  }
  if (minimum !== null && isLonger(minimum.period, whole)) {
    const what = `kept ${ageText(whole)}, but at least ${ageText(minimum.period)} is asked for (${minimum.clause})`;
    problems.push({ kind: 'conflict', branch, what });
  }
  const longest = maximum === null ? null : isBeaten ? minimum.period : maximum.period;
  if (longest !== null && isLonger(whole, longest)) {
    const what = `kept ${ageText(whole)}, but at most ${ageText(longest)} is allowed (${maximum?.clause ?? ''})`;
    problems.push({ kind: 'conflict', branch, what });
  }
  return problems;
}

/** null is for ever, longer than everything. */
export function isLonger(a: Period | null, b: Period | null): boolean {
  if (b === null) return false;
  return a === null || lengthOf(a) > lengthOf(b);
}

function mistake(branch: string, what: string): PolicyProblem {
  return { kind: 'mistake', branch, what };
}
