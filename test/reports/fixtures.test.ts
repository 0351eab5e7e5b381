/** Every control fails on its fixtures, and on the rows of no other: run on a real database in one transaction. */
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { queryOne } from '../../src/db/query.ts';
import { type FixtureCase, loadFixtures } from '../../src/reports/fixture/fixture.ts';
import { type CaseResult, testTemplates } from '../../src/reports/fixture/test-templates.ts';
import { loadTemplates, TEMPLATES_FOLDER } from '../../src/reports/template/template.ts';
import { useDatabase } from '../support/database.ts';

const set = await loadTemplates();
/** The shipped fixtures with other cases. */
const cases = (...some: FixtureCase[]) => ({ base: fixtures.base, cases: some });
const disabled: FixtureCase = {
  control: 'ac-12',
  name: 'nobody has a second factor',
  changes: {},
  set: { 'security_confidential.users': { mfa_enabled: false } },
};

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

describe('testTemplates', () => {
  test('names a control that changed without being declared, and one that did not change', async () => {
    const [, undeclared, unchanged] = await testTemplates(
      db.admin,
      set,
      cases(disabled, { control: 'ac-12', name: 'nothing', changes: { 'ac-12': 'fail' } }),
    );
    expect(undeclared?.problems).toEqual(['ac-12 is fail, not pass']);
    expect(unchanged?.problems).toEqual(['ac-12 is pass, not fail']);
  });

  test('names a control that does not pass on the base when it is changed', async () => {
    const broken = set.controls.get('ac-12');
    if (broken === undefined) throw new Error('no control ac-12');
    const all = 'select a.account_id as account, null as privileged_roles, null as last_login from facts.account a';
    const controls = new Map([['ac-12', { ...broken, exceptions: { ...broken.exceptions, sql: all } }]]);
    const [base] = await testTemplates(db.admin, { ...set, controls }, cases());
    expect(base?.problems).toEqual(['ac-12 is fail']);
  });

  test('leaves nothing behind', async () => {
    const { n } = await db.admin.withClient((client) =>
      queryOne(client, z.object({ n: z.bigint() }), 'select count(*) as n from security_confidential.users'),
    );
    expect(n).toBe(0n);
    const { off } = await db.admin.withClient((client) =>
      queryOne(client, z.object({ off: z.bigint() }), `select count(*) as off from pg_trigger where tgenabled = 'D'`),
    );
    expect(off).toBe(0n);
  });

  test('refuses a database that holds data', async () => {
    await db.admin.withClient((client) =>
      client.query(
        `insert into security_confidential.users (username, email, password_hash, password_salt) values ('a', 'a', 'x', 'x')`,
      ),
    );
    await expect(testTemplates(db.admin, set, fixtures)).rejects.toMatchObject({ code: 'TEMPLATE_TEST_DATABASE' });
  });
});

describe('a folder of fixtures', () => {
  const written = async (file: string, text: string) => {
    const folder = await mkdtemp(join(tmpdir(), 'auditkeep-fixtures-'));
    try {
      await cp(join(TEMPLATES_FOLDER, 'fixtures'), join(folder, 'fixtures'), { recursive: true });
      await writeFile(join(folder, 'fixtures', file), text);
      return await loadFixtures(folder, set);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  };
  test.each([
    [
      'a control without a case in which it fails',
      'ac-12.yaml',
      'control: ac-12\ncases: [{ name: x, changes: { ac-12: stale } }]',
      /no fixture makes control 'ac-12' fail/,
    ],
    [
      'another control than its file',
      'ac-12.yaml',
      'control: ac-11\ncases: [{ name: x, changes: {} }]',
      /ac-12.yaml is of 'ac-11'/,
    ],
    [
      'a control that is not there',
      'ac-99.yaml',
      'control: ac-99\ncases: [{ name: x, changes: {} }]',
      /ac-99.yaml is of no control/,
    ],
    [
      'a change of a control that is not there',
      'ac-12.yaml',
      'control: ac-12\ncases: [{ name: x, changes: { ac-99: fail } }]',
      /ac-99/,
    ],
    [
      'a status that is none',
      'ac-12.yaml',
      'control: ac-12\ncases: [{ name: x, changes: { ac-12: bad } }]',
      /malformed at cases.0.changes.ac-12/,
    ],
    [
      'a statement in place of a table',
      'base.yaml',
      'empty: ["audit.audit_log; drop table x"]',
      /malformed at empty.0/,
    ],
    ['a column that is none', 'base.yaml', 'rows: { audit.audit_log: [{ "id) values (1); --": 1 }] }', /malformed/],
  ])('is refused with %s', async (_what, file, text, message) => {
    await expect(written(file, text)).rejects.toThrow(message);
  });
});
