/** What the sealer asks its two connections: durable commits of the one, an early end of the other. */
import { z } from 'zod';
import type { SqlClient } from '../../db/database.ts';
import { execute, queryOne } from '../../db/query.ts';

/** Raises the transaction to a durable commit where the session's setting is weaker; never lowers it. */
export async function requireDurableCommit(client: SqlClient): Promise<void> {
  await execute(
    client,
    `select pg_catalog.set_config('synchronous_commit', 'on', true)
      where pg_catalog.current_setting('synchronous_commit') in ('off', 'local')`,
  );
}

/** The server's process of a connection, for cancelQuery. */
export async function readBackendPid(client: SqlClient): Promise<number> {
  return (await queryOne(client, z.object({ pid: z.number() }), 'select pg_catalog.pg_backend_pid() as pid')).pid;
}

/** Ends the statement that another connection of the same role runs (SQLSTATE 57014 there), if one runs. */
export async function cancelQuery(client: SqlClient, pid: number): Promise<void> {
  await execute(client, 'select pg_catalog.pg_cancel_backend($1::int)', [pid]);
}
