/** Installing with few rights, on a server of its own because roles belong to the cluster. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { type Database, openDatabase } from '../../src/db/database.ts';
import { execute, queryOne, queryRows } from '../../src/db/query.ts';
import { installQueues } from '../../src/jobs/install.ts';
import { readCatalog } from '../../src/schema/catalog.ts';
import { listMigrations, migrate } from '../../src/schema/migrate.ts';
import { checkVisibility } from '../../src/schema/visibility.ts';
import { startTestServer, type TestServer } from '../support/server.ts';

let server: TestServer;
let postgres: Database;
const opened: Database[] = [];

beforeAll(async () => {
  server = await startTestServer();
  postgres = open('postgres');
});

afterAll(async () => {
  await Promise.all(opened.map((db) => db.end()));
  await server.stop();
});

function open(database: string, login = 'postgres', role?: string): Database {
  const url = new URL(server.url(database));
  url.username = login;
  const db = openDatabase({ url: url.href, applicationName: 'test', ...(role !== undefined && { role }) });
  opened.push(db);
  return db;
}

const run = (db: Database, statement: string) => db.withClient((client) => execute(client, statement));

/** How many of our roles and schemas there are. */
function traces(db: Database): Promise<{ roles: bigint; schemas: bigint }> {
  return db.withClient((client) =>
    queryOne(
      client,
      z.object({ roles: z.bigint(), schemas: z.bigint() }),
      `select (select count(*) from pg_roles where rolname like 'auditkeep%' or rolname like 'app\\_%') as roles,
              (select count(*) from pg_namespace where nspname in ('audit', 'ops', 'security_internal')) as schemas`,
    ),
  );
}

const modern = () =>
  postgres.withClient(async (client) => {
    const row = await queryOne(
      client,
      z.object({ modern: z.boolean() }),
      `select current_setting('server_version_num')::int >= 160000 as modern`,
    );
    return row.modern;
  });

// The order matters: the first tests need a cluster that has none of our roles.

test('a login without any right is told every statement that gives them, and nothing is changed', async () => {
  await run(postgres, 'create role "no rights" login');
  await run(postgres, 'create database bare');
  const db = open('bare', 'no rights');
  await expect(migrate(db)).rejects.toMatchObject({
    code: 'DB_PRIVILEGE',
    details: { missing: ['ALTER ROLE "no rights" CREATEROLE', 'GRANT CREATE ON DATABASE "bare" TO "no rights"'] },
    message: 'the login no rights may not migrate database bare',
  });
  expect(await traces(open('bare'))).toEqual({ roles: 0n, schemas: 0n });
});

test('two databases of a new cluster may be migrated at once', async () => {
  await run(postgres, 'create role installer login createrole createdb');
  const installer = open('postgres', 'installer');
  await run(installer, 'create database first');
  await run(installer, 'create database second');
  const all = await listMigrations();
  const applied = await Promise.all([migrate(open('first', 'installer')), migrate(open('second', 'installer'))]);
  expect(applied).toEqual([all, all]);
});

test('without BYPASSRLS the stand-in policies let the engine see every row, and the canary proves it', async () => {
  const bypass = await postgres.withClient((client) =>
    queryOne(
      client,
      z.object({ n: z.bigint() }),
      `select count(*) as n from pg_roles where rolname like 'auditkeep%' and rolbypassrls`,
    ),
  );
  expect(bypass.n).toBe(0n);
  const engine = open('first', 'installer', 'auditkeep_engine');
  await engine.withClient(checkVisibility);
  await run(
    engine,
    `insert into security_internal.blockchain_networks (network_name, network_type, rpc_endpoints)
                       values ('test', 'custom', '{}')`,
  );
  await run(
    engine,
    `insert into security_confidential.transactions (transaction_hash, network_id)
                       select 'h', id from security_internal.blockchain_networks`,
  );
  const controls = open('first', 'installer', 'auditkeep_report');
  expect(await run(controls, 'select from facts.stored_transaction')).toBe(1);
  const admin = open('first');
  await run(admin, 'alter policy auditkeep_access on security_internal.user_roles to auditkeep_owner');
  await expect(engine.withClient(checkVisibility)).rejects.toMatchObject({
    code: 'DB_ROWS_HIDDEN',
    details: { hidden: ['security_internal.user_roles'] },
  });
  // Seen by the owner and in reports, but not by the engine itself.
  await run(admin, 'alter policy auditkeep_access on security_internal.user_roles to auditkeep_owner, auditkeep_view');
  await expect(engine.withClient(checkVisibility)).rejects.toMatchObject({
    details: { hidden: ['security_internal.user_roles'] },
  });
  // Seen by the engine and by the owner, but not by the views that reports read.
  await run(
    admin,
    'alter policy auditkeep_access on security_internal.user_roles to auditkeep_owner, auditkeep_engine',
  );
  await expect(engine.withClient(checkVisibility)).rejects.toMatchObject({
    code: 'DB_ROWS_HIDDEN',
    details: { hidden: ['security_internal.user_roles'] },
  });
  await run(admin, 'drop policy auditkeep_access on security_internal.user_roles');
  await expect(engine.withClient(checkVisibility)).rejects.toMatchObject({ code: 'DB_ROWS_HIDDEN' });
  const left = await admin.withClient((client) =>
    queryOne(client, z.object({ n: z.bigint() }), 'select count(*) as n from security_confidential.users'),
  );
  expect(left.n).toBe(0n);
});

test('a login that a DBA made a member of the owner needs no CREATEROLE', async () => {
  await run(postgres, 'create role prepared login');
  await run(postgres, 'grant auditkeep_owner, auditkeep_view to prepared');
  await run(postgres, 'create database third owner prepared');
  expect(await migrate(open('third', 'prepared'))).toEqual(await listMigrations());
});

test('the roles that the guide lets a DBA prepare are those that the installation makes', async () => {
  const guide = await readFile(join(import.meta.dirname, '../../docs/guide/dba.md'), 'utf8');
  const prepared = [
    ...guide.matchAll(/^ +create role (\w+) (nologin|login)(?: connection limit (\d+))?(?: in role (\w+))?;/gm),
  ];
  const made = await postgres.withClient((client) =>
    queryRows(
      client,
      z.object({ name: z.string(), login: z.string(), most: z.string(), member: z.string() }),
      `select r.rolname as name, case when r.rolcanlogin then 'login' else 'nologin' end as login,
              case when r.rolconnlimit < 0 then '' else r.rolconnlimit::text end as most,
              coalesce((select string_agg(m.roleid::regrole::text, ',') from pg_auth_members m where m.member = r.oid), '') as member
         from pg_roles r where r.rolname ~ '^(auditkeep_|app_)' or r.rolname in
              ('audit_role', 'security_analyst_role', 'authenticated_users', 'admin_role')`,
    ),
  );
  const said = prepared.map(([, name = '', login = '', most = '', member = '']) => ({ name, login, most, member }));
  const byName = (a: { name: string }, b: { name: string }) => (a.name < b.name ? -1 : 1);
  expect(said.filter(({ name }) => name !== 'installer').sort(byName)).toEqual(made.sort(byName));
});

test('CREATEROLE alone does not reach roles that somebody else made, from PostgreSQL 16 on', async () => {
  await run(postgres, 'create role stranger login createrole');
  await run(postgres, 'create database fourth owner stranger');
  const attempt = migrate(open('fourth', 'stranger'));
  if (!(await modern())) {
    expect(await attempt).toEqual(await listMigrations());
    return;
  }
  await expect(attempt).rejects.toMatchObject({
    code: 'DB_PRIVILEGE',
    details: { missing: ['GRANT "auditkeep_owner", "auditkeep_view" TO "stranger"'] },
  });
  expect((await traces(open('fourth'))).schemas).toBe(0n);
});

test('a schema of ours that belongs to somebody else is named', async () => {
  await run(postgres, 'create database fifth');
  await run(open('fifth'), 'create schema audit');
  await expect(migrate(open('fifth'))).rejects.toMatchObject({
    code: 'DB_PRIVILEGE',
    details: { missing: ['ALTER SCHEMA "audit" OWNER TO "auditkeep_owner"'] },
  });
  expect((await traces(open('fifth'))).schemas).toBe(1n);
});

test('a database that is not UTF8 is refused and left alone', async () => {
  await run(postgres, `create database latin encoding 'LATIN1' template template0`);
  await expect(migrate(open('latin'))).rejects.toMatchObject({ code: 'DB_ENCODING' });
  expect((await traces(open('latin'))).schemas).toBe(0n);
});

test('a login with CREATEROLE that owns its database installs the same as a superuser', async () => {
  const db = open('second', 'installer');
  expect(await migrate(db, { afterAsOwner: installQueues })).toEqual([]);
  // Last, since a superuser gives the roles BYPASSRLS.
  await migrate(open('bare'));
  expect(await db.withClient(readCatalog)).toEqual(await open('bare').withClient(readCatalog));
});
