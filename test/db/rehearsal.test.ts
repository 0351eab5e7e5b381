/** A rehearsed database: everything happens, and nothing stays. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { z } from 'zod';
import { type Database, openDatabase, type SqlClient } from '../../src/db/database.ts';
import { execute, queryOne } from '../../src/db/query.ts';
import { openRehearsal } from '../../src/db/rehearsal.ts';
import { inTransaction } from '../../src/db/transaction.ts';
import { useDatabase } from '../support/database.ts';

const db = useDatabase();
let rehearsal: Database;

beforeEach(() => {
  rehearsal = openRehearsal(openDatabase({ url: db.url(), applicationName: 'test-rehearsal' }));
});
afterEach(async () => {
  await rehearsal.end();
  expect(await count(db.admin)).toBe(0);
});

const ADD = "insert into audit.audit_log (event_type, event_category, event_action) values ('x', 'system', 'X')";

function count(on: Database): Promise<number> {
  return on.withClient(async (client) => {
    const text = "select count(*)::int as n from audit.audit_log where event_type = 'x'";
    return (await queryOne(client, z.object({ n: z.number() }), text)).n;
  });
}

test('what is committed is seen by whoever comes next, and gone at the end', async () => {
  await inTransaction(rehearsal, (client) => execute(client, ADD));
  await inTransaction(rehearsal, (client) => execute(client, ADD), 'repeatable read');
  expect(await count(rehearsal)).toBe(2);
  expect(await count(db.admin)).toBe(0);
});

test('what fails is undone, and only that', async () => {
  await inTransaction(rehearsal, (client) => execute(client, ADD));
  const failing = inTransaction(rehearsal, async (client) => {
    await execute(client, ADD);
    await execute(client, 'select 1/0');
  });
  await expect(failing).rejects.toMatchObject({ code: '22012' });
  await expect(rehearsal.withClient((client) => execute(client, 'select nothing'))).rejects.toThrow();
  expect(await count(rehearsal)).toBe(1);
});

test('two at once wait for each other, and one inside another does not', async () => {
  const add = () => inTransaction(rehearsal, (client) => execute(client, ADD));
  await Promise.all([add(), add(), add()]);
  const inner = await inTransaction(rehearsal, async (client) => {
    await execute(client, ADD);
    return count(rehearsal);
  });
  expect(inner).toBe(4);
});

test('two at once inside another one wait for each other: what one of them undoes is its own', async () => {
  const add = (client: SqlClient) => execute(client, ADD);
  await inTransaction(rehearsal, async () => {
    const begun = Promise.withResolvers<null>();
    const failing = inTransaction(rehearsal, async (client) => {
      begun.resolve(null);
      await add(client);
      await execute(client, 'select pg_sleep(0.05)');
      throw new RangeError('undone');
    });
    await begun.promise;
    const results = await Promise.allSettled([failing, inTransaction(rehearsal, add), inTransaction(rehearsal, add)]);
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'fulfilled', 'fulfilled']);
  });
  expect(await count(rehearsal)).toBe(2);
});

test('a database that is not there is said so, once asked', async () => {
  const absent = openRehearsal(openDatabase({ url: 'postgres://me@127.0.0.1:1/x', applicationName: 'test-rehearsal' }));
  await expect(count(absent)).rejects.toMatchObject({ code: 'DB_UNREACHABLE' });
  await absent.end();
});
