/** `worker --once`: runs everything that is due or queued now, then ends. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Context } from '../context.ts';
import { EXIT, type ExitCode } from '../errors.ts';
import type { AnyJob } from './job.ts';
import type { Queue } from './queue.ts';
import { countOpen } from './queue-store.ts';
import { enqueueDue } from './schedule.ts';
import { type SettledRun, startWorker } from './worker.ts';

const POLL_MS = 200;

export interface Drained {
  /** Attempts that this worker made, in order. */
  readonly ran: readonly { readonly job: string; readonly outcome: string }[];
  /** 0, 1 when a job failed, 3 when one found something. */
  readonly exitCode: ExitCode;
}

/**
 * Enqueues what is due (a due run that failed before is due again), works until nothing is left that can run now, and
 * stops; an aborted signal stops it earlier. A job that failed and waits for its next try is left to the next worker.
 */
export async function drainQueues(
  ctx: Context,
  queue: Queue,
  jobs: readonly AnyJob[],
  stop: AbortSignal,
): Promise<Drained> {
  const ran: SettledRun[] = [];
  const worker = await startWorker(ctx, queue, { jobs, schedules: false, onSettled: (run) => ran.push(run) });
  const names = jobs.map((job) => job.name);
  try {
    await enqueueDue(ctx, queue, jobs, { retryFailed: true });
    while (!stop.aborted && (await ctx.db.withClient((client) => countOpen(client, names))) > 0) await delay(POLL_MS);
  } finally {
    await worker.stop();
  }
  return { ran, exitCode: exitCodeOf(ran.map((run) => run.outcome)) };
}

function exitCodeOf(outcomes: readonly string[]): ExitCode {
  if (outcomes.includes('failed')) return EXIT.bug;
  return outcomes.includes('findings') ? EXIT.findings : EXIT.done;
}
