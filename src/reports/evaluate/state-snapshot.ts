/** The daily snapshot of the tables that say who may do what (migration 0132). */
import { z } from 'zod';
import type { Context } from '../../context.ts';
import { queryOne } from '../../db/query.ts';
import { inTransaction } from '../../db/transaction.ts';

const takenSchema = z.object({ tables: z.int(), differences: z.bigint(), unlogged: z.bigint() });

/**
 * Takes a snapshot of every watched table, with its audit event; durable when it resolves. `unlogged` counts rows that differ
 * from the snapshot before and that no logged change explains.
 */
export async function takeStateSnapshot(
  ctx: Pick<Context, 'db'>,
): Promise<{ readonly tables: number; readonly differences: number; readonly unlogged: number }> {
  const taken = await inTransaction(ctx.db, (client) =>
    queryOne(client, takenSchema, 'select * from compliance.take_state_snapshot()'),
  );
  return { tables: taken.tables, differences: Number(taken.differences), unlogged: Number(taken.unlogged) };
}
