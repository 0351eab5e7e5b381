/** Policies as pure data: parsing, contradictions, differences. */
import { describe, expect, test } from 'vitest';
import { BUILT_IN_POLICY, branchLabel, type PolicyRule, type RetentionPolicy } from '../../src/retention/policy.ts';
import { checkPolicy } from '../../src/retention/policy-check.ts';
import { diffPolicies } from '../../src/retention/policy-diff.ts';
import { parsePolicyText, policyText } from '../../src/retention/policy-document.ts';
import { parsePolicySection } from '../../src/retention/policy-parse.ts';

const containing = (part: string): unknown => expect.stringContaining(part);

const rule = (fields: object) => ({ rules: [{ table: 'audit_log', ...fields }] });
const changed = (label: string, fields: Partial<PolicyRule>): RetentionPolicy => ({
  ...BUILT_IN_POLICY,
  rules: BUILT_IN_POLICY.rules.map((entry) => (branchLabel(entry) === label ? { ...entry, ...fields } : entry)),
});
const years = (count: number) => ({ unit: 'year', count }) as const;

test('the built-in policy is sound and survives its document', () => {
  expect(checkPolicy(BUILT_IN_POLICY)).toEqual([]);
  expect(parsePolicyText(policyText(BUILT_IN_POLICY))).toEqual(BUILT_IN_POLICY);
  expect(parsePolicySection(null).policy).toEqual(BUILT_IN_POLICY);
});

test('a section changes what it names and nothing else', () => {
  const { policy, problems } = parsePolicySection({
    rules: [
      { table: 'audit_log', hot: '18 months', archive: '10 years' },
      { table: 'data_access_log', category: 'standard', cold: '5 years' },
    ],
    limits: { units: 3 },
  });
  expect(problems).toEqual([]);
  expect(diffPolicies(BUILT_IN_POLICY, policy)).toEqual({
    changes: [
      { branch: 'audit_log', field: 'hot', from: '2 years', to: '18 months' },
      { branch: 'audit_log', field: 'archive', from: '7 years', to: '10 years' },
      { branch: 'data_access_log/standard', field: 'cold', from: 'none', to: '5 years' },
      { branch: 'limits', field: 'units', from: '36', to: '3' },
    ],
    shortens: [],
  });
});

test.each([
  [rule({ hot: '-2 years' }), "'-2 years' is no period"],
  [rule({ hot: '0 days' }), "'0 days' is no period"],
  [rule({ hot: '900 years' }), "'900 years' is no period"],
  [rule({ hot: '2 fortnights' }), "'2 fortnights' is no period"],
  [rule({ hot: '8 years' }), 'audit_log: hot 8 years is longer than the whole, 7 years'],
  [rule({ cold: '7 years' }), "cold until 7 years is no longer than the archive's 7 years"],
  [rule({ archive: 'forever' }), 'is kept for ever, so its disposition is keep'],
  [rule({ premake: '2 months' }), 'premake 2 months is less than 3 partitions of a month'],
  [rule({ rowDays: 'retention_days' }), 'audit_log: has no column retention_days'],
  [
    rule({ maximum: { period: '9 months', clause: 'x' } }),
    'partitions of a month are longer than a tenth of the maximum',
  ],
  [rule({ table: 'audit_logs' }), 'audit_logs is no table or category under retention'],
  [rule({ category: 'standard' }), 'audit_log/standard is no table or category'],
  [{ rules: [{ table: 'audit_log' }, { table: 'audit_log' }] }, 'audit_log has two rules'],
  [
    { rules: [{ table: 'distributed_traces', interval: 'month', premake: '3 months' }] },
    'is cut into days, not months',
  ],
  [rule({ hott: '2 years' }), 'Unrecognized key'],
  [{ limits: { percent: 101 } }, 'retention.limits.percent'],
  [{ rules: 'all' }, 'retention.rules'],
])('refused: %j', (section, message) => {
  expect(() => parsePolicySection(section)).toThrow(
    expect.objectContaining({ code: 'POLICY_INVALID', message: containing(message) }),
  );
});

describe('minimum and maximum', () => {
  const minimum = { period: years(10), clause: 'Archive Act 3', legalBasis: null };
  const maximum = { period: years(8), clause: 'GDPR 5(1)(e)' };
  const problems = (fields: Partial<PolicyRule>) => checkPolicy(changed('audit_log', fields));

  test('a minimum above the maximum blocks while no legal basis is recorded, and names both clauses', () => {
    const [problem, ...more] = problems({ minimum, maximum, archive: years(10) });
    expect(more).toEqual([]);
    expect(problem?.kind).toBe('conflict');
    expect(problem?.what).toContain('at least 10 years (Archive Act 3) and at most 8 years (GDPR 5(1)(e))');
  });

  test('with a legal basis it beats the maximum, and that is reported', () => {
    const binding = { ...minimum, legalBasis: 'GDPR 17(3)(b), memo 12' };
    expect(problems({ minimum: binding, maximum, archive: years(10) })).toEqual([
      expect.objectContaining({ kind: 'overridden', branch: 'audit_log' }),
    ]);
    expect(problems({ minimum: binding, maximum, archive: years(11) }).map(({ kind }) => kind)).toContain('conflict');
  });

  test('a whole period below the minimum or above the maximum is a conflict, also where nothing is ever destroyed', () => {
    expect(problems({ minimum: { ...minimum, period: years(8) } })).toEqual([
      expect.objectContaining({ kind: 'conflict', what: containing('kept 7 years') }),
    ]);
    expect(problems({ maximum: { ...maximum, period: years(6) } }).map(({ kind }) => kind)).toEqual(['conflict']);
    expect(problems({ maximum, disposition: 'keep' }).map(({ kind }) => kind)).toEqual(['conflict']);
    expect(problems({ maximum, minimum: { ...minimum, period: years(7) } })).toEqual([]);
  });
});

test.each<[Partial<PolicyRule>, string[]]>([
  [{ archive: years(6) }, ['audit_log: the whole period']],
  [{ archive: { unit: 'day', count: 2555 } }, ['audit_log: the whole period']],
  [{ archive: { unit: 'month', count: 84 } }, []],
  [{ archive: years(6), cold: years(8) }, []],
  [{ hot: years(1) }, []],
])('whether %j shortens', (fields, reasons) => {
  expect(diffPolicies(BUILT_IN_POLICY, changed('audit_log', fields)).shortens).toEqual(reasons);
});
