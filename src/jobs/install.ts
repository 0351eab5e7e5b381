/** Makes the queue's schema, queues and default schedules as the owner, so that the worker needs no DDL. */
import { PgBoss } from 'pg-boss';
import type { SqlClient } from '../db/database.ts';
import { execute } from '../db/query.ts';
import { DEAD_QUEUE } from './dead.ts';
import type { AnyJob } from './job.ts';
import { onClient, QUEUE_SCHEMA } from './queue.ts';
import { JOBS } from './registry.ts';
import { installSchedule, retireSchedule } from './store.ts';

const RETRY_DELAY_SECONDS = 5;
const RETRY_DELAY_MAX_SECONDS = 900;
/** A worker that is killed is noticed after this long without a heartbeat. */
const HEARTBEAT_SECONDS = 30;
const KEPT_SECONDS = 14 * 86_400;

/**
 * Creates or upgrades the queue's schema and makes a queue for every job. Safe to run again. Pass it to `migrate` as
 * afterAsOwner: it runs on the migration's own connection, as the owner, outside a transaction.
 */
export async function installQueues(client: SqlClient, jobs: readonly AnyJob[] = JOBS): Promise<void> {
  const boss = new PgBoss({
    ...onClient(client),
    schema: QUEUE_SCHEMA,
    createSchema: false,
    migrate: true,
    supervise: false,
    schedule: false,
    registerInstance: false,
  });
  // Failures reach us through the awaited calls; an 'error' event without a listener would end the process as well.
  boss.on('error', () => undefined);
  await boss.start();
  try {
    await makeQueues(boss, jobs);
  } finally {
    await boss.stop({ graceful: false });
  }
  await grantToEngine(client);
  await installSchedules(client, jobs);
}

async function makeQueues(boss: PgBoss, jobs: readonly AnyJob[]): Promise<void> {
  await boss.createQueue(DEAD_QUEUE, { policy: 'standard', retryLimit: 0, retentionSeconds: 365 * 86_400 });
  for (const job of jobs) {
    const options = {
      retryLimit: job.retryLimit,
      retryDelay: RETRY_DELAY_SECONDS,
      retryBackoff: true,
      retryDelayMax: RETRY_DELAY_MAX_SECONDS,
      expireInSeconds: job.timeLimitSeconds,
      retentionSeconds: KEPT_SECONDS,
      deleteAfterSeconds: KEPT_SECONDS,
      heartbeatSeconds: HEARTBEAT_SECONDS,
      deadLetter: DEAD_QUEUE,
    };
    await boss.createQueue(job.name, { ...options, policy: job.policy });
    // A queue of an older release keeps its jobs and gets the new limits.
    await boss.updateQueue(job.name, options);
  }
}

async function installSchedules(client: SqlClient, jobs: readonly AnyJob[]): Promise<void> {
  for (const { name, schedule } of jobs) {
    if (schedule === null) await retireSchedule(client, name);
    else await installSchedule(client, { job: name, paused: false, ...schedule });
  }
}

/** The queue's functions run as whoever calls them, so EXECUTE gives the engine nothing that the table rights do not. */
async function grantToEngine(client: SqlClient): Promise<void> {
  await execute(client, 'grant usage on schema pgboss to auditkeep_engine');
  await execute(client, 'grant select, insert, update, delete on all tables in schema pgboss to auditkeep_engine');
  await execute(client, 'grant execute on all functions in schema pgboss to auditkeep_engine');
}
