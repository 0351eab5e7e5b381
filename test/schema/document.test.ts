/** docs/design/schema.md says what is true: every table, and every column and index that the seed does not have. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { readDesign } from '../../src/schema/drift.ts';
import { columnsOfSeed, indexesOfSeed, SEED_FOLDER } from '../support/seed.ts';
import { isExpected } from '../support/shared-data.ts';

const page = readFileSync('docs/design/schema.md', 'utf8');
const says = (name: string) => new RegExp(`(?<![A-Za-z0-9_])${name}(?![A-Za-z0-9_])`).test(page);

/** The names of all objects of a kind, without the kind. */
async function objects(kind: string): Promise<string[]> {
  const design = await readDesign();
  return [...design.keys()].filter((key) => key.startsWith(`${kind} `)).map((key) => key.slice(kind.length + 1));
}

test('every table is listed', async () => {
  const tables = await objects('table');
  expect(tables.length).toBeGreaterThan(40);
  expect(tables.filter((table) => !page.includes(`\`${table.split('.')[1]}\``))).toEqual([]);
});

test('every schema and role is named', async () => {
  expect([...(await objects('schema')), ...(await objects('role'))].filter((name) => !says(name))).toEqual([]);
});

test.skipIf(!isExpected(SEED_FOLDER))('every added column and every added or missing index is named', async () => {
  const seed = columnsOfSeed();
  const columns = (await objects('column')).flatMap((key) => {
    const [schema = '', table = '', column = ''] = key.split('.');
    const known = seed.get(`${schema}.${table}`);
    return known === undefined || known.has(column) ? [] : [column];
  });
  expect(columns.length).toBeGreaterThan(15);
  expect(columns.filter((column) => !says(column))).toEqual([]);

  const named = new Set(indexesOfSeed());
  const indexes = (await objects('index')).filter((key) => seed.has(key.split('.').slice(0, 2).join('.')));
  const ours = indexes.map((key) => key.split('.')[2] ?? '');
  const added = ours.filter((name) => name.startsWith('idx_') && !named.has(name));
  const missing = [...named].filter((name) => !ours.includes(name));
  expect([...added, ...missing].filter((name) => !says(name))).toEqual([]);
  expect(missing).toHaveLength(6);
});
