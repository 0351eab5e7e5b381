/** What came into a report's period after the report was made: it does not show there, so a new version is due. */
import { z } from 'zod';
import type { Context } from '../../context.ts';
import { queryOne } from '../../db/query.ts';
import type { ReportModel } from '../model/model.ts';

/**
 * How many events of the report's period its snapshot did not see. Null for an interim report, whose period went on. By the
 * transactions that wrote them: after a restore, which begins their numbers anew, it counts nothing that came later.
 */
export async function countLateEvents(
  ctx: Pick<Context, 'db'>,
  { period, source }: Pick<ReportModel, 'period' | 'source'>,
): Promise<number | null> {
  if (period.interim) return null;
  const { n } = await ctx.db.withClient((client) =>
    queryOne(
      client,
      z.object({ n: z.bigint() }),
      `select count(*) as n from audit.audit_log_all e
        where e.event_timestamp >= $1::timestamptz and e.event_timestamp < $2::timestamptz
          and e.txid >= pg_catalog.pg_snapshot_xmin($3::pg_snapshot)::text::bigint
          and not pg_catalog.pg_visible_in_snapshot(e.txid::text::xid8, $3::pg_snapshot)`,
      [period.startAt, period.endAt, source.snapshot],
    ),
  );
  return Number(n);
}
