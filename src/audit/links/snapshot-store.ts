/** One snapshot for two connections (PostgreSQL documentation, "Snapshot Synchronization Functions"). */
import { z } from 'zod';
import type { SqlClient } from '../../db/database.ts';
import { execute, queryOne } from '../../db/query.ts';

/** Somebody's ALTER TABLE may wait for the first connection's locks, and the second one for it: nobody would see that. */
const LOCK_TIMEOUT = '1s';

/** Makes the snapshot of the client's transaction known for as long as it lasts; gives its name. */
export async function exportSnapshot(client: SqlClient): Promise<string> {
  const shape = z.object({ name: z.string() });
  return (await queryOne(client, shape, 'select pg_catalog.pg_export_snapshot() as name')).name;
}

/**
 * Lets a transaction that has asked nothing yet see what an exported snapshot shows, and locks the links.
 * @throws SQLSTATE 55P03 when the lock is not free soon
 */
export async function joinSnapshot(client: SqlClient, name: string): Promise<void> {
  // SET takes no parameters, and the name is the server's own: hexadecimal digits and hyphens.
  if (!/^[0-9A-F-]+$/.test(name)) throw new RangeError(`not the name of a snapshot: ${name}`);
  await execute(client, `set transaction snapshot '${name}'`);
  await execute(client, `set local lock_timeout = '${LOCK_TIMEOUT}'`);
  await execute(client, 'lock table audit.chain_link in access share mode');
}
