/** What a new policy changes, and whether it weakens what protects rows from destruction. Pure. */
import type { Period } from '../time/period.ts';
import { branchLabel, type PolicyRule, type PurgeLimits, type RetentionPolicy, wholePeriod } from './policy.ts';
import { isLonger } from './policy-check.ts';
import { ruleDocument } from './policy-document.ts';

interface PolicyChange {
  /** The branch, or `limits`. */
  readonly branch: string;
  readonly field: string;
  readonly from: string;
  readonly to: string;
}

export interface PolicyDiff {
  readonly changes: readonly PolicyChange[];
  /**
   * Why it needs a second person and the cooling-off: rows may be destroyed earlier, in larger numbers or with less time
   * to object. The database decides the same by retention.policy_shortens.
   */
  readonly shortens: readonly string[];
}

export function diffPolicies(before: RetentionPolicy, after: RetentionPolicy): PolicyDiff {
  const changes = [
    ...before.rules.flatMap((rule) => {
      const other = findRule(after, rule);
      return other === undefined ? [] : changesOf(branchLabel(rule), ruleDocument(rule), ruleDocument(other));
    }),
    ...changesOf('limits', before.limits, after.limits),
  ];
  return {
    changes,
    shortens: [
      ...before.rules.flatMap((rule) => shortening(rule, findRule(after, rule))),
      ...loosening(before.limits, after.limits),
    ],
  };
}

function findRule(policy: RetentionPolicy, like: PolicyRule): PolicyRule | undefined {
  return policy.rules.find((rule) => rule.table === like.table && rule.category === like.category);
}

function changesOf(branch: string, before: object, after: object): PolicyChange[] {
  const values = new Map(Object.entries(after).map(([field, value]) => [field, textOf(value)]));
  return Object.entries(before).flatMap(([field, value]) => {
    const [from, to] = [textOf(value), values.get(field) ?? ''];
    return from === to ? [] : [{ branch, field, from, to }];
  });
}

/** As people write it: a minimum or maximum as its period with clause and basis. */
function textOf(value: unknown): string {
  if (value === null) return 'none';
  if (typeof value !== 'object') return String(value);
  const [first = '', ...grounds] = Object.values<unknown>({ ...value }).filter((part) => part !== null);
  return grounds.length === 0 ? String(first) : `${first} (${grounds.join('; ')})`;
}

function shortening(before: PolicyRule, after: PolicyRule | undefined): string[] {
  const branch = branchLabel(before);
  if (after === undefined) return [`${branch}: its rule is gone`];
  const reasons: string[] = [];
  if (isLonger(wholePeriod(before), wholePeriod(after))) reasons.push('the whole period');
  if (before.disposition === 'keep' && after.disposition === 'purge') reasons.push('the disposition');
  if (isLonger(minimumOf(before), minimumOf(after))) reasons.push('the minimum');
  if (before.rowDays !== null && before.rowDays !== after.rowDays) reasons.push('the period of single rows');
  return reasons.map((reason) => `${branch}: ${reason}`);
}

/** No minimum is none at all. */
function minimumOf(rule: PolicyRule): Period {
  return rule.minimum?.period ?? { unit: 'day', count: 0 };
}

function loosening(before: PurgeLimits, after: PurgeLimits): string[] {
  const reasons: string[] = [];
  for (const field of ['units', 'rows', 'percent', 'approvalHours'] as const) {
    if (after[field] > before[field]) reasons.push(`limits: ${field}`);
  }
  if (after.coolingOffHours < before.coolingOffHours) reasons.push('limits: coolingOffHours');
  return reasons;
}
