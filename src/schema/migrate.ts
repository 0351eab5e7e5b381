/**
 * Brings a database to this release's schema: preflight, roles as the installing login, then the numbered .sql files
 * as the owner, one transaction a file, under one advisory lock. Safe to run twice and by two processes at once.
 */
import { readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { runner } from 'node-pg-migrate';
import { z } from 'zod';
import { withSessionLock } from '../db/advisory-lock.ts';
import type { Database, SqlClient } from '../db/database.ts';
import { quoteIdentifier } from '../db/identifier.ts';
import { execute, queryMaybe, queryOne, queryRows } from '../db/query.ts';
import { AuditkeepError } from '../errors.ts';
import { installRoles, ROLES } from './roles.ts';

const MIGRATIONS_FOLDER = fileURLToPath(new URL('./migrations/', import.meta.url));
const OLDEST_SERVER = 150_000;

export interface MigrationStatus {
  readonly applied: readonly string[];
  readonly pending: readonly string[];
}

/** The names of this release's migrations, in order. */
export async function listMigrations(): Promise<string[]> {
  const files = await readdir(MIGRATIONS_FOLDER);
  return files
    .filter((file) => file.endsWith('.sql'))
    .map((file) => file.slice(0, -'.sql'.length))
    .sort();
}

/**
 * Which migrations a database has and lacks.
 * @throws DB_VERSION, DB_ENCODING, SCHEMA_NEWER when the database is not one this release may touch.
 */
export async function migrationStatus(client: SqlClient): Promise<MigrationStatus> {
  await checkServer(client);
  const known = await listMigrations();
  const applied = await appliedMigrations(client);
  const foreign = applied.filter((name) => !known.includes(name));
  if (foreign.length > 0) {
    throw new AuditkeepError('SCHEMA_NEWER', {
      message: `the database has migrations this release does not know: ${foreign.join(', ')}`,
      hint: 'upgrade auditkeep to the release that migrated this database, or a newer one',
      details: { foreign },
    });
  }
  return { applied, pending: known.filter((name) => !applied.includes(name)) };
}

export interface MigrateOptions {
  /** Stop after this migration; undefined applies all. */
  readonly to?: string | undefined;
  /** What else has to exist before the transaction-free end of the migration, as the owner (queues). */
  readonly afterAsOwner?: (client: SqlClient) => Promise<void>;
}

/**
 * Migrates and gives the names of what it applied. The database's login needs CREATEROLE and CREATE on the database.
 * @throws DB_VERSION, DB_ENCODING, DB_PRIVILEGE, SCHEMA_NEWER
 */
export function migrate(db: Database, options: MigrateOptions = {}): Promise<string[]> {
  return db.withClient((client) =>
    withSessionLock(client, 'migrate', 'exclusive', async () => {
      const { pending } = await migrationStatus(client);
      const count = options.to === undefined ? pending.length : countUpTo(pending, options.to);
      if (count > 0) await installRoles(client);
      await execute(client, `set role ${quoteIdentifier(ROLES.owner)}`);
      // When this fails the connection is thrown away, and the role with it.
      if (count > 0) await applyFiles(client, count);
      if (options.afterAsOwner !== undefined) await options.afterAsOwner(client);
      await execute(client, 'reset role');
      return pending.slice(0, count);
    }),
  );
}

async function applyFiles(client: SqlClient, count: number): Promise<void> {
  await runner({
    dbClient: client,
    dir: MIGRATIONS_FOLDER,
    migrationsSchema: 'ops',
    migrationsTable: 'migration',
    direction: 'up',
    count,
    singleTransaction: false,
    checkOrder: true,
    noLock: true, // our own advisory lock is held around preflight and roles too
    log: () => undefined,
  });
}

function countUpTo(pending: readonly string[], to: string): number {
  const index = pending.indexOf(to);
  if (index >= 0) return index + 1;
  throw new AuditkeepError('INPUT_INVALID', {
    message: `no pending migration is named ${to}`,
    hint: 'auditkeep migrate status lists the pending ones',
  });
}

async function checkServer(client: SqlClient): Promise<void> {
  const server = await queryOne(
    client,
    z.object({ version: z.number(), encoding: z.string() }),
    `select pg_catalog.current_setting('server_version_num')::int as version,
            pg_catalog.current_setting('server_encoding') as encoding`,
  );
  if (server.version < OLDEST_SERVER) {
    throw new AuditkeepError('DB_VERSION', {
      message: `PostgreSQL ${Math.floor(server.version / 10_000)} is too old`,
      hint: 'use PostgreSQL 15 to 18',
      details: { serverVersionNum: server.version },
    });
  }
  if (server.encoding !== 'UTF8') {
    throw new AuditkeepError('DB_ENCODING', {
      message: `the database encoding is ${server.encoding}; event hashes need UTF8`,
      hint: "create the database with ENCODING 'UTF8' TEMPLATE template0",
    });
  }
}

async function appliedMigrations(client: SqlClient): Promise<string[]> {
  const table = await queryMaybe(
    client,
    z.object({ oid: z.unknown() }),
    `select c.oid from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      where n.nspname = 'ops' and c.relname = 'migration'`,
  );
  if (table === null) return [];
  const rows = await queryRows(client, z.object({ name: z.string() }), 'select name from ops.migration order by name');
  return rows.map((row) => row.name);
}
