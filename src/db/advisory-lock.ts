/**
 * Advisory locks by name. All use the two-key form with the class 0x616b ("ak"), so that they cannot meet an
 * application's own locks by accident.
 */
import { z } from 'zod';
import type { SqlClient } from './database.ts';
import { execute, queryOne } from './query.ts';

const LOCK_CLASS = 0x616b;

/** Every advisory lock of the product. SQL functions use the same numbers (migration 0001, ops.lock_key). */
const LOCK_IDS = {
  /** Shared by whoever reads hot, archive and late together; exclusive for whoever moves, drops or restores a unit. */
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
} as const;

export type LockName = keyof typeof LOCK_IDS;
export type LockMode = 'shared' | 'exclusive';

/** Waits for a session lock; hold it on a dedicated connection and take it before BEGIN. */
export async function lockSession(client: SqlClient, name: LockName, mode: LockMode): Promise<void> {
  const fn = mode === 'shared' ? 'pg_advisory_lock_shared' : 'pg_advisory_lock';
  await execute(client, `select pg_catalog.${fn}($1, $2)`, [LOCK_CLASS, LOCK_IDS[name]]);
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

/** Waits for a lock that the end of the transaction gives back. */
export async function lockTransaction(client: SqlClient, name: LockName): Promise<void> {
  await execute(client, 'select pg_catalog.pg_advisory_xact_lock($1, $2)', [LOCK_CLASS, LOCK_IDS[name]]);
}

/** Runs fn while the connection holds the lock, waiting for it first. */
export async function withSessionLock<T>(
  client: SqlClient,
  name: LockName,
  mode: LockMode,
  fn: () => Promise<T>,
): Promise<T> {
  await lockSession(client, name, mode);
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
