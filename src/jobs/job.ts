/** What a job is: a name, when it is due, what it takes and what it does. Level-triggered: run() asks what is due now. */
import type { z } from 'zod';
import type { Context } from '../context.ts';
import type { UtcInstant } from '../time/clock.ts';

export interface JobOutcome {
  /** One line for people. */
  readonly summary: string;
  /** Counts of what was done, stored with the run. */
  readonly counts: Readonly<Record<string, number>>;
  /** True when the run found something that exit code 3 stands for. */
  readonly findings?: boolean;
}

export interface Job<I = object> {
  /** The queue's name, kebab-case. */
  readonly name: string;
  readonly summary: string;
  /** Cron with five fields and its zone; null runs on request only. Paused: an operator resumes it first. */
  readonly schedule: { readonly cron: string; readonly timeZone: string; readonly paused?: boolean } | null;
  /** Why a run that is due cannot begin yet, for people; null lets it begin. Asked again and again until then. */
  readonly waitsFor?: (ctx: Pick<Context, 'db' | 'clock' | 'config'>, dueAt: UtcInstant) => Promise<string | null>;
  /** The input of the run that was due at an instant; {} unless given. */
  readonly dueInput?: (dueAt: UtcInstant) => object;
  /** exclusive: at most one queued or active at a time; standard: any number. */
  readonly policy: 'exclusive' | 'standard';
  readonly retryLimit: number;
  readonly timeLimitSeconds: number;
  readonly input: z.ZodType<I>;
  /** Can be killed at any point and run again. Stops at the next safe point when the signal aborts. */
  run(ctx: Context, input: I, signal: AbortSignal): Promise<JobOutcome>;
}

/** A job whose input type is hidden, so that jobs of different shapes fit in one list. */
export type AnyJob = Job<never>;

/** Checks a job's types and hides its input type. */
export function defineJob<I>(job: Job<I>): AnyJob {
  return job as unknown as AnyJob;
}
