/**
 * Brings a database to this release's schema: preflight, roles as the installing login, then the numbered .sql files
 * as the owner, one transaction a file, under one advisory lock. Safe to run twice, by two processes at once and while
 * applications write: nobody queues for long behind a file, which is tried again instead.
 */
import { randomInt } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { runner } from 'node-pg-migrate';
import { z } from 'zod';
import { withSessionLock } from '../db/advisory-lock.ts';
import type { Database, SqlClient } from '../db/database.ts';
import { isLockFailure, translateDatabaseError } from '../db/errors.ts';
import { quoteIdentifier } from '../db/identifier.ts';
import { execute, queryMaybe, queryRows } from '../db/query.ts';
import { AuditkeepError } from '../errors.ts';
import { checkRights, checkServer } from './preflight.ts';
import { installRoles, ROLES } from './roles.ts';

/** How long a second migration waits for the first. */
const LONGEST_MIGRATION_MS = 600_000;
/** How long a file waits for one lock: as long wait the writers that queue behind it, while a report reads. */
const LOCK_TIMEOUT_MS = 200;
/** Ten minutes of attempts, with pauses in which those writers go on. */
const LOCK_ATTEMPTS = 600;
const LONGEST_PAUSE_MS = 1600;
const MIGRATIONS_FOLDER = fileURLToPath(new URL('./migrations/', import.meta.url));

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
 * Which migrations a database has and lacks; with `to`, it lacks none after that one.
 * @throws DB_VERSION, DB_ENCODING, SCHEMA_NEWER when the database is not one this release may touch; INPUT_INVALID
 */
export async function migrationStatus(client: SqlClient, to?: string): Promise<MigrationStatus> {
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
  return { applied, pending: pendingUpTo(known, applied, to) };
}

/**
 * The migrations that migrate would apply, after its checks. @throws DB_VERSION, DB_ENCODING, DB_EXTENSION, DB_PRIVILEGE,
 * SCHEMA_NEWER, INPUT_INVALID
 */
export async function planMigration(client: SqlClient, to?: string): Promise<readonly string[]> {
  const { pending } = await migrationStatus(client, to);
  if (pending.length > 0) await checkRights(client);
  return pending;
}

export interface MigrateOptions {
  /** Stop after this migration; undefined applies all. One that is applied already applies nothing. */
  readonly to?: string | undefined;
  /** What else has to exist at the end, made as the owner and safe to run again (queues). */
  readonly afterAsOwner?: (client: SqlClient) => Promise<void>;
}

/**
 * Migrates and gives the names of what it applied; each file is durable by itself, a failed one leaves nothing. The
 * database's login needs what checkRights asks for, and only while something is pending.
 * @throws DB_VERSION, DB_ENCODING, DB_EXTENSION, DB_LOCKED, DB_PRIVILEGE, SCHEMA_NEWER, INPUT_INVALID: then nothing
 *   was changed;
 *   SCHEMA_MIGRATION names the file that failed; DB_LOCKED the one that could not have its locks, those before it are kept
 */
export function migrate(db: Database, options: MigrateOptions = {}): Promise<readonly string[]> {
  const apply = async (client: SqlClient): Promise<readonly string[]> => {
    const { pending: wanted } = await migrationStatus(client, options.to);
    if (wanted.length > 0) {
      await checkRights(client);
      await installRoles(client);
    }
    if (wanted.length === 0 && options.afterAsOwner === undefined) return [];
    // When the rest fails the connection is thrown away, and the role with it.
    await execute(client, `set role ${quoteIdentifier(ROLES.owner)}`);
    if (wanted.length > 0) await applyFiles(client, wanted);
    if (options.afterAsOwner !== undefined) await options.afterAsOwner(client);
    await execute(client, 'reset role');
    return wanted;
  };
  return db.withClient((client) =>
    withSessionLock(client, 'migrate', 'exclusive', () => apply(client), LONGEST_MIGRATION_MS),
  );
}

async function applyFiles(client: SqlClient, wanted: readonly string[]): Promise<void> {
  await execute(client, `set lock_timeout = ${LOCK_TIMEOUT_MS}`);
  for (let [attempt, left] = [1, wanted]; left.length > 0; attempt += 1) {
    const failure = await applyOnce(client, left.length);
    if (failure === null) break;
    await execute(client, 'rollback'); // the failed file's transaction is still open
    const applied = await appliedMigrations(client);
    left = wanted.filter((name) => !applied.includes(name));
    if (attempt >= LOCK_ATTEMPTS || !isLockFailure(failure)) throw failedAt(left, failure);
    await delay(randomInt(LOCK_TIMEOUT_MS, LONGEST_PAUSE_MS));
  }
  await execute(client, 'reset lock_timeout');
}

/** Applies the next files; null when all were, otherwise why one was not. @throws what says that the database is gone */
async function applyOnce(client: SqlClient, count: number): Promise<Error | null> {
  try {
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
    return null;
  } catch (error) {
    const translated = translateDatabaseError(error);
    if (translated instanceof AuditkeepError) throw translated;
    return error instanceof Error ? error : new Error(String(error));
  }
}

function failedAt(pending: readonly string[], cause: Error): AuditkeepError {
  const failed = pending[0] ?? 'the last one';
  const details = { failed, pending };
  if (isLockFailure(cause)) {
    return new AuditkeepError('DB_LOCKED', {
      message: `migration ${failed} could not have a lock in ${LOCK_ATTEMPTS} attempts and left nothing: ${cause.message}`,
      hint: 'a report, a verification or a long transaction holds it: migrate again when it has ended; the migrations before it are kept',
      details,
      cause,
    });
  }
  return new AuditkeepError('SCHEMA_MIGRATION', {
    message: `migration ${failed} failed and left nothing: ${cause.message}`,
    hint: 'mend what the message names, then migrate again; the migrations before it are kept',
    details,
    cause,
  });
}

function pendingUpTo(known: readonly string[], applied: readonly string[], to: string | undefined): string[] {
  const last = to === undefined ? known.length - 1 : known.indexOf(to);
  if (last < 0 && to !== undefined) {
    throw new AuditkeepError('INPUT_INVALID', {
      message: `no migration is named ${to}`,
      hint: 'auditkeep migrate status lists them',
    });
  }
  return known.slice(0, last + 1).filter((name) => !applied.includes(name));
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
