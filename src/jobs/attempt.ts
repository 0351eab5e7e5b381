/** One attempt of a queued job: recorded before it starts and when it ends, with nothing but codes and counts kept. */
import { z } from 'zod';
import type { Context } from '../context.ts';
import { sqlStateOf } from '../db/errors.ts';
import { AuditkeepError, ERROR_CODES, EXIT } from '../errors.ts';
import type { AnyJob, JobOutcome } from './job.ts';
import { finishRun, type RunEnd, type RunOutcome, startRun } from './store.ts';

const dataShape = z.object({ input: z.looseObject({}), dueAt: z.string().nullable() });

/** A job as the queue handed it out. */
export interface Delivery {
  readonly id: string;
  /** 0 for the first attempt. */
  readonly retryCount: number;
  readonly data: unknown;
  readonly signal: AbortSignal;
}

/** How the queue should settle the job. */
export interface Settlement {
  readonly id: string;
  /** deadletter: trying again cannot help. */
  readonly status: 'completed' | 'failed' | 'deadletter';
  readonly output: { readonly outcome: RunOutcome; readonly code?: string; readonly message?: string };
}

/**
 * Runs a job once. Never throws for a failing job: the settlement says what to do with it.
 * @throws DB_* when the attempt cannot be recorded; the queue then delivers the job again
 */
export async function runAttempt(ctx: Context, job: AnyJob, delivery: Delivery): Promise<Settlement> {
  const data = dataShape.parse(delivery.data);
  const runId = await ctx.db.withClient((client) =>
    startRun(client, {
      job: job.name,
      queueJobId: delivery.id,
      attempt: delivery.retryCount + 1,
      dueAt: data.dueAt,
      startedAt: ctx.clock.now(),
    }),
  );
  ctx.log.info({ event: 'job-started', job: job.name, run: runId, attempt: delivery.retryCount + 1 });
  const { end, status } = await callJob(ctx, job, data.input, delivery.signal);
  const isRecorded = await ctx.db.withClient((client) =>
    finishRun(client, runId, { ...end, finishedAt: ctx.clock.now() }),
  );
  if (!isRecorded) return givenUp(ctx, job, delivery.id, runId);
  ctx.log.info({ event: 'job-ended', job: job.name, run: runId, outcome: end.outcome, counts: end.counts });
  const failure = end.errorCode === null ? {} : { code: end.errorCode, message: end.summary };
  return { id: delivery.id, status, output: { outcome: end.outcome, ...failure } };
}

/** Somebody else took over while this attempt was thought dead: its end is not the job's, whatever it was. */
function givenUp(ctx: Context, job: AnyJob, id: string, runId: string): Settlement {
  ctx.log.warn({ event: 'job-lost', job: job.name, run: runId });
  const message = 'the attempt ended after it had been given up as lost';
  return { id, status: 'failed', output: { outcome: 'lost', code: 'JOB_LOST', message } };
}

type Ended = { end: Omit<RunEnd, 'finishedAt'>; status: Settlement['status'] };

async function callJob(ctx: Context, job: AnyJob, input: object, signal: AbortSignal): Promise<Ended> {
  try {
    const outcome = await job.run(ctx, parseInput(job, input), signal);
    if (signal.aborted) return stopped(outcome);
    return {
      status: 'completed',
      end: { ...outcome, outcome: outcome.findings ? 'findings' : 'done', errorCode: null },
    };
  } catch (error) {
    const { code, message } = describeFailure(error);
    const isPermanent = error instanceof AuditkeepError && isHopeless(ERROR_CODES[error.code].exit);
    return {
      status: isPermanent ? 'deadletter' : 'failed',
      end: { outcome: 'failed', summary: message, counts: {}, errorCode: code },
    };
  }
}

/** The worker went down: what was left is done by the next attempt. */
function stopped(outcome: JobOutcome): Ended {
  return {
    status: 'failed',
    end: { outcome: 'stopped', summary: outcome.summary, counts: outcome.counts, errorCode: 'JOB_STOPPED' },
  };
}

function parseInput(job: AnyJob, input: object): never {
  const parsed = job.input.safeParse(input);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new AuditkeepError('INPUT_INVALID', {
    message: `the input of job ${job.name} is malformed: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`,
    hint: 'correct what enqueued it',
  });
}

/** Wrong input, missing rights or a refusal do not go away by themselves. */
function isHopeless(exit: number): boolean {
  return exit === EXIT.usage || exit === EXIT.refused;
}

/** Messages of unexpected errors may quote data, so only their kind and place are kept. */
function describeFailure(error: unknown): { code: string; message: string } {
  if (error instanceof AuditkeepError) return { code: error.code, message: error.message };
  const state = sqlStateOf(error);
  const place = error instanceof Error ? /\n\s+at (.*)/.exec(error.stack ?? '')?.[1] : undefined;
  const name = error instanceof Error ? error.name : typeof error;
  return {
    code: 'INTERNAL',
    message: [name, state, place === undefined ? null : `at ${place}`].filter((part) => part !== null).join(' '),
  };
}
