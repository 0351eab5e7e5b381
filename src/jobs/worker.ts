/**
 * A worker: fetches jobs of its queues, runs them one at a time a queue, and puts due ones into the queues. Any number
 * of workers on any number of machines share the work.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Context } from '../context.ts';
import { AuditkeepError } from '../errors.ts';
import { type Delivery, runAttempt, type Settlement } from './attempt.ts';
import type { AnyJob } from './job.ts';
import type { Queue } from './queue.ts';
import { enqueueDue } from './schedule.ts';
import type { RunOutcome } from './store.ts';

const POLL_SECONDS = 1;
const LOOK_FOR_DUE_MS = 15_000;
const LOOK_AGAIN_MAX_MS = 60_000;
/** How long running jobs may go on after stop(), and how long they then have to reach a safe point. */
const GRACE_MS = 20_000;
const SAFE_POINT_MS = 5_000;

/** One attempt that ended. */
export interface SettledRun {
  readonly job: string;
  readonly outcome: RunOutcome;
}

export interface Worker {
  /** Fetches no more, lets running jobs end (asking them to stop after the grace period), then resolves. */
  stop(): Promise<void>;
}

export interface WorkerOptions {
  readonly jobs: readonly AnyJob[];
  /** True: also enqueues what is due by schedule. */
  readonly schedules: boolean;
  readonly graceMs?: number;
  /** Told of every attempt that ended. The worker keeps none of them: it may run for years. */
  readonly onSettled?: (run: SettledRun) => void;
}

/**
 * Starts a worker on a supervising queue. It ends with stop(), which also closes the queue; so does a failed start.
 * @throws SCHEMA_MISSING when a job of this release has no queue yet
 */
export async function startWorker(ctx: Context, queue: Queue, options: WorkerOptions): Promise<Worker> {
  const stopping = new AbortController();
  const unsafe = new AbortController();
  try {
    await requireQueues(queue, options.jobs);
    for (const job of options.jobs) {
      await queue.boss.work<unknown, unknown, { pollingIntervalSeconds: number; perJobResults: true }>(
        job.name,
        { pollingIntervalSeconds: POLL_SECONDS, perJobResults: true },
        async (deliveries) => {
          const results = await runDeliveries(ctx, job, deliveries, unsafe.signal);
          for (const { output } of results) options.onSettled?.({ job: job.name, outcome: output.outcome });
          return results;
        },
      );
    }
  } catch (error) {
    await queue.close();
    throw error;
  }
  const looking = options.schedules ? lookForDue(ctx, queue, options.jobs, stopping.signal) : Promise.resolve();
  return {
    async stop() {
      stopping.abort();
      await looking;
      const graceMs = options.graceMs ?? GRACE_MS;
      const graceEnds = setTimeout(() => unsafe.abort(), graceMs);
      await queue.boss.stop({ graceful: true, timeout: graceMs + SAFE_POINT_MS });
      clearTimeout(graceEnds);
    },
  };
}

/** A release may bring a job and no migration: its queue is still made by `migrate`. */
async function requireQueues(queue: Queue, jobs: readonly AnyJob[]): Promise<void> {
  const made = new Set((await queue.boss.getQueues()).map(({ name }) => name));
  const missing = jobs.filter((job) => !made.has(job.name)).map((job) => job.name);
  if (missing.length === 0) return;
  throw new AuditkeepError('SCHEMA_MISSING', {
    message: `these jobs have no queue yet: ${missing.join(', ')}`,
    hint: 'run: auditkeep migrate',
    details: { missing },
  });
}

async function runDeliveries(
  ctx: Context,
  job: AnyJob,
  deliveries: readonly Delivery[],
  unsafe: AbortSignal,
): Promise<Settlement[]> {
  const results: Settlement[] = [];
  for (const delivery of deliveries) {
    const signal = AbortSignal.any([delivery.signal, unsafe]);
    results.push(await runAttempt(ctx, job, { ...delivery, signal }));
  }
  return results;
}

/** Looks again and again; while the database is lost it waits longer each time. */
async function lookForDue(ctx: Context, queue: Queue, jobs: readonly AnyJob[], stop: AbortSignal): Promise<void> {
  let pauseMs = LOOK_FOR_DUE_MS;
  while (!stop.aborted) {
    try {
      const names = await enqueueDue(ctx, queue, jobs, { retryFailed: false });
      if (names.length > 0) ctx.log.info({ event: 'jobs-due', names });
      pauseMs = LOOK_FOR_DUE_MS;
    } catch (error) {
      if (!(error instanceof AuditkeepError)) throw error;
      pauseMs = Math.min(pauseMs * 2, LOOK_AGAIN_MAX_MS);
      ctx.log.warn({ event: 'due-lookup-failed', code: error.code, retryInMs: pauseMs });
    }
    await delay(pauseMs, undefined, { signal: stop }).catch(() => undefined);
  }
}
