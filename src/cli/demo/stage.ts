/** What the steps of the demo share. */
import type { App } from '../../app.ts';
import type { Context } from '../../context.ts';
import type { Queue } from '../../jobs/queue.ts';
import { findJob } from '../../jobs/registry.ts';
import { runJob } from '../../jobs/run-job.ts';

export interface Stage {
  readonly app: App;
  readonly ctx: Context;
  readonly queue: Queue;
  /** Folder for what the demo leaves behind; exists. */
  readonly out: string;
  /** A line of words to the person watching. */
  say(line: string): void;
}

export interface JobLine {
  readonly job: string;
  readonly summary: string;
  readonly counts: Readonly<Record<string, number>>;
}

/** Runs a job through the queue and the demo's worker, and says what it did. @throws JOB_FAILED, JOB_TIMEOUT */
export async function runStep(stage: Stage, name: string, input: object = {}): Promise<JobLine> {
  const run = await runJob(stage.ctx, stage.queue, findJob(name), input);
  const line = { job: name, summary: run.summary ?? '', counts: run.counts ?? {} };
  stage.say(`  ${name}: ${line.summary}`);
  return line;
}
