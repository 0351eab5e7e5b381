/** `migrate` and `migrate status` as an operator runs them. */
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { main } from '../../src/cli/main.ts';
import { openDatabase } from '../../src/db/database.ts';
import { execute, queryOne } from '../../src/db/query.ts';
import { findDrift } from '../../src/schema/drift.ts';
import { listMigrations } from '../../src/schema/migrate.ts';
import { useDatabase } from '../support/database.ts';

const db = useDatabase();
let empty = '';

beforeAll(async () => {
  const url = new URL(db.url());
  url.pathname = `${url.pathname}_cli`;
  empty = url.href;
  await db.admin.withClient((client) => execute(client, `create database ${url.pathname.slice(1)} template template0`));
});

afterAll(async () => {
  const admin = openDatabase({ url: db.url().replace(/\/[^/]*$/, '/postgres'), applicationName: 'test' });
  await admin.withClient((client) =>
    execute(client, `drop database if exists ${new URL(empty).pathname.slice(1)} with (force)`),
  );
  await admin.end();
});

async function auditkeep(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const streams = { stdout: new PassThrough(), stderr: new PassThrough() };
  const printed = Promise.all([text(streams.stdout), text(streams.stderr)]);
  const code = await main(args, streams);
  streams.stdout.end();
  streams.stderr.end();
  const [out, err] = await printed;
  return { code, out, err };
}

const resultShape = z.object({ applied: z.array(z.string()), pending: z.array(z.string()) });

test('a dry run lists what is pending and changes nothing', async () => {
  const dry = await auditkeep('migrate', '--dry-run', '--to', '0002_users', '--json', '--database-url', empty);
  expect(dry.code).toBe(0);
  expect(JSON.parse(dry.out)).toEqual({ applied: [], pending: ['0001_foundation', '0002_users'] });
  const database = openDatabase({ url: empty, applicationName: 'test' });
  const found = await database.withClient((client) =>
    queryOne(
      client,
      z.object({ n: z.bigint() }),
      `select count(*) as n from pg_namespace where nspname in ('ops', 'audit')`,
    ),
  );
  await database.end();
  expect(found.n).toBe(0n);
});

test('migrate goes up to a name, then to the end, then has nothing to do; status agrees', async () => {
  const all = await listMigrations();
  const first = await auditkeep('migrate', '--to', '0002_users', '--json', '--database-url', empty);
  expect(resultShape.parse(JSON.parse(first.out))).toEqual({ applied: all.slice(0, 2), pending: all.slice(2) });
  const half = await auditkeep('migrate', 'status', '--json', '--database-url', empty);
  expect(half.code).toBe(0);
  expect(JSON.parse(half.out)).toEqual({ applied: all.slice(0, 2), pending: all.slice(2), drift: null });
  const rest = await auditkeep('migrate', '--json', '--database-url', empty);
  expect(resultShape.parse(JSON.parse(rest.out))).toEqual({ applied: all.slice(2), pending: [] });
  const again = await auditkeep('migrate', '--database-url', empty);
  expect(again).toMatchObject({ code: 0, out: 'applied nothing: the schema is up to date\n' });
  const status = await auditkeep('migrate', 'status', '--json', '--database-url', empty);
  const drift = await db.admin.withClient(findDrift);
  expect(JSON.parse(status.out)).toEqual({ applied: all, pending: [], drift });
});

test('status ends with 3 and names what differs', async () => {
  await db.admin.withClient((client) => execute(client, 'alter table security_internal.roles add column extra text'));
  const status = await auditkeep('migrate', 'status', '--database-url', db.url());
  expect(status.code).toBe(3);
  expect(status.out).toContain('unexpected column security_internal.roles.extra: text');
});

test('an unknown migration is a usage error', async () => {
  const wrong = await auditkeep('migrate', '--to', 'nothing', '--database-url', db.url());
  expect(wrong.code).toBe(2);
  expect(wrong.err).toMatch(/^error INPUT_INVALID: no migration is named nothing; /);
});
