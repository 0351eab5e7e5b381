/** The job queue: pg-boss as the engine, with nothing that needs DDL at run time. */

import { PgBoss } from 'pg-boss';
import type { Logger } from 'pino';
import { translateDatabaseError } from '../db/errors.ts';
import { QUEUE_SCHEMA } from './install.ts';

export interface Queue {
  readonly boss: PgBoss;
  close(): Promise<void>;
}

export interface QueueOptions {
  readonly url: string;
  /** The role that the connections take on. */
  readonly role: string;
  readonly log: Logger;
  /** True in a worker: expires, retries and removes jobs. */
  readonly supervise?: boolean;
}

/**
 * Connects to the queue.
 * @throws DB_* when the database cannot be reached or entered
 */
export async function openQueue(options: QueueOptions): Promise<Queue> {
  const boss = new PgBoss({
    connectionString: options.url,
    options: `-c role=${options.role} -c search_path=pg_catalog,pg_temp -c timezone=UTC`,
    application_name: 'auditkeep-queue',
    max: 4,
    schema: QUEUE_SCHEMA,
    migrate: false,
    createSchema: false,
    schedule: false,
    supervise: options.supervise ?? false,
    // What these do at run time is DDL, which the engine may not.
    persistQueueStats: false,
    reindex: false,
  });
  // Unheard, an 'error' event of a lost connection would end the process; the next poll tries again by itself.
  boss.on('error', (error) => options.log.warn({ event: 'queue-error', message: error.message }));
  boss.on('warning', (warning) => options.log.warn({ event: 'queue-warning', message: warning.message }));
  try {
    await boss.start();
  } catch (error) {
    await boss.stop({ graceful: false }).catch(() => null);
    throw translateDatabaseError(error);
  }
  return { boss, close: () => boss.stop({ graceful: true, timeout: 5_000 }) };
}
