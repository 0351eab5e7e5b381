/** Archival that a DBA asked for in SQL (retention.request_archive): the row is the request, the archive job takes it. */
import { z } from 'zod';
import type { Context } from '../context.ts';
import type { SqlClient } from '../db/database.ts';
import { execute, queryRows } from '../db/query.ts';
import { parseInstant, type UtcInstant } from '../time/clock.ts';
import { type ArchivalRun, runArchival } from './archival.ts';
import type { ArchiveInput } from './archive.ts';
import { FAMILIES, type FamilyName } from './policy.ts';

interface ArchiveRequest {
  readonly planId: string;
  readonly table: FamilyName;
  readonly before: UtcInstant;
  readonly reason: string;
  readonly requestedBy: string;
}

const requestShape = z
  .object({
    plan_id: z.string(),
    table_name: z.enum(FAMILIES),
    before: z.string(),
    reason: z.string(),
    requested_by: z.string(),
  })
  .transform((row, check): ArchiveRequest => {
    const before = parseInstant(row.before);
    if (before === null) check.addIssue({ code: 'custom', message: 'not an instant' });
    return {
      ...{ planId: row.plan_id, table: row.table_name, before: before ?? z.NEVER },
      ...{ reason: row.reason, requestedBy: row.requested_by },
    };
  });

function readOpenRequests(client: SqlClient): Promise<ArchiveRequest[]> {
  return queryRows(
    client,
    requestShape,
    `select plan_id, table_name, before::text, reason, requested_by
       from retention.archive_request where done_at is null order by requested_at, plan_id`,
  );
}

/**
 * Archives what open requests ask for, the oldest first; a request with something left stays open for the next run. The
 * login that asked stands in the audit events of each unit.
 */
export async function runRequested(
  ctx: Pick<Context, 'db' | 'clock' | 'actor'>,
  options: Pick<ArchiveInput, 'window' | 'signal'>,
): Promise<readonly ArchivalRun[]> {
  const runs: ArchivalRun[] = [];
  for (const { planId, table, before, reason, requestedBy } of await ctx.db.withClient(readOpenRequests)) {
    if (options.signal?.aborted === true) break;
    const run = await runArchival(ctx, {
      ...{ ...options, table, before },
      reason: `request ${planId} of login ${requestedBy}: ${reason}`,
    });
    runs.push(run);
    // Late rows that wait for their link or a lock are asked for as well.
    if (run.late.some(({ outcome }) => outcome.kind === 'postponed' || outcome.kind === 'failed')) continue;
    await ctx.db.withClient((client) => execute(client, 'select retention.finish_archive_request($1::uuid)', [planId]));
  }
  return runs;
}
