/** When jobs run: seeing, changing, pausing, and running one now. */
import { recordEvent } from '../audit/record/record.ts';
import type { Context } from '../context.ts';
import { inTransaction } from '../db/transaction.ts';
import { AuditkeepError } from '../errors.ts';
import { checkSchedule } from '../jobs/cron.ts';
import { enqueueJob } from '../jobs/queue.ts';
import { findJob, JOBS } from '../jobs/registry.ts';
import { listSchedules, type ScheduleView } from '../jobs/schedule.ts';
import { changeSchedule } from '../jobs/store.ts';
import { isoOf, secondsOf } from '../time/clock.ts';
import { type AnyCommand, defineCommand, type Session } from './command.ts';
import { dryRunOption, NOTHING_CHANGED, withDryRun } from './dry-run.ts';

const list = defineCommand({
  path: ['schedule', 'list'],
  summary: 'every schedule with its last and next due time',
  examples: [['auditkeep schedule list', 'cron, zone, next run']],
  options: (yargs) => yargs,
  async run(session) {
    const schedules = (await listSchedules(await session.context(), JOBS)).map(printable);
    const text = schedules.map(
      ({ job, cron, timeZone, paused, nextDueAt }) =>
        `${job.padEnd(20)} ${cron.padEnd(14)} ${timeZone.padEnd(14)} ${paused ? 'paused' : `next ${secondsOf(nextDueAt ?? '')}`}`,
    );
    return { data: { schedules }, text: text.length === 0 ? 'no schedules' : text.join('\n') };
  },
});

const set = defineCommand({
  path: ['schedule', 'set'],
  positionals: '<job>',
  summary: 'change when a job runs',
  examples: [['auditkeep schedule set archive --cron "30 2 * * *" --zone Europe/Paris --reason "quiet hours"', '']],
  options: (yargs) =>
    jobAndReason(yargs)
      .option('cron', { type: 'string', demandOption: true, requiresArg: true, describe: 'five cron fields' })
      .option('zone', { type: 'string', default: 'UTC', requiresArg: true, describe: 'IANA time zone' }),
  run: (session, { cron, zone, ...args }) => change(session, args, () => ({ cron, timeZone: zone, paused: false })),
});

const pause = defineCommand({
  path: ['schedule', 'pause'],
  positionals: '<job>',
  summary: 'run a job on request only, until resumed',
  examples: [['auditkeep schedule pause archive --reason "storage migration"', '']],
  options: jobAndReason,
  run: (session, args) => change(session, args, (now) => ({ ...now, paused: true })),
});

const resume = defineCommand({
  path: ['schedule', 'resume'],
  positionals: '<job>',
  summary: 'follow the schedule again; a missed run is caught up once',
  examples: [['auditkeep schedule resume archive --reason "migration done"', '']],
  options: jobAndReason,
  run: (session, args) => change(session, args, (now) => ({ ...now, paused: false })),
});

const run = defineCommand({
  path: ['schedule', 'run'],
  positionals: '<job>',
  summary: 'queue a job now; a worker runs it',
  examples: [['auditkeep schedule run archive', 'then: auditkeep worker --once']],
  options: (yargs) =>
    yargs
      .positional('job', { type: 'string', demandOption: true, describe: 'job name' })
      .option('dry-run', dryRunOption),
  async run(session, { job: name, 'dry-run': dryRun }) {
    const job = findJob(name);
    const ctx = await session.context({ dryRun });
    const queue = await session.queue();
    const id = await inTransaction(ctx.db, async (client) => {
      const queued = await enqueueJob(queue, job, { input: {}, dueAt: null }, client);
      if (queued !== null) await recordRequest(ctx, client, 'job.requested', 'REQUEST', name, { id: queued });
      return queued;
    });
    if (id === null) return { data: { job: name, id }, text: withDryRun(`${name} already waits or runs`, dryRun) };
    if (dryRun) return { data: { job: name, id: null }, text: `${name} would be queued\n${NOTHING_CHANGED}` };
    return { data: { job: name, id }, text: `${name} is queued as ${id}` };
  },
});

/** Every command about schedules. */
export const scheduleCommands: readonly AnyCommand[] = [list, set, pause, resume, run];

function jobAndReason(yargs: Parameters<AnyCommand['options']>[0]) {
  return yargs
    .positional('job', { type: 'string', demandOption: true, describe: 'job name' })
    .option('reason', { type: 'string', demandOption: true, requiresArg: true, describe: 'kept in the history' })
    .option('dry-run', dryRunOption);
}

type Times = Pick<ScheduleView, 'cron' | 'timeZone' | 'paused'>;

/** A schedule that has never been set starts from the job's own; one without any needs `schedule set` first. */
async function change(
  session: Session,
  { job: name, reason, 'dry-run': dryRun }: { job: string; reason: string; 'dry-run': boolean },
  next: (now: Times) => Times,
) {
  const job = findJob(name);
  const ctx = await session.context({ dryRun });
  const current = (await listSchedules(ctx, [job]))[0];
  const wanted = next(current ?? { cron: '', timeZone: 'UTC', paused: false });
  checkSchedule(wanted, ctx.clock.now());
  if (reason.trim() === '') throw new AuditkeepError('USAGE', { message: '--reason is empty', hint: 'say why' });
  const { cron, timeZone, paused } = wanted;
  const text = `${name}: ${cron} ${timeZone}${paused ? ', paused' : ''}`;
  const changedBy = ctx.actor.kind === 'person' ? ctx.actor.email : ctx.actor.name;
  const version = await inTransaction(ctx.db, async (client) => {
    const given = await changeSchedule(
      client,
      { job: name, cron, timeZone, paused, changedBy, reason },
      ctx.clock.now(),
    );
    await recordRequest(ctx, client, 'schedule.changed', 'UPDATE', name, { version: given, cron, timeZone, paused });
    return given;
  });
  const data = { job: name, cron, timeZone, paused };
  if (dryRun) return { data: { ...data, version: null }, text: `${text}\n${NOTHING_CHANGED}` };
  return { data: { ...data, version }, text: `${text} (version ${version})` };
}

async function recordRequest(
  ctx: Context,
  client: Parameters<typeof recordEvent>[1],
  type: string,
  action: string,
  job: string,
  details: Readonly<Record<string, string | number | boolean>>,
): Promise<void> {
  await recordEvent(ctx, client, { type, category: 'admin', action, resourceType: 'job', resourceId: job, details });
}

function printable(schedule: ScheduleView) {
  const { lastDueAt, nextDueAt } = schedule;
  return {
    ...schedule,
    lastDueAt: lastDueAt === null ? null : isoOf(lastDueAt),
    nextDueAt: nextDueAt === null ? null : isoOf(nextDueAt),
  };
}
