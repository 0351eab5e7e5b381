/**
 * What ends by itself outside the partitioned tables: ended tokens, sessions and rate-limit windows go 30 days after
 * their end; expired grants of roles and attestations are marked. In bounded batches, each with its audit event in the
 * same transaction, so that a killed run goes on where it was.
 */
import { z } from 'zod';
import { recordEvent } from '../audit/record/record.ts';
import type { Context } from '../context.ts';
import { queryOne } from '../db/query.ts';
import { inTransaction } from '../db/transaction.ts';
import { isoOf } from '../time/clock.ts';

/** Each kind of thing that ends, and what becomes of it. */
const CHORES = [
  { table: 'jwt_tokens', verb: 'remove' },
  { table: 'user_sessions', verb: 'remove' },
  { table: 'rate_limit_state', verb: 'remove' },
  { table: 'user_roles', verb: 'mark' },
  { table: 'sgx_enclaves', verb: 'mark' },
] as const;

type Chore = (typeof CHORES)[number];

export interface HousekeepingInput {
  /** Rows in one transaction. */
  readonly batchSize?: number;
  readonly signal?: AbortSignal;
}

/** Rows removed or marked, by table. */
export type Housekept = Readonly<Record<Chore['table'], number>>;

const BATCH_SIZE = 5000;

/** Does every chore until nothing is due. Durable batch by batch. */
export async function keepHouse(
  ctx: Pick<Context, 'db' | 'clock' | 'actor'>,
  input: HousekeepingInput = {},
): Promise<Housekept> {
  const done = { jwt_tokens: 0, user_sessions: 0, rate_limit_state: 0, user_roles: 0, sgx_enclaves: 0 };
  for (const chore of CHORES) {
    for (;;) {
      if (input.signal?.aborted === true) return done;
      const rows = await doBatch(ctx, chore, input.batchSize ?? BATCH_SIZE);
      if (rows === 0) break;
      done[chore.table] += rows;
    }
  }
  return done;
}

function doBatch(ctx: Pick<Context, 'db' | 'clock' | 'actor'>, chore: Chore, limit: number): Promise<number> {
  return inTransaction(ctx.db, async (client) => {
    const text =
      chore.verb === 'remove'
        ? 'select retention.remove_ended($1::text, $2::timestamptz, $3::int) as rows'
        : 'select retention.mark_expired($1::text, $2::timestamptz, $3::int) as rows';
    const { rows } = await queryOne(client, z.object({ rows: z.bigint() }), text, [
      chore.table,
      isoOf(ctx.clock.now()),
      limit,
    ]);
    if (rows > 0n) {
      await recordEvent(ctx, client, {
        type: chore.verb === 'remove' ? 'housekeeping.removed' : 'housekeeping.marked',
        category: 'system',
        action: chore.verb === 'remove' ? 'DELETE' : 'UPDATE',
        resourceType: 'table',
        resourceId: chore.table,
        details: { rows: Number(rows) },
      });
    }
    return Number(rows);
  });
}
