/** What an operator looks at first: one reading of the whole installation, in one snapshot. */
import { z } from 'zod';
import { readAnchorSummary } from '../audit/publish/status.ts';
import type { AnchorSummary } from '../audit/witness/anchor.ts';
import type { Context } from '../context.ts';
import { type LockHolder, readLockHolders } from '../db/advisory-lock.ts';
import type { SqlClient } from '../db/database.ts';
import { queryMaybe, queryOne, queryRows } from '../db/query.ts';
import { inTransaction } from '../db/transaction.ts';
import { isoOf, parseInstant } from '../time/clock.ts';
import { DEAD_QUEUE } from './dead.ts';

/** Unsealed events are counted up to here; a larger backlog reads as this number. */
const UNSEALED_COUNT_LIMIT = 10_000;

/** PostgreSQL's own text of an instant, as ISO 8601 in UTC. */
const instantText = z.string().transform((text) => {
  const instant = parseInstant(text);
  return instant === null ? text : isoOf(instant);
});

const horizonShape = z.object({ table: z.string(), category: z.string(), until: instantText, daysLeft: z.number() });
const chainShape = z.object({
  events: z.bigint(),
  sealedAt: instantText,
  sealLagSeconds: z.number(),
  unsealed: z.number(),
});
const checkpointShape = z.object({ origin: z.string(), size: z.bigint(), signedAt: instantText });
const lastRunShape = z.object({
  job: z.string(),
  startedAt: instantText,
  outcome: z.string().nullable(),
  errorCode: z.string().nullable(),
  summary: z.string().nullable(),
});
const queueShape = z.object({ waiting: z.number(), running: z.number(), dead: z.number() });
const reportShape = z.object({ status: z.string(), count: z.number() });

export interface Overview {
  readonly schema: string;
  /** The branch of a partitioned table whose future partitions end first; null when nothing is partitioned. */
  readonly horizon: z.infer<typeof horizonShape> | null;
  readonly chain: z.infer<typeof chainShape>;
  /** The newest signed tree head; `unsigned` counts the sealed events it does not cover. */
  readonly checkpoint: (z.infer<typeof checkpointShape> & { readonly unsigned: bigint }) | null;
  /** Whether copies outside the database hold the chain, as far as the signer's store of this home knows. */
  readonly anchor: AnchorSummary;
  /** The newest run of a job that verifies; null when none ever ran. */
  readonly lastVerification: z.infer<typeof lastRunShape> | null;
  /** The newest run of every job that ever ran. */
  readonly runs: readonly z.infer<typeof lastRunShape>[];
  readonly queue: z.infer<typeof queueShape>;
  readonly reports: readonly z.infer<typeof reportShape>[];
  /** Sessions that hold the product's advisory locks now. */
  readonly locks: readonly LockHolder[];
}

/** Reads the overview; nothing is changed. */
export function readOverview(ctx: Pick<Context, 'db' | 'clock' | 'config'>): Promise<Overview> {
  const now = isoOf(ctx.clock.now());
  return inTransaction(
    ctx.db,
    async (client) => {
      const chain = await readChain(client, now);
      const checkpoint = await readCheckpoint(client);
      const runs = await readLastRuns(client);
      return {
        schema: await readSchema(client),
        horizon: await readHorizon(client, now),
        chain,
        checkpoint: checkpoint === null ? null : { ...checkpoint, unsigned: chain.events - checkpoint.size },
        anchor: await readAnchorSummary(client, ctx.config),
        lastVerification: runs.find((run) => run.job.startsWith('verify')) ?? null,
        runs,
        queue: await readQueue(client),
        reports: await readReports(client),
        locks: await readLockHolders(client),
      };
    },
    'repeatable read, read only',
  );
}

async function readSchema(client: SqlClient): Promise<string> {
  const shape = z.object({ name: z.string() });
  return (await queryOne(client, shape, 'select name from ops.migration order by name desc limit 1')).name;
}

function readHorizon(client: SqlClient, now: string) {
  return queryMaybe(
    client,
    horizonShape,
    `select table_name as "table", category, max(upper_bound)::text as until,
            floor(extract(epoch from max(upper_bound) - $1::timestamptz) / 86400)::int as "daysLeft"
       from retention.unit where state = 'hot' and isfinite(upper_bound)
      group by table_name, category order by max(upper_bound), table_name, category limit 1`,
    [now],
  );
}

/** How far the sealer got and what waits for it; `now` is ISO 8601. */
export function readChain(client: SqlClient, now: string) {
  return queryOne(
    client,
    chainShape,
    `select h.size as events, h.sealed_at as "sealedAt",
            greatest(0, extract(epoch from $1::timestamptz - h.sealed_at))::int as "sealLagSeconds",
            (select count(*)::int from (
               select from audit.audit_log_all e
                where e.txid >= coalesce(pg_catalog.pg_snapshot_xmin(h.snapshot)::text::bigint, 0)
                  and (h.snapshot is null or not pg_catalog.pg_visible_in_snapshot(e.txid::text::xid8, h.snapshot))
                limit $2::int) u) as unsealed
       from audit.chain_head h`,
    [now, UNSEALED_COUNT_LIMIT],
  );
}

function readCheckpoint(client: SqlClient) {
  return queryMaybe(
    client,
    checkpointShape,
    'select origin, size, signed_at as "signedAt" from audit.checkpoint order by size desc, signed_at desc limit 1',
  );
}

function readLastRuns(client: SqlClient) {
  return queryRows(
    client,
    lastRunShape,
    `select distinct on (job) job, started_at as "startedAt", outcome, error_code as "errorCode", summary
       from ops.run order by job, started_at desc, attempt desc`,
  );
}

function readQueue(client: SqlClient) {
  return queryOne(
    client,
    queueShape,
    `select count(*) filter (where name <> $1 and state < 'active')::int as waiting,
            count(*) filter (where name <> $1 and state = 'active')::int as running,
            count(*) filter (where name = $1 and state < 'active')::int as dead
       from pgboss.job`,
    [DEAD_QUEUE],
  );
}

function readReports(client: SqlClient) {
  return queryRows(
    client,
    reportShape,
    `select status, count(*)::int as count from audit.compliance_reports group by status order by status`,
  );
}
