/** Running jobs. */
import { AuditkeepError } from '../errors.ts';
import { drainQueues } from '../jobs/drain.ts';
import type { AnyJob } from '../jobs/job.ts';
import { listQueued } from '../jobs/queue-store.ts';
import { findJob, JOBS } from '../jobs/registry.ts';
import { enqueueDue } from '../jobs/schedule.ts';
import type { RunOutcome } from '../jobs/store.ts';
import { type SettledRun, startWorker } from '../jobs/worker.ts';
import { countOf } from '../plural.ts';
import { type AnyCommand, type CommandResult, defineCommand, type Session } from './command.ts';
import { dryRunOption, NOTHING_CHANGED } from './dry-run.ts';
import { stopOnSignal } from './stop-signal.ts';

/** Waiting jobs that a dry run lists. */
const LISTED = 1000;

/** The worker command over a list of jobs. */
export function createWorkerCommand(known: readonly AnyJob[]): AnyCommand {
  return defineCommand({
    path: ['worker'],
    summary: 'run queued and scheduled jobs until told to stop (SIGTERM ends it after the running ones)',
    examples: [
      ['auditkeep worker', 'run every queue; start as many workers as you like'],
      ['auditkeep worker --once', 'run all that is due and end: 0 done, 1 a job failed, 3 findings'],
      ['auditkeep worker --queues seal-chain,archive', 'run these queues only'],
    ],
    options: (yargs) =>
      yargs
        .option('once', { type: 'boolean', default: false, describe: 'run all that is due, then end' })
        .option('queues', { type: 'string', requiresArg: true, describe: 'names separated by commas; default all' })
        .option('dry-run', dryRunOption),
    async run(session, { once, queues, 'dry-run': dryRun }) {
      const jobs = chooseJobs(known, queues);
      if (dryRun) return listDue(session, jobs, once);
      const stop = stopOnSignal();
      const ctx = await session.context();
      const queue = await session.openWorkerQueue();
      if (once) {
        const { ran, exitCode } = await drainQueues(ctx, queue, jobs, stop.signal);
        const lines = ran.map(({ job, outcome }) => `${job}: ${outcome}`);
        return { data: { ran }, text: [...lines, countOf(ran.length, 'run')].join('\n'), exitCode };
      }
      const outcomes: Partial<Record<RunOutcome, number>> = {};
      const onSettled = ({ outcome }: SettledRun) => {
        outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
      };
      const running = await startWorker(ctx, queue, { jobs, schedules: true, onSettled });
      session.say(`working on ${countOf(jobs.length, 'queue')}; SIGTERM or Ctrl-C stops after the running jobs`);
      await stop.requested;
      session.say('stopping: no new jobs, the running ones end');
      await running.stop();
      const runs = Object.values(outcomes).reduce((sum, count) => sum + count, 0);
      return { data: { runs, outcomes }, text: countOf(runs, 'run') };
    },
  });
}

/** Every command about running jobs. */
export const workerCommands: readonly AnyCommand[] = [createWorkerCommand(JOBS)];

/** What a worker would run now: what waits in the queues and what would be put there. */
async function listDue(session: Session, jobs: readonly AnyJob[], once: boolean): Promise<CommandResult> {
  const ctx = await session.context({ dryRun: true });
  await enqueueDue(ctx, await session.queue(), jobs, { retryFailed: once });
  const filter = { names: jobs.map((job) => job.name), states: ['created', 'retry'], limit: LISTED };
  const waiting = (await ctx.db.withClient((client) => listQueued(client, filter))).map(({ job }) => job);
  const text = waiting.length === 0 ? 'nothing is due' : `would run: ${waiting.join(', ')}`;
  return { data: { wouldRun: waiting }, text: `${text}\n${NOTHING_CHANGED}` };
}

function chooseJobs(known: readonly AnyJob[], queues: string | undefined): readonly AnyJob[] {
  if (queues === undefined) return known;
  const names = queues.split(',').map((name) => name.trim());
  if (names.some((name) => name === '')) {
    throw new AuditkeepError('USAGE', { message: '--queues has an empty name', hint: 'use --queues a,b' });
  }
  return names.map((name) => findJob(name, known));
}
