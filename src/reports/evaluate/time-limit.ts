/** Time limits of a report and of each control, and what becomes of a control that fails. */
import type { Database, SqlClient } from '../../db/database.ts';
import { sqlStateOf } from '../../db/errors.ts';
import { execute } from '../../db/query.ts';
import { AuditkeepError } from '../../errors.ts';
import { backendPid, cancelBackend } from '../model/store.ts';

/** A connection and where another one comes from that cancels what it runs. */
export interface LimitedClient {
  readonly db: Database;
  readonly client: SqlClient;
  readonly pid: number;
}

export async function limitedClient(db: Database, client: SqlClient): Promise<LimitedClient> {
  return { db, client, pid: await backendPid(client) };
}

/**
 * Cancels from outside what the connection runs when the time is over: a statement_timeout could be undone from SQL.
 * @throws REPORT_TIMEOUT with the database's own error as its cause
 */
export async function withTimeLimit<T>(
  { db, pid }: LimitedClient,
  limitMs: number,
  what: string,
  fn: () => Promise<T>,
): Promise<T> {
  const cancelling: Promise<unknown>[] = [];
  const timer = setTimeout(() => {
    // A cancellation that fails leaves the statement to run to its end, whose outcome then stands.
    cancelling.push(db.withClient((client) => cancelBackend(client, pid)).catch((error: unknown) => error));
  }, limitMs);
  try {
    return await fn();
  } catch (cause) {
    if (cancelling.length === 0 || sqlStateOf(cause) !== '57014') throw cause;
    throw new AuditkeepError('REPORT_TIMEOUT', {
      message: `the ${what} was not evaluated within ${Math.round(limitMs / 1000)} s`,
      hint: 'choose a shorter period, or a time with less load',
      details: { limitMs },
      cause,
    });
  } finally {
    clearTimeout(timer);
    await Promise.all(cancelling);
  }
}

export interface Failure {
  readonly kind: 'failed';
  readonly reason: 'sql_failed' | 'time_limit';
  readonly sqlState: string;
}

/**
 * Runs what one control asks of the transaction. A failed statement aborts a transaction; the savepoint keeps it, with its snapshot,
 * for the next control.
 * @throws whatever is no error of the control's own SQL: also when the whole report is out of time
 */
export async function attemptControl<T>(
  limited: LimitedClient,
  limitMs: number,
  fn: () => Promise<T>,
): Promise<{ readonly kind: 'done'; readonly value: T } | Failure> {
  const { client } = limited;
  await execute(client, 'savepoint control');
  let timedOut = false;
  try {
    const value = await withTimeLimit(limited, limitMs, 'control', fn).catch((error: unknown) => {
      timedOut = error instanceof AuditkeepError && error.code === 'REPORT_TIMEOUT';
      throw timedOut && error instanceof AuditkeepError ? error.cause : error;
    });
    await execute(client, 'release savepoint control');
    return { kind: 'done', value };
  } catch (error) {
    const sqlState = error instanceof AuditkeepError ? null : sqlStateOf(error);
    // Cancelled, but not by this control's own limit: the whole report is out of time.
    if (sqlState === null || (sqlState === '57014' && !timedOut)) throw error;
    await execute(client, 'rollback to savepoint control').catch(() => {
      throw error; // the connection is gone; the first error says why
    });
    return { kind: 'failed', reason: timedOut ? 'time_limit' : 'sql_failed', sqlState };
  }
}
