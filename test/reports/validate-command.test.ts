/** Bad templates on the command line: one line with a code, exit 2, and nothing changed, whoever refuses them. */
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { main } from '../../src/cli/main.ts';
import { queryOne } from '../../src/db/query.ts';
import { TEMPLATES_FOLDER } from '../../src/reports/template/template.ts';
import { useDatabase } from '../support/database.ts';

const db = useDatabase();
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'auditkeep-validate-'));
  await mkdir(join(folder, 'home'), { mode: 0o700 });
  await writeFile(join(folder, 'auditkeep.yaml'), JSON.stringify({ home: 'home', databaseUrl: db.url() }));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function validate(templates: string, ...more: string[]) {
  const streams = { stdout: new PassThrough(), stderr: new PassThrough() };
  const written = Promise.all([text(streams.stdout), text(streams.stderr)]);
  const argv = ['template', 'validate', '--folder', templates, '--config', join(folder, 'auditkeep.yaml'), ...more];
  const code = await main(argv, streams);
  streams.stdout.end();
  streams.stderr.end();
  const [out, err] = await written;
  return { code, out, err };
}

/** A copy of the shipped templates with one file changed, or added when there is no such file. */
async function changed(file: string, change: (before: string) => string): Promise<string> {
  const copy = await mkdtemp(join(folder, 'copy-'));
  await cp(TEMPLATES_FOLDER, copy, { recursive: true });
  const before = await readFile(join(copy, file), 'utf8').catch(() => '');
  const after = change(before);
  expect(after).not.toBe(before);
  await writeFile(join(copy, file), after);
  return copy;
}

const AC12 = 'controls/ac-12.yaml';
/** AC-12 with another statement that counts. */
const counting = (sql: string) => (before: string) => before.replace(/^ {4}select c\.n from .*$/m, `    ${sql}`);
/** A relation that some fact really has, so that only the rule stands in the way. */
const FACT = 'select c.n from facts.privileged_account_count c';

const state = () =>
  db.admin.withClient((client) =>
    queryOne(
      client,
      z.object({ events: z.bigint(), waiting: z.bigint() }),
      `select (select count(*) from audit.audit_log_all) as events,
              (select count(*) from pg_prepared_xacts) as waiting`,
    ),
  );

test('the shipped templates hold, every statement planned', async () => {
  const { code, out, err } = await validate(TEMPLATES_FOLDER, '--json');
  expect({ code, err }).toEqual({ code: 0, err: '' });
  expect(JSON.parse(out)).toEqual({ controls: 30, frameworks: 4, database: true });
});

test.each([
  ['a write', counting('delete from facts.account'), 'TEMPLATE_SQL', /ac-12 completeness.*one select/],
  [
    'a write behind a name',
    counting(`with x as (delete from facts.account returning 1) ${FACT}`),
    'TEMPLATE_SQL',
    /'delete'/,
  ],
  [
    'a table made of a select',
    counting('select c.n into temp t from facts.privileged_account_count c'),
    'TEMPLATE_SQL',
    /'into'/,
  ],
  ['a sleep', counting(`${FACT} where pg_sleep(10) is not null`), 'TEMPLATE_SQL', /'pg_sleep'/],
  [
    'a lock that waits',
    counting(`${FACT} where pg_advisory_lock(1) is not null`),
    'TEMPLATE_SQL',
    /'pg_advisory_lock'/,
  ],
  ['two statements', counting(`${FACT}; ${FACT}`), 'TEMPLATE_SQL', /';'/],
  [
    'two statements by a wrapper that ends early',
    counting(`${FACT}) x; delete from facts.account; select 1 from (select 1`),
    'TEMPLATE_SQL',
    /parenthesis|';'/,
  ],
  [
    'a table outside the facts',
    counting('select count(*) as n from security_confidential.users'),
    'TEMPLATE_SQL',
    /'security_confidential'/,
  ],
  [
    'such a table after a comma',
    counting(`select count(*) as n from facts.account a, security_confidential.users u`),
    'TEMPLATE_SQL',
    /ac-12 completeness/,
  ],
  [
    'a catalog after a comma',
    counting('select count(*) as n from facts.account a, pg_class c'),
    'TEMPLATE_SQL',
    /'pg_class'/,
  ],
  ['a volatile function', counting('select random() as n'), 'TEMPLATE_SQL', /'random'/],
  [
    'the time of the server',
    counting('select extract(epoch from current_timestamp) as n'),
    'TEMPLATE_SQL',
    /'current_timestamp'/,
  ],
  ['a fact that there is not', counting('select count(*) as n from facts.nothing x'), 'TEMPLATE_SQL', /facts.nothing/],
  [
    'a column that there is not',
    counting('select c.m as n from facts.privileged_account_count c'),
    'TEMPLATE_SQL',
    /does not plan the SQL of ac-12 completeness/,
  ],
  [
    'a count by another name',
    counting('select c.n as m from facts.privileged_account_count c'),
    'TEMPLATE_SQL',
    /does not plan the SQL of ac-12 completeness/,
  ],
  [
    'recursion',
    counting('with recursive r as (select 1 as n union all select r.n + 1 from r) select max(r.n) as n from r'),
    'TEMPLATE_SQL',
    /'recursive'/,
  ],
  [
    'a named query that reads itself',
    counting('with r as (select r.n from r) select max(r.n) as n from r'),
    'TEMPLATE_SQL',
    /does not plan the SQL of ac-12 completeness/,
  ],
  [
    'named queries that read each other',
    counting('with a as (select b.n from b), b as (select a.n from a) select max(a.n) as n from a'),
    'TEMPLATE_SQL',
    /does not plan/,
  ],
  [
    'a template that contains itself',
    (before: string) => before.replace('limitations:', 'limitations: &self\n  - *self'),
    'TEMPLATE_INVALID',
    /ac-12.yaml is not YAML/,
  ],
  ['a parameter that is not declared', counting(`${FACT} where c.n > :least::bigint`), 'TEMPLATE_INVALID', /':least'/],
  [
    'a parameter that is never used',
    (before: string) =>
      before.replace(
        'parameters: {}',
        'parameters:\n  days: { type: integer, default: 1, min: 1, max: 2, unit: days, meaning: x }',
      ),
    'TEMPLATE_INVALID',
    /never uses its parameter 'days'/,
  ],
  [
    'a parameter without bounds',
    (before: string) =>
      before.replace('parameters: {}', 'parameters:\n  days: { type: integer, default: 1, unit: days, meaning: x }'),
    'TEMPLATE_INVALID',
    /ac-12.yaml is malformed at parameters.days.min/,
  ],
  [
    'an unknown key',
    (before: string) => `${before}\nscript: rm -rf\n`,
    'TEMPLATE_INVALID',
    /ac-12.yaml is malformed.*script/,
  ],
  [
    'another mode',
    (before: string) => before.replace('mode: as_of', 'mode: sometimes'),
    'TEMPLATE_INVALID',
    /malformed at mode/,
  ],
] as const)('%s is refused', async (_what, change, code, message) => {
  const before = await state();
  const refused = await validate(await changed(AC12, change));
  expect({ code: refused.code, out: refused.out }).toEqual({ code: 2, out: '' });
  expect(refused.err).toMatch(new RegExp(`^error ${code}: [^\\n]+; [^\\n]+\\n$`));
  expect(refused.err).toMatch(message);
  expect(await state()).toEqual(before);
});

test.each([
  ['a control that no framework uses', 'controls/zz-01.yaml', /no framework uses control 'zz-01'/],
  ['a file that is no template', 'controls/ac-12.yml', /ac-12.yml is no template/],
  ['SQL in a file of its own', 'frameworks/more.sql', /more.sql is no template/],
])('%s is refused as unused', async (_what, file, message) => {
  const control = (await readFile(join(TEMPLATES_FOLDER, AC12), 'utf8')).replace('id: ac-12', 'id: zz-01');
  const refused = await validate(await changed(file, () => control), '--no-database');
  expect(refused.code).toBe(2);
  expect(refused.err).toMatch(/^error TEMPLATE_INVALID: [^\n]+\n$/);
  expect(refused.err).toMatch(message);
});
