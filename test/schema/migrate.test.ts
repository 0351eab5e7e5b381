import { expect, test, vi } from 'vitest';
import { z } from 'zod';
import { type Database, openDatabase } from '../../src/db/database.ts';
import { execute, queryOne } from '../../src/db/query.ts';
import { listMigrations, migrate, migrationStatus } from '../../src/schema/migrate.ts';
import { checkServerFacts, missingRights } from '../../src/schema/preflight.ts';
import { useDatabase } from '../support/database.ts';

const db = useDatabase();

const run = (database: Database, statement: string) => database.withClient((client) => execute(client, statement));

/** An empty database for one test, dropped at its end. */
async function withEmptyDatabase(fn: (open: () => Database) => Promise<void>): Promise<void> {
  const name = `empty_${Math.floor(performance.now() * 1000)}`;
  const url = new URL(db.url());
  url.pathname = `/${name}`;
  const opened: Database[] = [];
  await run(db.admin, `create database ${name} encoding 'UTF8' template template0`);
  try {
    await fn(() => {
      const database = openDatabase({ url: url.href, applicationName: 'test' });
      opened.push(database);
      return database;
    });
  } finally {
    await Promise.all(opened.map((database) => database.end()));
    await run(db.admin, `drop database ${name} with (force)`);
  }
}

test('a migrated database has nothing pending and migrating again applies nothing', async () => {
  const status = await db.admin.withClient((client) => migrationStatus(client));
  expect(status.pending).toEqual([]);
  expect(status.applied).toEqual(await listMigrations());
  expect(await migrate(db.admin)).toEqual([]);
});

test('the engine may ask for the status, and may not migrate', async () => {
  expect((await db.engine.withClient((client) => migrationStatus(client))).pending).toEqual([]);
  await expect(migrate(db.engine, { afterAsOwner: () => Promise.resolve() })).rejects.toMatchObject({
    code: 'DB_PRIVILEGE',
  });
});

test('of two runs at once one applies everything and the other finds it done', async () => {
  await withEmptyDatabase(async (open) => {
    const results = await Promise.all([migrate(open()), migrate(open())]);
    expect(results.map((applied) => applied.length).sort((a, b) => a - b)).toEqual([
      0,
      (await listMigrations()).length,
    ]);
  });
});

test('--to stops after the named migration, and goes on later', async () => {
  await withEmptyDatabase(async (open) => {
    const database = open();
    const all = await listMigrations();
    const upTo = all.slice(0, all.indexOf('0003_security') + 1);
    expect(await migrate(database, { to: '0003_security' })).toEqual(upTo);
    expect(await migrate(database, { to: '0002_users' })).toEqual([]);
    await expect(migrate(database, { to: '0003_securty' })).rejects.toMatchObject({ code: 'INPUT_INVALID' });
    expect(await migrate(database)).toEqual(all.slice(upTo.length));
  });
});

test('writers do not queue for long behind a file that waits for a reader', async () => {
  await withEmptyDatabase(async (open) => {
    const [database, application] = [open(), open()];
    await migrate(database, { to: '0226_unreplayed' });
    const migrated = await application.withClient(async (reader) => {
      await execute(reader, 'begin');
      await execute(reader, 'lock table audit.audit_log in access share mode');
      const migrating = migrate(database);
      migrating.catch(() => null);
      const waiting = `select count(*) > 0 as waits from pg_locks
        where not granted and mode = 'AccessExclusiveLock' and relation = 'audit.audit_log'::regclass`;
      await vi.waitFor(
        async () => expect((await queryOne(reader, z.object({ waits: z.boolean() }), waiting)).waits).toBe(true),
        { timeout: 20_000, interval: 5 },
      );
      await application.withClient(async (writer) => {
        await execute(writer, "set statement_timeout = '10s'");
        await execute(
          writer,
          "insert into audit.audit_log (event_type, event_category, event_action, event_timestamp) values ('a', 'system', 'CREATE', '2015-01-01Z')",
        );
      });
      await execute(reader, 'commit');
      return migrating;
    });
    expect(migrated).toEqual((await listMigrations()).filter((name) => name > '0226_unreplayed'));
  });
});

test('a failed file leaves nothing of itself, keeps those before it and can be tried again', async () => {
  await withEmptyDatabase(async (open) => {
    const database = open();
    await migrate(database, { to: '0006_transactions' });
    // The last statement of 0007 fails on this.
    await run(database, 'create policy auditkeep_access on security_confidential.transactions using (true)');
    await expect(migrate(database)).rejects.toMatchObject({
      code: 'SCHEMA_MIGRATION',
      details: { failed: '0007_row_level_security' },
    });
    const half = await database.withClient((client) =>
      queryOne(
        client,
        z.object({ n: z.bigint() }),
        `select count(*) as n from pg_policies where policyname like 'user%'`,
      ),
    );
    expect(half.n).toBe(0n);
    await run(database, 'drop policy auditkeep_access on security_confidential.transactions');
    const rest = await migrate(database);
    expect(rest[0]).toBe('0007_row_level_security');
  });
});

test('what follows as the owner runs even when nothing is pending, and its failure is not swallowed', async () => {
  const who = await new Promise<string>((resolve, reject) => {
    migrate(db.admin, {
      async afterAsOwner(client) {
        resolve((await queryOne(client, z.object({ role: z.string() }), 'select current_user::text as role')).role);
      },
    }).catch(reject);
  });
  expect(who).toBe('auditkeep_owner');
  const failure = new Error('queue');
  await expect(migrate(db.admin, { afterAsOwner: () => Promise.reject(failure) })).rejects.toBe(failure);
});

test('a database that a newer release migrated is refused and left alone', async () => {
  await run(db.admin, `insert into ops.migration (name, run_on) values ('9999_future', now())`);
  await expect(migrate(db.admin)).rejects.toMatchObject({
    code: 'SCHEMA_NEWER',
    details: { foreign: ['9999_future'] },
  });
  await expect(db.engine.withClient((client) => migrationStatus(client))).rejects.toMatchObject({
    code: 'SCHEMA_NEWER',
  });
  await run(db.admin, `delete from ops.migration where name = '9999_future'`);
});

test.each([
  [{ version: 140_011, encoding: 'UTF8' }, 'DB_VERSION'],
  [{ version: 90_624, encoding: 'UTF8' }, 'DB_VERSION'],
  [{ version: 150_000, encoding: 'SQL_ASCII' }, 'DB_ENCODING'],
])('a server of %j is refused with %s', (facts, code) => {
  expect(() => checkServerFacts(facts)).toThrow(expect.objectContaining({ code }));
});

test('the oldest supported server passes', () => {
  expect(() => checkServerFacts({ version: 150_000, encoding: 'UTF8' })).not.toThrow();
});

test('the statements that give missing rights', () => {
  const enough = {
    login: 'me',
    database: 'my db',
    superuser: false,
    mayCreateRoles: false,
    mayCreateSchemas: true,
    absentRoles: [],
    barredRoles: [],
    foreignSchemas: [],
    absentExtensions: [],
  };
  expect(missingRights(enough)).toEqual([]);
  expect(missingRights({ ...enough, absentRoles: ['auditkeep_view'] })).toEqual(['ALTER ROLE "me" CREATEROLE']);
  expect(missingRights({ ...enough, mayCreateSchemas: false })).toEqual(['GRANT CREATE ON DATABASE "my db" TO "me"']);
  expect(missingRights({ ...enough, barredRoles: ['auditkeep_owner'] })).toEqual(['GRANT "auditkeep_owner" TO "me"']);
  const superuser = { ...enough, superuser: true, mayCreateSchemas: false, absentRoles: ['auditkeep_owner'] };
  expect(missingRights(superuser)).toEqual([]);
});
