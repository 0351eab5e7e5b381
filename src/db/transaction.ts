/** Transactions: the operation opens one and passes its client down. */
import type { Database, SqlClient } from './database.ts';

export type Isolation = 'read committed' | 'repeatable read' | 'repeatable read, read only';

/**
 * Runs fn in one transaction on one connection: commits when it returns, rolls back when it throws. What fn did is
 * durable when the promise resolves.
 */
export function inTransaction<T>(
  db: Database,
  fn: (client: SqlClient) => Promise<T>,
  isolation: Isolation = 'read committed',
): Promise<T> {
  return db.withClient((client) => transact(client, fn, isolation));
}

/** The same on a connection that the caller already holds, for example one that holds a session lock. */
export async function transact<T>(
  client: SqlClient,
  fn: (client: SqlClient) => Promise<T>,
  isolation: Isolation = 'read committed',
): Promise<T> {
  await client.query(`begin isolation level ${isolation}`);
  try {
    const result = await fn(client);
    await client.query('commit');
    return result;
  } catch (error) {
    // A connection that broke cannot roll back; the server does it for us, and the first error is the one to report.
    await client.query('rollback').catch(() => null);
    throw error;
  }
}
