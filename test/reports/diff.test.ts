/** `report diff`: what is new, fixed and recurring, with bounds where pseudonyms hide it. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { canonicalJson } from '../../src/canonical-json.ts';
import { main } from '../../src/cli/main.ts';
import { parseComparable } from '../../src/reports/diff/comparable.ts';
import { compareReports } from '../../src/reports/diff/compare.ts';
import { compareExceptions } from '../../src/reports/diff/exceptions.ts';
import { freezeModel, type ReportModel } from '../../src/reports/model/model.ts';
import { packBundle } from '../../src/reports/parts/bundle-format.ts';
import { sampleModel } from './sample-model.ts';

/** A golden file outlives the templates. */
const withoutHashes = (page: string) => page.replaceAll(/[0-9a-f]{64}/g, 'SHA256');

type Control = ReportModel['controls'][number];

let folder: string;
let earlier: ReportModel;
let later: ReportModel;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'auditkeep-diff-'));
  const model = await sampleModel('sox');
  const ids = ['ac-01', 'ac-02', 'ac-03', 'ac-04', 'ac-05', 'lg-03', 'op-01'];
  earlier = {
    ...model,
    requirements: model.requirements.slice(0, 2),
    controls: model.controls.flatMap((control) => (ids.includes(control.id) ? [{ ...control, version: 1 }] : [])),
  };
  later = laterOf(earlier);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** A quarter later: AC-01 fails, AC-02 lost an exception and got another, LG-03 passes, one control went, one asks differently. */
function laterOf(model: ReportModel): ReportModel {
  const change = (control: Control): Control[] => {
    const { exceptions, population, ipe } = control;
    if (control.id === 'ac-01') {
      const row = exceptions.columns.map(({ name }) => `new ${name}`);
      return [{ ...control, status: 'fail', exceptions: { ...exceptions, count: 1, rows: [row] } }];
    }
    if (control.id === 'ac-02') {
      const rows = exceptions.rows.map((row, index) => row.map((value) => (index === 0 ? `changed ${value}` : value)));
      return [{ ...control, population: { ...population, count: 40 }, exceptions: { ...exceptions, rows } }];
    }
    if (control.id === 'lg-03')
      return [{ ...control, status: 'pass', exceptions: { ...exceptions, count: 0, rows: [] } }];
    if (control.id === 'ac-03') return [];
    if (control.id === 'ac-04') return [{ ...control, version: 9, ipe: { ...ipe, templateSha256: 'f'.repeat(64) } }];
    if (control.id === 'op-01') return [{ ...control, status: 'pass', population: { ...population, count: 3 } }];
    return [control];
  };
  return {
    ...model,
    report: { id: '4f0c8a52-6d1e-4b7a-9c55-0e2f1a7b9d13', version: 1 },
    period: { ...model.period, startDate: '2026-04-01', endDate: '2026-06-30' },
    controls: model.controls.flatMap(change),
    requirements: model.requirements.map((entry, index) => (index === 0 ? { ...entry, status: 'fail' } : entry)),
  };
}

const comparable = (model: ReportModel) => parseComparable(freezeModel(model).bytes, 'it');
const file = (name: string) => join(folder, name);

/** Runs the command away from any database. */
async function run(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const streams = { stdout: new PassThrough(), stderr: new PassThrough() };
  const written = Promise.all([text(streams.stdout), text(streams.stderr)]);
  const code = await main(['report', 'diff', ...args, '--database-url', 'postgres://127.0.0.1:1/none'], streams);
  streams.stdout.end();
  streams.stderr.end();
  const [out, err] = await written;
  return { code, out, err };
}

test('two files are compared as the golden file says, bundle or model, without a database', async () => {
  await writeFile(file('a.json'), freezeModel(earlier).bytes);
  const { id, version } = later.report;
  const subject = { reportId: id, version, reportHash: freezeModel(later).hash, installationId: id };
  await writeFile(file('b.zip'), packBundle(subject, new Map([['model.json', freezeModel(later).bytes]])));
  const { code, out, err } = await run(file('a.json'), file('b.zip'), '--json');
  expect([code, err]).toEqual([0, '']);
  const diff: unknown = JSON.parse(out);
  expect(diff).toEqual(compareReports(comparable(earlier), comparable(later)));
  await expect(withoutHashes(`${JSON.stringify(diff, null, 1)}\n`)).toMatchFileSnapshot('../golden/reports/diff.json');
  const shown = (await run(file('a.json'), file('b.zip'))).out;
  await expect(withoutHashes(shown)).toMatchFileSnapshot('../golden/reports/diff.txt');
});

test('each control has the outcome that its statuses lead to', () => {
  const outcome = (a: Control['status'] | null, b: Control['status'] | null) => {
    const [control] = earlier.controls;
    if (control === undefined) throw new Error('the sample has no control');
    const side = (status: Control['status'] | null) =>
      comparable({ ...earlier, controls: status === null ? [] : [{ ...control, status }] });
    return compareReports(side(a), side(b)).controls[0]?.outcome;
  };
  expect([
    outcome('pass', 'fail'),
    outcome('insufficient_data', 'fail'),
    outcome('fail', 'fail'),
    outcome('fail', 'pass'),
    outcome('fail', 'pass_with_waiver'),
    outcome('fail', 'insufficient_data'),
    outcome('fail', 'no_occurrences'),
    outcome('pass', 'stale'),
    outcome('error', 'error'),
    outcome(null, 'fail'),
    outcome('fail', null),
  ]).toEqual([
    'new',
    'new',
    'recurring',
    'fixed',
    'waived',
    'undecided',
    'undecided',
    'changed',
    'same',
    'added',
    'removed',
  ]);
});

/** A control that found the given rows, with one open column after a pseudonym. */
const found = (
  rows: readonly (readonly [pseudonym: string, finding: string])[],
  count: number | null = rows.length,
) => ({
  ...comparable(earlier).controls[0],
  id: 'xx-01',
  version: 1,
  title: 'x',
  status: 'fail',
  population: { count: 9 },
  exceptions: {
    count,
    columns: [
      { name: 'account', kind: 'pseudonym' },
      { name: 'finding', kind: 'text' },
    ],
    rows: rows.map((row) => [...row]),
  },
  ipe: { templateSha256: '', parameters: [] },
});

test('bounds hold whoever is behind the pseudonyms', () => {
  const row = fc.tuple(fc.nat(3), fc.constantFrom('x', 'y', 'z'));
  const rows = fc.uniqueArray(row, { selector: String, maxLength: 12 });
  fc.assert(
    fc.property(rows, rows, (a, b) => {
      // The same person has another pseudonym in B.
      const told = compareExceptions(
        found(a.map(([person, finding]) => [`A${person}`, finding])),
        found(b.map(([person, finding]) => [`B${person}`, finding])),
      );
      const inA = new Set(a.map(String));
      const recurring = b.filter((entry) => inA.has(String(entry))).length;
      expect(told.recurringAtMost).toBeGreaterThanOrEqual(recurring);
      expect(told.newAtLeast).toBeLessThanOrEqual(b.length - recurring);
      expect(told.fixedAtLeast).toBeLessThanOrEqual(a.length - recurring);
      expect((told.recurringAtMost ?? 0) + (told.newAtLeast ?? 0)).toBe(b.length);
    }),
    { numRuns: 200 },
  );
});

test('what cannot be matched by columns is bounded by counts, and what was not counted by nothing', () => {
  const one = found([['P-1', 'x']]);
  expect(compareExceptions(one, found([['P-2', 'y']]))).toMatchObject({
    matching: 'columns',
    newAtLeast: 1,
    recurringAtMost: 0,
  });
  const many = found([['P-2', 'y']], 3412);
  expect(compareExceptions(one, many)).toMatchObject({
    matching: 'counts',
    newAtLeast: 3411,
    fixedAtLeast: 0,
    recurringAtMost: 1,
    changes: [],
  });
  const hidden = { ...one, exceptions: { ...one.exceptions, columns: [{ name: 'account', kind: 'pseudonym' }] } };
  expect(compareExceptions(hidden, hidden)).toMatchObject({ matching: 'counts', newAtLeast: 0, recurringAtMost: 1 });
  expect(compareExceptions(one, hidden).matching).toBe('counts');
  expect(compareExceptions(one, found([], null))).toMatchObject({ a: 1, b: null, matching: 'none', newAtLeast: null });
  expect(compareExceptions(null, one)).toMatchObject({ a: null, b: 1, matching: 'none' });
  const columns = [{ name: 'finding', kind: 'text' }];
  const open = (value: string) => ({ ...one, exceptions: { count: 1, columns, rows: [[value]] } });
  expect(compareExceptions(open('x'), open('x'))).toMatchObject({
    matching: 'rows',
    newAtLeast: 0,
    recurringAtMost: 1,
  });
  expect(compareExceptions(open('x'), open('y'))).toMatchObject({
    matching: 'rows',
    newAtLeast: 1,
    fixedAtLeast: 1,
    changes: [
      { values: ['x'], a: 1, b: 0 },
      { values: ['y'], a: 0, b: 1 },
    ],
  });
});

test('other frameworks, files that are none and texts that are no models are refused with a code', async () => {
  await writeFile(file('gdpr.json'), freezeModel(await sampleModel('gdpr')).bytes);
  await writeFile(file('not.json'), '{"format":"auditkeep-report/v1"}');
  await writeFile(file('escape.json'), canonicalJson({ ...earlier, opinion: '\u001b[2J' }));
  await writeFile(file('not.zip'), 'PK and no more');
  const refusals = [
    ['gdpr.json', 'REPORT_INCOMPARABLE', 2],
    ['not.json', 'INPUT_INVALID', 2],
    ['escape.json', 'INPUT_INVALID', 2],
    ['not.zip', 'BUNDLE_INVALID', 3],
    ['absent.json', 'INPUT_FILE', 2],
  ] as const;
  for (const [name, expected, exit] of refusals) {
    const { code, err } = await run(file('a.json'), file(name));
    expect(err.trim().split('\n'), name).toHaveLength(1);
    expect([err.includes(expected), code], name).toEqual([true, exit]);
  }
});
