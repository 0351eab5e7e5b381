/**
 * Advisory locks by name. All use the two-key form with the class 0x616b ("ak"), so that they cannot meet an
 * application's own locks by accident. PostgreSQL has no rights on advisory locks: any login may take one on purpose.
 * So nobody waits without a limit, and whoever gives up names the session that holds the lock.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { AuditkeepError } from '../errors.ts';
import type { SqlClient } from './database.ts';
import { execute, queryOne, queryRows } from './query.ts';

const LOCK_CLASS = 0x616b;

/** Every advisory lock of the product. retention.move_unit (migration 0014) takes structure by the same numbers. */
const LOCK_IDS = {
  /** Shared by whoever reads hot, archive and late together, or copies a unit; exclusive for whoever moves or drops one. */
  structure: 1,
  /** Held by the one sealer. */
  sealer: 2,
  /** Held by the one migration run. */
  migrate: 3,
  /** Held by the one signer of checkpoints. */
  signer: 4,
  /** Held by the one anonymization run. */
  anonymize: 5,
  /** Held by the worker that looks for due jobs. */
  scheduler: 6,
  /** Held by one batch of an import at a time, so that the next one sees what it stored. */
  import: 7,
  /** Held by the one run that makes scheduled reports, so that no period gets two. */
  reports: 8,
} as const;

const LOCK_NAMES = ['structure', 'sealer', 'migrate', 'signer', 'anonymize', 'scheduler', 'import', 'reports'] as const;

export type LockName = keyof typeof LOCK_IDS;
export type LockMode = 'shared' | 'exclusive';

/** How long a lock is waited for: longer than any holder of ours keeps one that others wait for. */
const WAIT_MS = 60_000;
const FIRST_PAUSE_MS = 10;
const LONGEST_PAUSE_MS = 250;

/**
 * Waits for a session lock; hold it on a dedicated connection and take it before BEGIN.
 * @throws DB_LOCKED naming the holder when it is not free within waitMs
 */
export async function lockSession(
  client: SqlClient,
  name: LockName,
  mode: LockMode,
  waitMs: number = WAIT_MS,
): Promise<void> {
  await poll(client, name, waitMs, () => tryLockSession(client, name, mode));
}

/** Asks again and again instead of queueing: a queued request could neither name the holder nor be given up cleanly. */
async function poll(client: SqlClient, name: LockName, waitMs: number, take: () => Promise<boolean>): Promise<void> {
  let waited = 0;
  for (let pause = FIRST_PAUSE_MS; !(await take()); pause = Math.min(LONGEST_PAUSE_MS, 2 * pause)) {
    if (waited >= waitMs) throw lockedBy(name, await readLockHolders(client));
    await delay(pause);
    waited += pause;
  }
}

const holderShape = z.object({
  number: z.number(),
  pid: z.number(),
  login: z.string(),
  application: z.string(),
});

export interface LockHolder {
  readonly lock: LockName;
  /** Process id of the server's session: pg_terminate_backend(pid) ends it. */
  readonly pid: number;
  readonly login: string;
  readonly application: string;
}

/** The sessions of this database that hold locks of ours, whoever they are. */
export async function readLockHolders(client: SqlClient): Promise<readonly LockHolder[]> {
  const rows = await queryRows(
    client,
    holderShape,
    `select l.objid::int as number, l.pid, coalesce(a.usename, '') as login, coalesce(a.application_name, '') as application
       from pg_catalog.pg_locks l
       left join pg_catalog.pg_stat_activity a on a.pid = l.pid
      where l.locktype = 'advisory' and l.classid::bigint = $1::bigint and l.objsubid = 2 and l.granted
        and l.objid between 1 and 100
        and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
      order by l.objid, l.pid`,
    [LOCK_CLASS],
  );
  return rows.flatMap(({ number, ...holder }) =>
    LOCK_NAMES.filter((name) => LOCK_IDS[name] === number).map((lock) => ({ lock, ...holder })),
  );
}

/** The error for a lock that could not be had. */
export function lockedBy(name: LockName, holders: readonly LockHolder[]): AuditkeepError {
  const own = holders.filter((holder) => holder.lock === name);
  const who = own.map(
    ({ pid, login, application }) => `pid ${pid} (${login}, ${application || 'no application name'})`,
  );
  return new AuditkeepError('DB_LOCKED', {
    message: `the lock ${name} is held by ${who.join(', ') || 'a session that has just ended'}`,
    hint: 'wait for it, or end that session: select pg_terminate_backend(pid); any login can take advisory locks (docs/guide/dba.md)',
    details: { lock: name, pids: own.map((holder) => holder.pid) },
  });
}

/** Takes a session lock only if it is free now; false when somebody holds it. */
export async function tryLockSession(client: SqlClient, name: LockName, mode: LockMode): Promise<boolean> {
  const fn = mode === 'shared' ? 'pg_try_advisory_lock_shared' : 'pg_try_advisory_lock';
  const row = await queryOne(client, z.object({ locked: z.boolean() }), `select pg_catalog.${fn}($1, $2) as locked`, [
    LOCK_CLASS,
    LOCK_IDS[name],
  ]);
  return row.locked;
}

/** Gives a session lock back. */
export async function unlockSession(client: SqlClient, name: LockName, mode: LockMode): Promise<void> {
  const fn = mode === 'shared' ? 'pg_advisory_unlock_shared' : 'pg_advisory_unlock';
  await execute(client, `select pg_catalog.${fn}($1, $2)`, [LOCK_CLASS, LOCK_IDS[name]]);
}

/**
 * Waits for a lock that the end of the transaction gives back.
 * @throws DB_LOCKED naming the holder when it is not free within waitMs
 */
export async function lockTransaction(client: SqlClient, name: LockName, waitMs: number = WAIT_MS): Promise<void> {
  const text = 'select pg_catalog.pg_try_advisory_xact_lock($1, $2) as locked';
  const shape = z.object({ locked: z.boolean() });
  await poll(client, name, waitMs, async () => {
    return (await queryOne(client, shape, text, [LOCK_CLASS, LOCK_IDS[name]])).locked;
  });
}

/** Runs fn while the connection holds the lock, waiting for it first. @throws DB_LOCKED when it is not free in time */
export async function withSessionLock<T>(
  client: SqlClient,
  name: LockName,
  mode: LockMode,
  fn: () => Promise<T>,
  waitMs: number = WAIT_MS,
): Promise<T> {
  await lockSession(client, name, mode, waitMs);
  return givingBack(client, name, mode, fn);
}

/**
 * Runs fn if the lock is free now; null, without running it, when somebody holds it. The lock is free again when the
 * promise settles, whichever way.
 */
export async function withFreeLock<T>(
  client: SqlClient,
  name: LockName,
  mode: LockMode,
  fn: () => Promise<T>,
): Promise<T | null> {
  return (await tryLockSession(client, name, mode)) ? givingBack(client, name, mode, fn) : null;
}

/** Runs fn under a lock that the session holds, and gives it back. */
async function givingBack<T>(client: SqlClient, name: LockName, mode: LockMode, fn: () => Promise<T>): Promise<T> {
  let result: T;
  try {
    result = await fn();
  } catch (error) {
    // In an aborted transaction or on a broken connection the unlock itself fails; the pool then ends the connection,
    // which gives the lock back, and the first error is the one to report.
    await unlockSession(client, name, mode).catch(() => null);
    throw error;
  }
  await unlockSession(client, name, mode);
  return result;
}
