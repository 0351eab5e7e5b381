/** Queries of jobs in the queues. */
import { z } from 'zod';
import type { SqlClient } from '../db/database.ts';
import { queryOne, queryRows } from '../db/query.ts';

const queuedShape = z.object({
  id: z.string(),
  job: z.string(),
  state: z.enum(['created', 'retry', 'active', 'completed', 'cancelled', 'failed']),
  retryCount: z.number(),
  retryLimit: z.number(),
  startAfter: z.string(),
  createdAt: z.string(),
  startedAt: z.string().nullable(),
  completedAt: z.string().nullable(),
  dueAt: z.string().nullable(),
  sourceJob: z.string().nullable(),
  errorCode: z.string().nullable(),
  message: z.string().nullable(),
});

/** A job in the queue. For one in the dead-letter queue `sourceJob` says which job it was. */
export type QueuedJob = z.infer<typeof queuedShape>;

const QUEUED_COLUMNS = `id::text, name as job, state::text, retry_count as "retryCount", retry_limit as "retryLimit",
  start_after as "startAfter", created_on as "createdAt", started_on as "startedAt", completed_on as "completedAt",
  data ->> 'dueAt' as "dueAt", source_name as "sourceJob",
  coalesce(source_output, output) ->> 'code' as "errorCode", coalesce(source_output, output) ->> 'message' as message`;

/** Jobs in the queues, newest first. */
export function listQueued(
  client: SqlClient,
  filter: { names: readonly string[]; states: readonly string[]; limit: number },
): Promise<QueuedJob[]> {
  return queryRows(
    client,
    queuedShape,
    `select ${QUEUED_COLUMNS} from pgboss.job
      where name = any ($1::text[]) and state::text = any ($2::text[])
      order by created_on desc, id limit $3::int`,
    [filter.names, filter.states, filter.limit],
  );
}

/** The queued, running, ended or dead job of an id, wherever it is; several if it was moved meanwhile. */
export function findQueued(client: SqlClient, id: string): Promise<QueuedJob[]> {
  return queryRows(client, queuedShape, `select ${QUEUED_COLUMNS} from pgboss.job where id = $1::uuid`, [id]);
}

/** How many jobs of these names wait now or run. */
export async function countOpen(client: SqlClient, names: readonly string[]): Promise<number> {
  const row = await queryOne(
    client,
    z.object({ open: z.number() }),
    `select count(*)::int as open from pgboss.job
      where name = any ($1::text[])
        and (state = 'active' or (state < 'active' and start_after <= pg_catalog.now()))`,
    [names],
  );
  return row.open;
}
