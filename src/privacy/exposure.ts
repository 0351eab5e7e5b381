/** What the transactions that are still as they were imported give away to whoever has the public chain: measured. */
import { z } from 'zod';
import type { Context } from '../context.ts';
import { queryOne } from '../db/query.ts';

export interface Exposure {
  /** Transactions that carry their public hash. */
  readonly rows: number;
  /** Of these, rows whose hash no other row has: one look-up in a public block names both parties. */
  readonly uniquelyLinked: number;
  /** uniquelyLinked / rows, 0 to 1; 0 without rows. */
  readonly uniquelyLinkedShare: number;
}

/** Runs the join that anybody with the public chain can run. Reads only. */
export async function measureExposure(ctx: Pick<Context, 'db'>): Promise<Exposure> {
  const { rows, linked } = await ctx.db.withClient((client) =>
    queryOne(
      client,
      z.object({ rows: z.number(), linked: z.number() }),
      `select coalesce(sum(h.n), 0)::int as rows, count(*) filter (where h.n = 1)::int as linked
         from (select count(*) as n
                 from security_confidential.transactions t
                where t.pseudonym_from is null and t.pseudonym_to is null and not t.anonymized
                group by t.network_id, t.transaction_hash) h`,
    ),
  );
  return { rows, uniquelyLinked: linked, uniquelyLinkedShare: rows === 0 ? 0 : linked / rows };
}
