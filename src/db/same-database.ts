/** Whether what is read over one connection is what another one acts on. */
import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import type { Database } from './database.ts';
import { execute, queryOne } from './query.ts';
import { inTransaction } from './transaction.ts';

/**
 * Whether two pools lead to one database: an advisory lock that the first takes is taken for the second only there. What a
 * database says of itself would not do: a copy of its files has the same names, oids and system identifier.
 */
export function isSameDatabase(first: Database, second: Database): Promise<boolean> {
  const key = randomBytes(8).readBigInt64BE();
  return inTransaction(first, async (holder) => {
    await execute(holder, 'select pg_catalog.pg_advisory_xact_lock($1::bigint)', [key]);
    const text = 'select pg_catalog.pg_try_advisory_xact_lock($1::bigint) as free';
    const { free } = await inTransaction(second, (client) =>
      queryOne(client, z.object({ free: z.boolean() }), text, [key]),
    );
    return !free;
  });
}
