/**
 * One transaction that moves, drops or copies a unit: under the structure lock and without queueing, with short statements,
 * tried again while somebody reads or writes.
 */
import type { Context } from '../context.ts';
import { type LockMode, tryLockSession, unlockSession } from '../db/advisory-lock.ts';
import type { SqlClient } from '../db/database.ts';
import { transact } from '../db/transaction.ts';
import { DEFAULT_WINDOW, type RetryWindow, retryOnLock } from './lock-retry.ts';
import { limitStatements } from './store.ts';

/** Longest statement of a first attempt; later ones may take longer, so that a slow machine gets there too. */
const STATEMENT_TIMEOUT_MS = 150;

export interface MoveOptions {
  readonly window?: RetryWindow | undefined;
  /** For steps that have to read the unit's rows: no writer waits for them, so only the lock timeout binds. */
  readonly readsRows?: boolean;
  /** shared: it takes nothing from where readers of all places look, but what it reads has to stay there. */
  readonly mode?: LockMode;
}

/**
 * Runs `move` and then `record` in one transaction under the structure lock; the limit on statements binds `move` only.
 * @throws RETENTION_BUSY when the window is over; whatever `move` or `record` throws, untranslated
 */
export function moveInStructure<T>(
  ctx: Pick<Context, 'db'>,
  options: MoveOptions,
  move: (client: SqlClient) => Promise<T>,
  record: (client: SqlClient, moved: T) => Promise<void>,
): Promise<T> {
  const mode = options.mode ?? 'exclusive';
  return retryOnLock(options.window ?? DEFAULT_WINDOW, (attempt) =>
    ctx.db.withClient(async (client) => {
      if (!(await tryLockSession(client, 'structure', mode))) throw new StructureLockTaken();
      const moved = await transact(client, async () => {
        await makeVacuumsGiveWay(client);
        if (options.readsRows !== true) await limitStatements(client, timeoutOf(attempt));
        const result = await move(client);
        await limitStatements(client, 0);
        await record(client, result);
        return result;
      });
      // Where the transaction failed the connection is thrown away, and the session's lock with it.
      await unlockSession(client, 'structure', mode);
      return moved;
    }),
  );
}

/**
 * An autovacuum ends when somebody has waited for it as long as deadlock_timeout (1 s), which nobody here does: every attempt
 * of a move would fail for as long as it is at work. For this transaction, where the installation may set it.
 */
export async function makeVacuumsGiveWay(client: SqlClient): Promise<void> {
  await client.query(
    `select pg_catalog.set_config('deadlock_timeout', '50ms', true)
      where pg_catalog.has_parameter_privilege('deadlock_timeout', 'set')`,
  );
}

function timeoutOf(attempt: number): number {
  return STATEMENT_TIMEOUT_MS * (1 + Math.min(3, Math.floor(attempt / 10)));
}

/** Somebody reads hot, archived and late rows together, or moves them; looks like the database's own refusal to the retry. */
class StructureLockTaken extends Error {
  readonly code = 'AK106';

  constructor() {
    super('a report, a verification or a move is under way: the structure lock is taken');
  }
}
