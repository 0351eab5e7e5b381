/** Every control fails on its fixtures, and on the rows of no other: run on a real database in one transaction. */
import { beforeAll, describe, expect, test } from 'vitest';
import { loadFixtures } from '../../src/reports/fixture.ts';
import { loadTemplates, TEMPLATES_FOLDER } from '../../src/reports/template.ts';
import { type CaseResult, testTemplates } from '../../src/reports/test-templates.ts';
import { useDatabase } from '../support/database.ts';

const set = await loadTemplates();
const fixtures = await loadFixtures(TEMPLATES_FOLDER, set);
const db = useDatabase();

describe('the fixtures of the shipped templates', () => {
  let results: readonly CaseResult[] = [];
  beforeAll(async () => {
    results = await testTemplates(db.admin, set, fixtures);
  }, 120_000);

  test('every control passes on the base', () => {
    expect(results[0]).toEqual({ control: 'base', name: 'every control passes', problems: [] });
  });

  test.each(fixtures.cases.map(({ control, name }, index) => [control, name, index] as const))(
    '%s: %s changes what it declares and nothing else',
    (control, name, index) => {
      expect(results[index + 1]).toEqual({ control, name, problems: [] });
    },
  );
});
