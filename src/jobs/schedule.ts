/** Puts due jobs into the queue, level-triggered: what counts is what is due now and not taken care of. */
import type { Context } from '../context.ts';
import { tryLockSession, unlockSession } from '../db/advisory-lock.ts';
import { isoOf, type UtcInstant } from '../time/clock.ts';
import { lastDue, nextDue } from './cron.ts';
import { noteDueRuns } from './due.ts';
import type { AnyJob } from './job.ts';
import { enqueueJob, type Queue } from './queue.ts';
import { isTakenCareOf, listStoredSchedules, type StoredSchedule } from './store.ts';

export interface ScheduleView {
  readonly job: string;
  readonly cron: string;
  readonly timeZone: string;
  readonly paused: boolean;
  readonly version: number;
  readonly changedBy: string;
  readonly reason: string;
  /** Instants of the clock's now; null while paused. */
  readonly lastDueAt: UtcInstant | null;
  readonly nextDueAt: UtcInstant | null;
}

type Scheduling = Pick<Context, 'db' | 'clock'>;
type Enqueueing = Pick<Context, 'db' | 'clock' | 'config' | 'log'>;

/** The schedules of the given jobs as they count now. */
export async function listSchedules(ctx: Scheduling, jobs: readonly AnyJob[]): Promise<ScheduleView[]> {
  const stored = await ctx.db.withClient(listStoredSchedules);
  const now = ctx.clock.now();
  return stored
    .filter((schedule) => jobs.some((job) => job.name === schedule.job))
    .map((schedule) => viewOf(schedule, now));
}

function viewOf(stored: StoredSchedule, now: UtcInstant): ScheduleView {
  const { job, cron, timeZone, paused, version, changedBy, reason } = stored;
  return {
    ...{ job, cron, timeZone, paused, version, changedBy, reason },
    lastDueAt: paused ? null : lastDue(stored, now),
    nextDueAt: paused ? null : nextDue(stored, now),
  };
}

export interface DueOptions {
  /** True: a due run that failed is due again (worker --once). False: it has ended; `job retry` runs it again. */
  readonly retryFailed: boolean;
}

/**
 * Enqueues every scheduled job whose last due run is not taken care of and need not wait, each once however many runs were
 * missed, and gives their names. One process looks at a time; the others find nothing to do.
 */
export async function enqueueDue(
  ctx: Enqueueing,
  queue: Queue,
  jobs: readonly AnyJob[],
  options: DueOptions,
): Promise<string[]> {
  const schedules = await listSchedules(ctx, jobs);
  return ctx.db.withClient(async (client) => {
    if (!(await tryLockSession(client, 'scheduler', 'exclusive'))) return [];
    const names = jobs.map((job) => job.name);
    await noteDueRuns(client, names, ctx.clock.now());
    const enqueued: string[] = [];
    for (const schedule of schedules) {
      const job = jobs.find((candidate) => candidate.name === schedule.job);
      const dueAt = schedule.lastDueAt;
      if (job === undefined || dueAt === null) continue;
      if (await isTakenCareOf(client, { job: job.name, dueAt, succeeded: options.retryFailed })) continue;
      const reason = (await job.waitsFor?.(ctx, dueAt)) ?? null;
      if (reason !== null) {
        ctx.log.debug({ event: 'job-waits', job: job.name, dueAt: isoOf(dueAt), reason });
        continue;
      }
      // Committed at once, under the lock, so that the next process to look sees it.
      const id = await enqueueJob(queue, job, { input: job.dueInput?.(dueAt) ?? {}, dueAt: isoOf(dueAt) }, client);
      if (id !== null) enqueued.push(job.name);
    }
    await unlockSession(client, 'scheduler', 'exclusive');
    return enqueued;
  });
}
