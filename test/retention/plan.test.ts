/** The plan as a pure function of policy, catalog facts and the time. */
import { describe, expect, test } from 'vitest';
import type { BranchFacts, LeafFacts, UnitFacts } from '../../src/retention/facts.ts';
import { leafName, planArchival, planGrowth, planNeeded, planOf } from '../../src/retention/plan.ts';
import { type BranchPolicy, POLICIES } from '../../src/retention/policy.ts';
import { isoOf } from '../../src/time/clock.ts';
import { addPeriod } from '../../src/time/period.ts';
import { instant } from './rows.ts';

const POLICY: BranchPolicy = {
  table: 'audit_log',
  category: null,
  interval: 'month',
  premake: { unit: 'month', count: 3 },
  hot: { unit: 'year', count: 2 },
  citation: 'test',
};
const day = (text: string) => instant(`${text}T00:00:00Z`);
const NOW = instant('2026-03-15T12:00:00Z');

function leaf(name: string, from: string | null, to: string | null, over: Partial<LeafFacts> = {}): LeafFacts {
  return {
    name,
    relation: `audit.${name}`,
    from: from === null ? null : day(from),
    to: to === null ? null : day(to),
    tombstone: false,
    sizeBytes: 8192n,
    estimatedRows: 7n,
    unit: { unitId: 1n, state: 'hot', held: false, diverted: false, rows: null, expiresAt: null },
    ...over,
  };
}
const tombstone = (from: string | null, to: string) => leaf('tomb', from, to, { tombstone: true, unit: null });
const branch = (...leaves: LeafFacts[]): BranchFacts => ({
  table: 'audit_log',
  category: null,
  parent: 'audit_log',
  leaves,
});
const starts = (facts: BranchFacts, policy = POLICY, now = NOW) =>
  planGrowth(policy, facts, now).map(
    (unit) => `${unit.action} ${unit.from === null ? '-' : isoOf(unit.from).slice(0, 10)}`,
  );

describe('growth', () => {
  test('goes on from the last end to the horizon', () => {
    expect(starts(branch(tombstone(null, '2026-04-01')))).toEqual([
      'create 2026-04-01',
      'create 2026-05-01',
      'create 2026-06-01',
    ]);
  });

  test('nothing is due where the horizon is reached', () => {
    expect(starts(branch(leaf('a', '2026-06-01', '2026-07-01')))).toEqual([]);
  });

  test('a stopped year is made up for in one plan', () => {
    const plan = starts(branch(leaf('a', '2025-02-01', '2025-03-01')));
    expect(plan).toHaveLength(16);
    expect(plan[0]).toBe('create 2025-03-01');
    expect(plan.at(-1)).toBe('create 2026-06-01');
  });

  test('what is past the hot period is left to a tombstone', () => {
    expect(starts(branch(leaf('a', '2020-01-01', '2020-02-01')))[0]).toBe('create 2024-03-01');
    expect(starts(branch(leaf('a', '2020-01-01', '2020-02-01')), { ...POLICY, hot: null })[0]).toBe(
      'create 2020-02-01',
    );
  });

  test('an odd last end is continued exactly, and a partition of somebody else is adopted', () => {
    const odd = leaf('yearly', '2025-01-01', '2026-04-11', { unit: null });
    expect(starts(branch(odd))).toEqual([
      'create 2026-04-11',
      'create 2026-05-01',
      'create 2026-06-01',
      'adopt 2025-01-01',
    ]);
  });

  test('a branch without an end is complete', () => {
    expect(starts(branch(leaf('a', '2025-01-01', null)))).toEqual([]);
  });
});

describe('archival', () => {
  const facts = branch(
    tombstone(null, '2023-12-01'),
    leaf('old', '2023-12-01', '2024-01-01'),
    leaf('edge', '2024-02-15', '2024-03-15'),
    leaf('young', '2024-03-15', '2024-04-01'),
  );
  const names = (now = NOW, before: string | null = null, policy = POLICY) =>
    planArchival(policy, facts, now, before === null ? null : day(before)).map((unit) => unit.partition);

  test('takes units whose end is at least the hot period ago, oldest first, and no tombstone', () => {
    expect(names()).toEqual(['old', 'edge']);
    expect(names(instant('2026-03-14T23:59:59Z'))).toEqual(['old']);
  });

  test('a date asked for replaces the age; always-hot tables leave only by date', () => {
    expect(names(NOW, '2024-01-01')).toEqual(['old']);
    expect(names(NOW, '2024-04-01')).toEqual(['old', 'edge', 'young']);
    expect(names(NOW, null, { ...POLICY, hot: null })).toEqual([]);
    expect(names(NOW, '2024-01-01', { ...POLICY, hot: null })).toEqual(['old']);
  });

  test('holds, units that have not ended and earlier failures block', () => {
    const unit = { unitId: 1n, state: 'hot' as const, held: false, diverted: false, rows: null, expiresAt: null };
    const blockers = (over: Partial<LeafFacts>, to = '2024-01-01') =>
      planArchival(POLICY, branch(leaf('a', '2023-12-01', to, over)), NOW, day('2027-01-01'))[0]?.blockers;
    expect(blockers({})).toEqual([]);
    expect(blockers({ unit: { ...unit, held: true } })).toEqual(['held']);
    expect(blockers({ unit: { ...unit, state: 'failed' } })).toEqual(['failed-before']);
    expect(blockers({}, '2026-04-01')).toEqual(['not-ended']);
  });
});

describe('what an import needs', () => {
  const unit = (from: string, to: string, over: Partial<UnitFacts> = {}): UnitFacts => ({
    unitId: 1n,
    table: 'audit_log',
    category: null,
    relation: 'audit.a',
    from: day(from),
    to: day(to),
    state: 'archived',
    held: false,
    diverted: true,
    expiresAt: null,
    rows: 1n,
    archivedAt: null,
    ...over,
  });
  const facts = branch(
    tombstone(null, '2024-01-01'),
    tombstone('2024-01-01', '2024-02-01'),
    leaf('hot', '2024-02-01', '2024-03-01'),
  );
  const archived = unit('2024-01-01', '2024-02-01');
  const hot = unit('2024-02-01', '2024-03-01', { state: 'hot', diverted: false });

  test('months in tombstones are made, those of units are not, later ones are left out', () => {
    const instants = ['2023-11-05', '2023-11-06', '2024-01-10', '2024-02-10', '2026-01-01'].map(day);
    const needed = planNeeded(POLICY, facts, [archived, hot], instants);
    expect(needed.create.map((range) => isoOf(range.from).slice(0, 7))).toEqual(['2023-11']);
    expect(needed.closed).toEqual([archived]);
  });

  test('a range that an odd bound cuts is made up to it', () => {
    const cut = branch(tombstone(null, '2024-01-16'), leaf('odd', '2024-01-16', '2024-03-01'));
    const needed = planNeeded(
      POLICY,
      cut,
      [unit('2024-01-16', '2024-03-01', { diverted: false })],
      [day('2024-01-20')],
    );
    expect(needed.create).toEqual([{ from: day('2024-01-01'), to: day('2024-01-16') }]);
    expect(needed.closed).toEqual([]);
  });

  test("another category's units do not count", () => {
    const needed = planNeeded(POLICY, facts, [{ ...archived, category: 'standard' }], [day('2024-01-10')]);
    expect(needed.create).toHaveLength(1);
  });
});

describe('the plan hash', () => {
  const plan = (over: Partial<LeafFacts> = {}) =>
    planOf(planArchival(POLICY, branch(leaf('a', '2023-12-01', '2024-01-01', over)), NOW, null), 'policy').planHash;
  const unit = { unitId: 1n, state: 'hot' as const, held: false, diverted: false, rows: null, expiresAt: null };

  test('covers units, holds and sealed rows', () => {
    const hashes = [
      plan(),
      plan({ unit: { ...unit, unitId: 2n } }),
      plan({ unit: { ...unit, held: true } }),
      plan({ unit: { ...unit, rows: 5n } }),
      plan({ name: 'b' }),
      plan({ from: day('2023-11-01') }),
    ];
    expect(new Set(hashes).size).toBe(hashes.length);
    expect(hashes[0]).toMatch(/^[0-9a-f]{64}$/);
  });

  test('leaves sizes and guesses outside', () => {
    expect(plan({ sizeBytes: 1n, estimatedRows: 99n })).toBe(plan());
  });
});

test('every policy keeps at least three intervals ahead and has one line a branch', () => {
  for (const policy of POLICIES) {
    const three = { unit: policy.interval, count: 3 };
    expect(addPeriod(NOW, policy.premake) >= addPeriod(NOW, three), `${policy.table} ${policy.category}`).toBe(true);
  }
  expect(new Set(POLICIES.map((policy) => `${policy.table}/${policy.category}`)).size).toBe(POLICIES.length);
});

test('leaves are named after their bounds', () => {
  const name = (from: string, to: string) => leafName('t', { from: instant(from), to: instant(to) });
  expect(name('2026-02-01T00:00:00Z', '2026-03-01T00:00:00Z')).toBe('t_y2026m02');
  expect(name('2026-02-28T00:00:00Z', '2026-03-01T00:00:00Z')).toBe('t_y2026m02d28');
  expect(name('2026-01-31T23:00:00Z', '2026-02-01T00:00:00Z')).toBe('t_20260131230000_20260201000000');
});
