/** Who sees and writes whose rows. */
import { randomBytes, randomUUID } from 'node:crypto';
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import type { Database, SqlClient } from '../../src/db/database.ts';
import { execute, queryOne, queryRows } from '../../src/db/query.ts';
import { inTransaction } from '../../src/db/transaction.ts';
import { checkVisibility } from '../../src/schema/visibility.ts';
import { useDatabase } from '../support/database.ts';

const db = useDatabase();
const TABLES = [
  'security_confidential.users',
  'security_internal.user_roles',
  'security_internal.jwt_tokens',
  'security_internal.user_sessions',
  'security_confidential.transactions',
] as const;
const ALICE = randomUUID();
const BOB = randomUUID();
const ROLE = randomUUID();
const application = `app_${randomBytes(4).toString('hex')}`;

beforeAll(async () => {
  await inTransaction(db.admin, async (client) => {
    await execute(client, `insert into security_internal.roles (id, name) values ($1, 'clerk')`, [ROLE]);
    const network = await queryOne(
      client,
      z.object({ id: z.string() }),
      `insert into security_internal.blockchain_networks (network_name, network_type, rpc_endpoints)
         values ('test', 'custom', '{}') returning id`,
    );
    for (const [user, name] of [
      [ALICE, 'alice'],
      [BOB, 'bob'],
    ] as const) {
      await addUser(client, user, name, network.id);
    }
    // An application's own login: the seed's grants and the policies of a signed-in user.
    await execute(client, `create role ${application} login in role app_readwrite_role, authenticated_users`);
  });
});

async function addUser(client: SqlClient, user: string, name: string, network: string): Promise<void> {
  await execute(
    client,
    `insert into security_confidential.users (id, username, email, password_hash, password_salt)
       values ($1::uuid, $2::text, $2::text || '@example.org', 'hash', 'salt')`,
    [user, name],
  );
  await execute(client, 'insert into security_internal.user_roles (user_id, role_id) values ($1, $2)', [user, ROLE]);
  await execute(
    client,
    `insert into security_internal.jwt_tokens (user_id, token_hash, issued_at, expires_at) values ($1, 'h', now(), now())`,
    [user],
  );
  await execute(
    client,
    `insert into security_internal.user_sessions (user_id, session_token_hash, expires_at) values ($1, 'h', now())`,
    [user],
  );
  await execute(
    client,
    `insert into security_confidential.transactions (user_id, transaction_hash, network_id) values ($1, $2, $3)`,
    [user, name, network],
  );
}

/** The owners of the rows that a role sees in a table while app.current_user_id is as given (null: never set). */
function ownersSeen(database: Database, table: string, currentUser: string | null): Promise<string[]> {
  return inTransaction(database, async (client) => {
    if (currentUser !== null) await signIn(client, currentUser);
    const column = table.endsWith('.users') ? 'id' : 'user_id';
    const rows = await queryRows(client, z.object({ owner: z.string() }), `select ${column} as owner from ${table}`);
    return rows.map((row) => row.owner).sort();
  });
}

const signIn = (client: SqlClient, user: string) =>
  execute(client, `select set_config('app.current_user_id', $1, true)`, [user]);

/** Runs a statement as the application's login with a user signed in. */
const asUser = (user: string, statement: string) =>
  inTransaction(db.as(application), async (client) => {
    await signIn(client, user);
    return execute(client, statement);
  });

describe.each(TABLES)('%s', (table) => {
  test('a signed-in user sees their own rows and no other', async () => {
    expect(await ownersSeen(db.as('authenticated_users'), table, ALICE)).toEqual([ALICE]);
    expect(await ownersSeen(db.as('authenticated_users'), table, BOB)).toEqual([BOB]);
  });

  test("'' and nothing at all are nobody", async () => {
    const users = db.as('authenticated_users');
    expect(await ownersSeen(users, table, '')).toEqual([]);
    expect(await ownersSeen(users, table, null)).toEqual([]);
    expect(await ownersSeen(users, table, randomUUID())).toEqual([]);
  });

  test('an administrator, the engine and the owner see all', async () => {
    const all = [ALICE, BOB].sort();
    for (const database of [db.as('admin_role'), db.engine, db.as('auditkeep_owner')]) {
      expect(await ownersSeen(database, table, null)).toEqual(all);
    }
  });

  test('a grant without a policy shows nothing', async () => {
    const role = table.startsWith('security_internal') ? 'app_readwrite_role' : 'app_admin_role';
    expect(await ownersSeen(db.as(role), table, ALICE)).toEqual([]);
  });
});

test('controls see the rows of every user', async () => {
  // One row of each forced table a user, so two in each view, for the login that has no right on the tables themselves.
  for (const view of ['account', 'role_grant', 'session', 'token', 'stored_transaction']) {
    const counted = await db.report.withClient((client) =>
      queryOne(client, z.object({ n: z.bigint() }), `select count(*) as n from facts.${view}`),
    );
    expect(counted.n, view).toBe(2n);
  }
});

test('whatever controls read such a table through runs as the owner of the views, who sees all', async () => {
  const paths = await db.admin.withClient((client) =>
    queryRows(
      client,
      z.object({ name: z.string(), owner: z.string(), asOwner: z.boolean() }),
      `with recursive forced as (select oid, relname from pg_class where relforcerowsecurity),
            reading (oid) as (
              select oid from forced
              union
              select r.ev_class from reading
                join pg_depend d on d.refobjid = reading.oid and d.refclassid = 'pg_class'::regclass
                                and d.classid = 'pg_rewrite'::regclass
                join pg_rewrite r on r.oid = d.objid and r.ev_class <> reading.oid)
       select c.relname as name, pg_get_userbyid(c.relowner) as owner,
              not coalesce('security_invoker=true' = any (c.reloptions), false) as "asOwner"
         from reading join pg_class c on c.oid = reading.oid where c.relnamespace = 'facts'::regnamespace
       union all
       select p.proname, pg_get_userbyid(p.proowner), p.prosecdef
         from pg_proc p where p.pronamespace = 'facts'::regnamespace and exists (select from forced where p.prosrc like '%' || relname || '%')
        order by 1`,
    ),
  );
  const names = paths.map(({ name }) => name);
  expect(names).toEqual(
    expect.arrayContaining(['account', 'role_grant', 'seen_canaries', 'session', 'stored_transaction', 'token']),
  );
  expect(paths.filter(({ owner, asOwner }) => owner !== 'auditkeep_view' || !asOwner)).toEqual([]);
});

test('a session of a user who is gone does not survive in the pool', async () => {
  const users = db.as('authenticated_users');
  await inTransaction(users, (client) => signIn(client, ALICE));
  // After the transaction the setting is '' on this connection, not unset.
  expect(await ownersSeen(users, 'security_confidential.users', null)).toEqual([]);
});

test('nobody grants a role to themselves', async () => {
  const role = randomUUID();
  await inTransaction(db.admin, (client) =>
    execute(client, `insert into security_internal.roles (id, name) values ($1, 'chief')`, [role]),
  );
  await expect(
    asUser(ALICE, `insert into security_internal.user_roles (user_id, role_id) values ('${ALICE}', '${role}')`),
  ).rejects.toMatchObject({ code: 'DB_PRIVILEGE' });
  expect(await asUser(ALICE, `update security_internal.user_roles set role_id = '${role}'`)).toBe(0);
});

test('a user changes their own session and cannot give it to another', async () => {
  expect(await asUser(ALICE, `update security_internal.user_sessions set user_agent = 'x'`)).toBe(1);
  await expect(asUser(ALICE, `update security_internal.user_sessions set user_id = '${BOB}'`)).rejects.toMatchObject({
    code: 'DB_PRIVILEGE',
  });
});

test('a filtered read of a role that should bypass is an error, not an empty table', async () => {
  await db.engine.withClient(checkVisibility);
  // Canaries that somebody committed stand in nobody's way.
  for (const _time of [1, 2]) {
    await db.engine.withClient((client) => client.query('select from ops.plant_canaries()'));
    await db.engine.withClient(checkVisibility);
  }
  const filtered = inTransaction(db.as('authenticated_users'), async (client) => {
    await execute(client, 'set local row_security = off');
    await execute(client, 'select from security_confidential.users');
  });
  await expect(filtered).rejects.toMatchObject({ code: 'DB_PRIVILEGE' });
});

test('every table with a policy has row-level security forced', async () => {
  const rows = await db.admin.withClient((client) =>
    queryRows(
      client,
      z.object({ name: z.string(), forced: z.boolean() }),
      `select distinct c.oid::regclass::text as name, c.relrowsecurity and c.relforcerowsecurity as forced
         from pg_class c join pg_policy p on p.polrelid = c.oid order by 1`,
    ),
  );
  expect(rows.map((row) => row.name)).toEqual(expect.arrayContaining([...TABLES]));
  expect(rows.filter((row) => !row.forced)).toEqual([]);
});
