/** The English pack is complete: every word that a report can ask for is there, and nothing else. */
import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { CONTROL_STATUSES } from '../../src/reports/model/status.ts';
import { loadTemplates, loadTexts } from '../../src/reports/template/template.ts';
import { openTexts } from '../../src/reports/template/texts.ts';

const pack = await loadTexts('en');
const { controls, frameworks } = await loadTemplates();
const SOURCES = fileURLToPath(new URL('../../src/reports/', import.meta.url));

/** What the code can ask for with a name that is made: `status.${status}`. */
const MADE: Readonly<Record<string, readonly string[]>> = {
  status: [...CONTROL_STATUSES, 'manual_pending'],
  statusMeaning: [...CONTROL_STATUSES, 'manual_pending'],
  reason: [
    ...['no_exceptions', 'exceptions_found', 'exceptions_waived', 'duplicate_keys'],
    ...['population_incomplete', 'population_empty', 'evidence_missing', 'evidence_stale', 'sql_failed', 'time_limit'],
  ],
  mode: ['as_of', 'of_period', 'cohort'],
  severity: ['low', 'medium', 'high', 'critical'],
  group: ['access', 'change', 'operations', 'transactions', 'logging', 'privacy'],
  coverage: ['automated', 'partial', 'manual'],
  opinion: ['satisfied', 'exceptions', 'inconclusive'],
  opinionText: ['satisfied', 'exceptions', 'inconclusive'],
};

test.each(Object.entries(MADE))('%s has a word for each', (area, names) => {
  const there = Object.keys(pack).filter((key) => key.startsWith(`${area}.`));
  expect(there.sort()).toEqual(names.map((name) => `${area}.${name}`).sort());
});

test('every key that the code names is there, and every key is used', async () => {
  const files = (await readdir(SOURCES, { recursive: true })).filter((name) => name.endsWith('.ts'));
  const code = (await Promise.all(files.map((name) => readFile(SOURCES + name, 'utf8')))).join('\n');
  const named = [...code.matchAll(/texts\(\s*'([A-Za-z.]+)'/g)].map(([, key]) => key ?? '');
  expect(named.filter((key) => pack[key] === undefined)).toEqual([]);
  const isUsed = (key: string) => {
    const area = key.split('.')[0] ?? '';
    return MADE[area] !== undefined || code.includes(`'${key}'`) || code.includes(`\`${area}.\${`);
  };
  expect(Object.keys(pack).filter((key) => !isUsed(key))).toEqual([]);
});

test('templates use modes, groups and severities that have words', () => {
  for (const control of controls.values()) {
    expect([MADE['mode'], MADE['group'], MADE['severity']].map((words) => words?.length)).not.toContain(undefined);
    expect(pack).toHaveProperty([`mode.${control.mode}`]);
    expect(pack).toHaveProperty([`group.${control.group}`]);
    expect(pack).toHaveProperty([`severity.${control.severity}`]);
  }
  for (const { requirements } of frameworks.values()) {
    for (const { coverage } of requirements) expect(pack).toHaveProperty([`coverage.${coverage}`]);
  }
});

test('a key or placeholder that is not known is refused', async () => {
  const texts = await openTexts('en');
  expect(() => texts('no.such')).toThrow(/the text 'no.such' is not known/);
  expect(() => texts('title.period', { start: 'a', end: 'b' })).toThrow(/placeholder \{zone\}/);
  expect(texts('title.period', { start: '{zone}', end: 'b', zone: 'c' })).toBe('{zone} to b (both days included, c)');
});
