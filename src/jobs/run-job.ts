/** Enqueues a job and waits until a worker has run it. */
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import type { Context } from '../context.ts';
import { AuditkeepError } from '../errors.ts';
import type { AnyJob } from './job.ts';
import { enqueueJob, type Queue } from './queue.ts';
import { findQueued, listQueued } from './queue-store.ts';
import { listAttempts, type Run } from './store.ts';

const POLL_MS = 100;

export interface RunJobOptions {
  /** Gives up waiting, not the job. Default: the job's own time limit. */
  readonly timeoutMs?: number;
}

/**
 * Runs a job through the queue: enqueues it, or joins the one that an exclusive job already has there, waits until some
 * worker ended it and gives the last attempt.
 * @throws JOB_FAILED when it failed for the last time, JOB_TIMEOUT when it did not end in time
 */
export async function runJob(
  ctx: Pick<Context, 'db'>,
  queue: Queue,
  job: AnyJob,
  input: object = {},
  options: RunJobOptions = {},
): Promise<Run> {
  const id = (await enqueueJob(queue, job, { input, dueAt: null })) ?? (await findOpen(ctx, job));
  const polls = Math.ceil((options.timeoutMs ?? job.timeLimitSeconds * 1000) / POLL_MS);
  for (let poll = 0; poll < polls; poll += 1) {
    const [queued] = await ctx.db.withClient((client) => findQueued(client, id));
    if (queued?.state === 'completed') return await lastAttempt(ctx, id);
    if (queued === undefined || queued.state === 'failed' || queued.state === 'cancelled') {
      throw new AuditkeepError('JOB_FAILED', {
        message: `job ${job.name} failed: ${queued?.errorCode ?? 'removed from the queue'} ${queued?.message ?? ''}`,
        hint: `see: auditkeep job show ${id}`,
        details: { job: job.name, id, code: queued?.errorCode ?? null },
      });
    }
    await delay(POLL_MS);
  }
  throw new AuditkeepError('JOB_TIMEOUT', {
    message: `job ${job.name} did not end in time`,
    hint: `check that a worker runs (auditkeep worker) and see: auditkeep job show ${id}`,
    details: { job: job.name, id },
  });
}

async function findOpen(ctx: Pick<Context, 'db'>, job: AnyJob): Promise<string> {
  const open = await ctx.db.withClient((client) =>
    listQueued(client, { names: [job.name], states: ['created', 'retry', 'active'], limit: 1 }),
  );
  // It ended between our attempt to enqueue and this look: whoever asked may simply ask again.
  return z.string({ error: `job ${job.name} was queued by somebody else and has just ended` }).parse(open[0]?.id);
}

async function lastAttempt(ctx: Pick<Context, 'db'>, id: string): Promise<Run> {
  const attempts = await ctx.db.withClient((client) => listAttempts(client, id));
  const last = attempts.at(-1);
  if (last === undefined) throw new Error(`job ${id} completed without a recorded attempt`);
  return last;
}
