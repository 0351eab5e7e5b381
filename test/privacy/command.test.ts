/** `anonymize` and `key list` on the command line, from a fresh installation to what is left. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { main } from '../../src/cli/main.ts';
import { execute } from '../../src/db/query.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { insertTransactions, makeChain, readLeft } from './ethereum.ts';

const db = useDatabase();
let ctx: TestContext;

async function auditkeep(...argv: string[]) {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const config = join(ctx.config.home, 'auditkeep.yaml');
  const exit = await main([...argv, '--config', config, '--database-url', db.url()], { stdout, stderr });
  stdout.end();
  stderr.end();
  return { exit, stdout: await text(stdout), stderr: await text(stderr) };
}

const json = async (...argv: string[]) => {
  const run = await auditkeep(...argv, '--json');
  return { ...run, data: z.record(z.string(), z.unknown()).parse(JSON.parse(run.stdout)) };
};
const change = (statement: string) => db.admin.withClient((client) => execute(client, statement));

beforeAll(async () => {
  ctx = await testContext(db);
  await writeFile(join(ctx.config.home, 'auditkeep.yaml'), 'home: .\nlogLevel: silent\n');
});

test('an empty installation has no key, nothing due and no risk', async () => {
  expect(await auditkeep('key', 'list')).toEqual({ exit: 0, stdout: 'No key yet.\n', stderr: '' });
  expect(await json('anonymize', 'plan')).toMatchObject({ exit: 0, data: { due: 0, young: 0, blockers: [] } });
  expect(await json('anonymize', 'risk')).toMatchObject({ exit: 0, data: { rows: 0, thresholdsMet: true } });
});

test('plan, run without --apply, run --apply, risk', async () => {
  await db.admin.withClient((client) => insertTransactions(ctx, client, makeChain(40)));
  const plan = await json('anonymize', 'plan');
  expect(plan).toMatchObject({ exit: 0, stderr: '', data: { due: 40, young: 0, anonymized: 0, blockers: [] } });
  expect(Object.keys(plan.data).sort()).toEqual(['anonymized', 'before', 'blockers', 'due', 'pseudonymized', 'young']);
  const shown = await auditkeep('anonymize', 'run');
  expect(shown).toMatchObject({ exit: 0, stderr: '' });
  expect(shown.stdout).toMatch(/^Due: 40 transactions before .*; younger: 0\.\n[\s\S]*--apply carries it out\.\n$/);
  expect(await db.admin.withClient(readLeft)).toEqual([]);
  const run = await json('anonymize', 'run', '--apply');
  expect(run).toMatchObject({ exit: 0, data: { applied: true, pseudonymized: 40, anonymized: 40, unreadable: {} } });
  expect(await db.admin.withClient(readLeft)).toHaveLength(40);
  const risk = await json('anonymize', 'risk');
  expect(risk).toMatchObject({ exit: 0, data: { rows: 40, uniquelyLinked: 0, thresholdsMet: true } });
  expect((await auditkeep('anonymize', 'risk')).stdout).toContain('The thresholds are met.');
});

test('a row that cannot be read and a threshold that is missed are findings', async () => {
  await db.admin.withClient((client) => insertTransactions(ctx, client, makeChain(2, '2021-01-01', 'e')));
  await change(
    `update security_confidential.transactions set value_encrypted = left(value_encrypted, -3) || 'AAA'
      where transaction_hash like '0xe%1'`,
  );
  const run = await json('anonymize', 'run', '--apply');
  expect(run).toMatchObject({ exit: 3, data: { pseudonymized: 1, unreadable: { TAMPERED: 1 } } });
  expect((await auditkeep('anonymize', 'risk')).exit).toBe(3);
});

test('what stands in the way is exit 4 of plan and of run, with --apply and without', async () => {
  await change('create table public.receipt (t uuid references security_confidential.transactions (id))');
  for (const words of [['plan'], ['run'], ['run', '--dry-run'], ['run', '--apply']]) {
    const run = await auditkeep('anonymize', ...words);
    expect(run.exit, words.join(' ')).toBe(4);
    expect(run.stdout + run.stderr).toContain('public.receipt');
  }
  await change('drop table public.receipt');
  const late = await auditkeep('anonymize', 'run', '--before', '2026-01-01', '--apply');
  expect(late).toMatchObject({ exit: 4, stdout: '' });
  expect(late.stderr).toMatch(/^error ANONYMIZE_NOT_DUE: /);
  expect((await auditkeep('anonymize', 'plan', '--before', 'soon')).exit).toBe(2);
});

test('key list names every key and shows none', async () => {
  const { data, exit, stdout } = await json('key', 'list');
  expect(exit).toBe(0);
  const keys = z
    .array(z.looseObject({ keyId: z.string(), purpose: z.string(), status: z.string() }))
    .parse(data['keys']);
  expect(keys.map((key) => key.purpose).sort()).toEqual(['epoch', 'import-id', 'kek', 'pseudonym']);
  expect(keys.every((key) => key.status === 'active')).toBe(true);
  for (const purpose of ['import-id', 'pseudonym'] as const) {
    const { key } = await ctx.keys.secret(purpose);
    for (const form of ['hex', 'base64', 'base64url'] as const)
      expect(stdout).not.toContain(Buffer.from(key).toString(form));
  }
  const words = await auditkeep('key', 'list', '--limit', '1');
  expect(words.stdout.trim().split('\n')).toHaveLength(1);
  expect(words.stdout).toMatch(/^[0-9a-f]{16} {2}active /);
});
