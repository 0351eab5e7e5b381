/** Jobs that failed for the last time wait in one dead-letter queue until a person sends them back. */
import type { SqlClient } from '../db/database.ts';
import { AuditkeepError } from '../errors.ts';
import { onClient, type Queue } from './queue.ts';

/** Where a job goes when it failed for the last time. No worker fetches from it. */
export const DEAD_QUEUE = 'dead-letter';

/**
 * Puts a dead job back into the queue it came from, if the caller's transaction commits.
 * @throws JOB_UNKNOWN when it is not there any more, or an exclusive one already waits or runs
 */
export async function redriveJob(queue: Queue, client: SqlClient, id: string): Promise<void> {
  const moved = await queue.boss.redrive(DEAD_QUEUE, { ids: [id], ...onClient(client) });
  if (moved === 1) return;
  throw new AuditkeepError('JOB_UNKNOWN', {
    message: `job ${id} cannot be queued again: it is gone, or its queue takes one at a time and has one`,
    hint: 'see: auditkeep job list and auditkeep job dead',
  });
}
