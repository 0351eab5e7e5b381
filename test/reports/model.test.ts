import { describe, expect, it } from 'vitest';
import { canonicalJson } from '../../src/canonical-json.ts';
import { freezeModel, sha256Hex } from '../../src/reports/model/model.ts';
import { makePseudonymizer } from '../../src/reports/model/pseudonym.ts';
import { type ControlFigures, judgeControl, judgeReport, judgeRequirement } from '../../src/reports/model/status.ts';
import { renderJson } from '../../src/reports/render/json.ts';
import { sampleModel } from './sample-model.ts';

describe('judgeControl', () => {
  const judge = (population: number, exceptions: number, independent = population, distinctKeys = population) =>
    withChecks({ population, exceptions, independent, distinctKeys });
  const withChecks = (figures: Partial<ControlFigures>) => {
    const sound = { population: 5, exceptions: 0, independent: 5, distinctKeys: 5, waived: 0, missing: 0, stale: 0 };
    return judgeControl({ ...sound, ...figures }, 'no_occurrences').status;
  };

  it.each([
    ['a confirmed population without exceptions', judge(5, 0), 'pass'],
    ['one exception', judge(5, 1), 'fail'],
    ['an exception in a population that is not confirmed', judge(5, 1, 6), 'fail'],
    ['an exception outside an empty population', judge(0, 1), 'fail'],
    ['fewer rows than counted independently', judge(5, 0, 6), 'insufficient_data'],
    ['more rows than counted independently', judge(5, 0, 4), 'insufficient_data'],
    ['nothing, where something was counted', judge(0, 0, 3), 'insufficient_data'],
    ['nothing', judge(0, 0), 'no_occurrences'],
    ['a key twice', judge(5, 0, 5, 4), 'error'],
    ['two exceptions of which one is waived', withChecks({ exceptions: 2, waived: 1 }), 'fail'],
    ['two exceptions that are waived', withChecks({ exceptions: 2, waived: 2 }), 'pass_with_waiver'],
    ['waived, but not confirmed', withChecks({ exceptions: 1, waived: 1, independent: 6 }), 'insufficient_data'],
    [
      'waived exceptions of an empty population',
      withChecks({ population: 0, independent: 0, distinctKeys: 0, exceptions: 1, waived: 1 }),
      'insufficient_data',
    ],
    ['waived, but stale', withChecks({ exceptions: 1, waived: 1, stale: 1 }), 'stale'],
    ['a source that does not reach back', withChecks({ missing: 1 }), 'insufficient_data'],
    ['a source that ended too early', withChecks({ stale: 1 }), 'stale'],
    ['both, of which the former is said', withChecks({ missing: 1, stale: 1 }), 'insufficient_data'],
    [
      'nothing, from a source that ended too early',
      withChecks({ population: 0, independent: 0, distinctKeys: 0, stale: 1 }),
      'stale',
    ],
    [
      'an exception from a source that does not reach back',
      withChecks({ exceptions: 1, missing: 1, stale: 1 }),
      'fail',
    ],
  ])('%s is %s', (_what, status, expected) => {
    expect(status).toBe(expected);
  });
});

describe('judgeRequirement and judgeReport', () => {
  it('take the worst', () => {
    expect(judgeRequirement(['pass', 'error', 'fail'])).toBe('fail');
    expect(judgeRequirement(['pass', 'insufficient_data'])).toBe('insufficient_data');
    expect(judgeRequirement([])).toBe('manual_pending');
    expect(judgeReport(['pass', 'fail', 'error'])).toBe('exceptions');
    expect(judgeReport(['pass', 'error'])).toBe('inconclusive');
    expect(judgeReport(['pass', 'no_occurrences'])).toBe('satisfied');
    expect(judgeRequirement(['pass', 'pass_with_waiver'])).toBe('pass_with_waiver');
    expect(judgeRequirement(['stale', 'pass_with_waiver'])).toBe('stale');
    expect(judgeReport(['pass_with_waiver', 'no_occurrences'])).toBe('satisfied');
    expect(judgeReport(['pass', 'stale'])).toBe('inconclusive');
    expect(judgeReport(['pass'], ['pass', 'fail', 'manual_pending'])).toBe('exceptions');
    expect(judgeReport(['pass'], ['pass', 'pass'])).toBe('satisfied');
    expect(judgeReport(['pass'], ['pass', 'manual_pending'])).toBe('inconclusive');
  });

  it('never conclude satisfaction from nothing', () => {
    expect(judgeReport([])).toBe('inconclusive');
    expect(judgeReport(['no_occurrences', 'not_applicable'])).toBe('inconclusive');
  });
});

describe('the model', () => {
  // The figures are the sample's; a template that changes changes its hash here: `npm test -- test/reports/model -u`.
  it.each(['gdpr', 'sox', 'hipaa'])('of %s is as the golden file says', async (framework) => {
    const model = await sampleModel(framework);
    await expect(`${JSON.stringify(model, null, 1)}\n`).toMatchFileSnapshot(
      `../golden/reports/${framework}-model.json`,
    );
  });

  it('is hashed over its canonical bytes, which the JSON file is', async () => {
    const model = await sampleModel();
    const { bytes, hash } = freezeModel(model);
    expect(hash).toBe(sha256Hex(canonicalJson(model)));
    expect(renderJson(model)).toEqual(bytes);
  });

  it('states no figure for a control that failed', async () => {
    const failed = (await sampleModel()).controls.find((control) => control.id === 'op-01');
    expect(failed).toMatchObject({ status: 'error', reason: 'sql_failed', sqlState: '22012' });
    expect(failed?.population.count).toBeNull();
    expect(failed?.exceptions).toMatchObject({ count: null, rows: [], evidence: null });
  });

  it('shows the first hundred exceptions and the count of all', async () => {
    const control = (await sampleModel()).controls.find((entry) => entry.id === 'pr-01');
    expect(control?.exceptions.rows).toHaveLength(100);
    expect(control?.exceptions.count).toBe(3412);
  });

  it('is refused over 16 MB', async () => {
    const model = await sampleModel();
    const long = { ...model, framework: { ...model.framework, introduction: 'x'.repeat(16 * 1024 * 1024) } };
    expect(() => freezeModel(long)).toThrow(expect.objectContaining({ code: 'REPORT_TOO_LARGE' }));
  });
});

describe('pseudonyms', () => {
  const key = Buffer.alloc(32, 1);
  it('stand for one id within one report and under one key only', () => {
    const one = makePseudonymizer(key, 'report-1');
    expect(one('a')).toBe(one('a'));
    const all = [
      one('a'),
      one('b'),
      makePseudonymizer(key, 'report-2')('a'),
      makePseudonymizer(Buffer.alloc(32, 2), 'report-1')('a'),
    ];
    expect(new Set(all).size).toBe(4);
    for (const pseudonym of all) expect(pseudonym).toMatch(/^P-[0-9A-HJKMNP-TV-Z]{16}$/);
  });
});
