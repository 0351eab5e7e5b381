/** Jobs in the queues: waiting, running, ended and dead ones. */
import { z } from 'zod';
import { recordEvent } from '../audit/record/record.ts';
import type { Context } from '../context.ts';
import { inTransaction } from '../db/transaction.ts';
import { AuditkeepError } from '../errors.ts';
import { DEAD_QUEUE, redriveJob } from '../jobs/dead.ts';
import { findQueued, listQueued, type QueuedJob } from '../jobs/queue-store.ts';
import { findJob, JOBS } from '../jobs/registry.ts';
import { listAttempts, type Run } from '../jobs/store.ts';
import { secondsOf } from '../time/clock.ts';
import { type AnyCommand, defineCommand } from './command.ts';
import { dryRunOption, withDryRun } from './dry-run.ts';

const OPEN = ['created', 'retry', 'active'];
const ENDED = ['completed', 'failed', 'cancelled'];

const NAME_WIDTH = Math.max(...JOBS.map(({ name }) => name.length));
const STATE_WIDTH = Math.max(...[...OPEN, ...ENDED].map((state) => state.length));

const list = defineCommand({
  path: ['job', 'list'],
  summary: 'jobs that wait or run; with --all those that ended too',
  examples: [
    ['auditkeep job list', 'what waits and runs'],
    ['auditkeep job list --all --job seal-chain --json', 'everything about one job, for scripts'],
  ],
  options: (yargs) =>
    yargs
      .option('all', { type: 'boolean', default: false, describe: 'ended jobs too' })
      .option('job', { type: 'string', requiresArg: true, describe: 'one job only' })
      .option('limit', { type: 'number', default: 50, describe: 'at most this many, newest first' }),
  async run(session, { all, job, limit }) {
    const names = job === undefined ? JOBS.map((known) => known.name) : [findJob(job).name];
    const ctx = await session.context();
    const filter = { names, states: all ? [...OPEN, ...ENDED] : OPEN, limit: checkLimit(limit) };
    const jobs = await ctx.db.withClient((client) => listQueued(client, filter));
    return { data: { jobs }, text: jobs.length === 0 ? 'no jobs' : jobs.map(describeQueued).join('\n') };
  },
});

const show = defineCommand({
  path: ['job', 'show'],
  positionals: '<id>',
  summary: 'one job with its attempts',
  examples: [['auditkeep job show 3f0c1a52-5f0e-4f5e-9a53-0a4a8a3f2c11', 'state, attempts, error']],
  options: (yargs) => yargs.positional('id', { type: 'string', demandOption: true, describe: 'id from job list' }),
  async run(session, { id }) {
    const ctx = await session.context();
    const job = await requireQueued(ctx, id);
    const attempts = await ctx.db.withClient((client) => listAttempts(client, job.id));
    return { data: { job, attempts }, text: [describeQueued(job), ...attempts.map(describeAttempt)].join('\n') };
  },
});

const dead = defineCommand({
  path: ['job', 'dead'],
  summary: 'jobs that failed for the last time',
  examples: [['auditkeep job dead', 'what needs a person']],
  options: (yargs) =>
    yargs.option('limit', { type: 'number', default: 50, describe: 'at most this many, newest first' }),
  async run(session, { limit }) {
    const ctx = await session.context();
    const filter = { names: [DEAD_QUEUE], states: OPEN, limit: checkLimit(limit) };
    const jobs = await ctx.db.withClient((client) => listQueued(client, filter));
    const hint = 'run one again with: auditkeep job retry ID';
    return {
      data: { jobs },
      text: jobs.length === 0 ? 'no dead jobs' : [...jobs.map(describeQueued), hint].join('\n'),
    };
  },
});

const retry = defineCommand({
  path: ['job', 'retry'],
  positionals: '<id>',
  summary: 'put a dead job back into its queue',
  examples: [['auditkeep job retry 3f0c1a52-5f0e-4f5e-9a53-0a4a8a3f2c11', 'after mending what made it fail']],
  options: (yargs) =>
    yargs
      .positional('id', { type: 'string', demandOption: true, describe: 'id from job dead' })
      .option('dry-run', dryRunOption),
  async run(session, { id, 'dry-run': dryRun }) {
    const ctx = await session.context({ dryRun });
    const job = await requireQueued(ctx, id);
    if (job.job !== DEAD_QUEUE) {
      throw new AuditkeepError('JOB_UNKNOWN', {
        message: `job ${id} is not dead`,
        hint: 'auditkeep job dead lists them',
      });
    }
    const queue = await session.queue();
    await inTransaction(ctx.db, async (client) => {
      await redriveJob(queue, client, job.id);
      await recordEvent(ctx, client, {
        type: 'job.retried',
        category: 'admin',
        action: 'RETRY',
        resourceType: 'job',
        resourceId: job.id,
        details: { job: job.sourceJob },
      });
    });
    const text = `${job.sourceJob} ${dryRun ? 'would be' : 'is'} queued again`;
    return { data: { retried: job.id, job: job.sourceJob }, text: withDryRun(text, dryRun) };
  },
});

/** Every command about jobs. */
export const jobCommands: readonly AnyCommand[] = [list, show, retry, dead];

async function requireQueued(ctx: Pick<Context, 'db'>, id: string): Promise<QueuedJob> {
  const isId = z.guid().safeParse(id).success;
  const [job] = isId ? await ctx.db.withClient((client) => findQueued(client, id)) : [];
  if (job !== undefined) return job;
  throw new AuditkeepError('JOB_UNKNOWN', {
    message: `there is no job ${id}`,
    hint: 'auditkeep job list --all lists jobs',
  });
}

function checkLimit(limit: number): number {
  if (Number.isInteger(limit) && limit >= 1 && limit <= 10_000) return limit;
  throw new AuditkeepError('USAGE', { message: '--limit is not between 1 and 10000', hint: 'give a whole number' });
}

function describeQueued(job: QueuedJob): string {
  const name = job.sourceJob ?? job.job;
  const error = job.errorCode === null ? '' : `  ${job.errorCode}: ${job.message ?? ''}`;
  return `${job.id}  ${name.padEnd(NAME_WIDTH)}  ${job.state.padEnd(STATE_WIDTH)}  attempt ${job.retryCount + 1} of ${job.retryLimit + 1}  ${secondsOf(job.createdAt)}${error}`;
}

function describeAttempt(run: Run): string {
  const counts = Object.entries(run.counts).map(([name, count]) => `${name}=${count}`);
  const end = run.outcome === null ? 'running' : `${run.outcome} ${run.errorCode ?? ''}`.trim();
  return `  attempt ${run.attempt}  ${secondsOf(run.startedAt)}  ${end}  ${run.summary ?? ''} ${counts.join(' ')}`.trimEnd();
}
