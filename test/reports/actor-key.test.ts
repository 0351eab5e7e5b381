/** What stands for an actor in the facts: the same for one actor, and no way back to an address without the database. */
import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { execute, queryRows } from '../../src/db/query.ts';
import { useDatabase } from '../support/database.ts';

const db = useDatabase();
const change = (text: string) => db.admin.withClient((client) => execute(client, text));
const actorKeys = async () => {
  const rows = await db.report.withClient((client) =>
    queryRows(
      client,
      z.object({ key: z.string().nullable() }),
      `select actor_key as key from facts.event where event_type = 'login' order by event_timestamp`,
    ),
  );
  return rows.map((row) => row.key);
};

test('an address is keyed: nobody who reads the facts finds it by hashing addresses', async () => {
  await change(`insert into audit.audit_log (event_type, event_category, event_action, user_email, event_timestamp)
                select 'login', 'authentication', 'LOGIN', address, now() - age
                  from (values ('alice@example.org', interval '3 hours'), ('Alice@Example.ORG', interval '2 hours'),
                               ('bob@example.org', interval '1 hour')) as v(address, age)`);
  const [alice, sameAlice, bob] = await actorKeys();
  expect(alice).toMatch(/^address:[0-9a-f]{64}$/);
  expect(sameAlice).toBe(alice);
  expect(bob).not.toBe(alice);
  expect(alice).not.toBe(`address:${createHash('sha256').update('alice@example.org').digest('hex')}`);
  for (const login of [db.report, db.engine, db.as('app_admin_role'), db.as('audit_role')]) {
    await expect(
      login.withClient((client) => execute(client, 'select * from privacy.actor_salt')),
    ).rejects.toMatchObject({ code: 'DB_PRIVILEGE' });
  }
  await change('update privacy.actor_salt set salt = public.gen_random_bytes(32)');
  expect((await actorKeys())[0]).not.toBe(alice);
  await change('delete from privacy.actor_salt');
  expect(await actorKeys()).toEqual([null, null, null]);
});
