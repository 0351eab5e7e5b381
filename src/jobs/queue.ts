/** The job queue: pg-boss as the engine, with nothing that needs DDL at run time. */

import { PgBoss } from 'pg-boss';
import type { Logger } from 'pino';
import type { SqlClient } from '../db/database.ts';
import { sqlStateOf, translateDatabaseError } from '../db/errors.ts';
import { AuditkeepError } from '../errors.ts';
import type { Clock } from '../time/clock.ts';
import type { AnyJob } from './job.ts';

/** Where pg-boss keeps its tables; made by the installing login (schema/roles.sql). */
export const QUEUE_SCHEMA = 'pgboss';

/** What a queued job carries: its input and, for a scheduled run, the instant at which it was due (ISO 8601). */
export interface JobData {
  readonly input: object;
  readonly dueAt: string | null;
}

export interface Queue {
  readonly boss: PgBoss;
  close(): Promise<void>;
}

export interface QueueOptions {
  readonly url: string;
  /** The role that the connections take on. */
  readonly role: string;
  readonly log: Logger;
  readonly clock: Clock;
}

/** How soon a killed worker is noticed after its heartbeat ran out, and how often limits are enforced. */
const SUPERVISE_SECONDS = 15;
const CONNECTIONS = 4;
const ERROR_LOG_PAUSE_MS = 10_000;

/**
 * Connects to the queue. A worker's queue supervises: it expires, retries and removes jobs.
 * @throws DB_* when the database cannot be reached or entered
 */
export async function openQueue(options: QueueOptions, supervise = false): Promise<Queue> {
  const boss = new PgBoss({
    connectionString: options.url,
    options: `-c role=${options.role} -c search_path=pg_catalog,pg_temp -c timezone=UTC`,
    application_name: 'auditkeep-queue',
    max: CONNECTIONS,
    schema: QUEUE_SCHEMA,
    migrate: false,
    createSchema: false,
    schedule: false,
    supervise,
    registerInstance: supervise,
    superviseIntervalSeconds: SUPERVISE_SECONDS,
    monitorIntervalSeconds: SUPERVISE_SECONDS,
    // What these do at run time is DDL, which the engine may not.
    persistQueueStats: false,
    reindex: false,
    openTelemetry: { enabled: false },
  });
  // Unheard, an 'error' event of a lost connection would end the process; the next poll tries again by itself.
  boss.on('error', logSometimes(options));
  boss.on('warning', (warning) => options.log.warn({ event: 'queue-warning', message: warning.message }));
  try {
    await boss.start();
  } catch (error) {
    await boss.stop({ graceful: false }).catch(() => null);
    throw describeStart(error);
  }
  return { boss, close: () => boss.stop({ graceful: false }) };
}

/** pg-boss has no codes of its own for a schema that it does not find or that another release made. */
function describeStart(error: unknown): unknown {
  if (!(error instanceof Error && /not installed|requires migrations/.test(error.message))) {
    return translateDatabaseError(error);
  }
  return new AuditkeepError('SCHEMA_MISSING', {
    message: 'the job queues of this release have not been made',
    hint: 'run: auditkeep migrate',
    cause: error,
  });
}

/** While the database is away every poll of every queue fails; one line in ten seconds says so. */
function logSometimes({ log, clock }: QueueOptions): (error: Error) => void {
  let silentUntil = 0;
  return (error) => {
    const now = clock.now();
    if (now < silentUntil) return;
    silentUntil = now + ERROR_LOG_PAUSE_MS;
    log.warn({ event: 'queue-error', name: error.name, state: sqlStateOf(error) });
  };
}

/**
 * Puts a job into its queue and gives its id; null when the job is exclusive and one is already queued or running.
 * With `client` the job exists only if the caller's transaction commits.
 */
export function enqueueJob(queue: Queue, job: AnyJob, data: JobData, client?: SqlClient): Promise<string | null> {
  return queue.boss.send(job.name, data, client === undefined ? {} : onClient(client));
}

/** The option that makes a call of the queue part of the caller's transaction. */
export function onClient(client: SqlClient) {
  return { db: { executeSql: (text: string, values?: unknown[]) => client.query(text, values) } };
}
