/** What is due: pure arithmetic of cron, then enqueueing with two lookers at once. */

import { pino } from 'pino';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { sqlStateOf } from '../../src/db/errors.ts';
import { queryRows } from '../../src/db/query.ts';
import { checkSchedule, lastDue, nextDue } from '../../src/jobs/cron.ts';
import { installQueues } from '../../src/jobs/install.ts';
import type { AnyJob } from '../../src/jobs/job.ts';
import { openQueue, type Queue } from '../../src/jobs/queue.ts';
import { listQueued } from '../../src/jobs/queue-store.ts';
import { enqueueDue, listSchedules } from '../../src/jobs/schedule.ts';
import { changeSchedule, finishRun, startRun } from '../../src/jobs/store.ts';
import { isoOf, parseInstant, systemClock, toInstant, type UtcInstant } from '../../src/time/clock.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { dailyJob, installTestJobs, TEST_JOBS } from './test-jobs.ts';

const at = (text: string): UtcInstant => parseInstant(text) ?? toInstant(Number.NaN);

describe('cron', () => {
  it.each([
    ['0 3 * * *', 'UTC', '2026-03-15T12:00:00Z', '2026-03-15T03:00:00.000Z', '2026-03-16T03:00:00.000Z'],
    ['0 3 * * *', 'UTC', '2026-03-15T03:00:00Z', '2026-03-15T03:00:00.000Z', '2026-03-16T03:00:00.000Z'],
    ['0 3 * * *', 'UTC', '2026-03-15T02:59:59Z', '2026-03-14T03:00:00.000Z', '2026-03-15T03:00:00.000Z'],
    ['0 0 1 * *', 'UTC', '2026-03-15T00:00:00Z', '2026-03-01T00:00:00.000Z', '2026-04-01T00:00:00.000Z'],
    ['30 3 * * *', 'Europe/Paris', '2026-07-01T00:00:00Z', '2026-06-30T01:30:00.000Z', '2026-07-01T01:30:00.000Z'],
  ])('%s in %s at %s was due %s and is next due %s', (cron, timeZone, now, last, next) => {
    expect(isoOf(lastDue({ cron, timeZone }, at(now)))).toBe(last);
    expect(isoOf(nextDue({ cron, timeZone }, at(now)))).toBe(next);
  });

  it.each([
    ['* * * * * *', 'UTC'],
    ['61 * * * *', 'UTC'],
    ['* * * *', 'UTC'],
    ['', 'UTC'],
    ['0 3 * * *', 'Mars/Olympus'],
  ])('refuses %j in %s', (cron, timeZone) => {
    expect(() => checkSchedule({ cron, timeZone }, at('2026-03-15T00:00:00Z'))).toThrowError(
      expect.objectContaining({ code: 'INPUT_INVALID' }),
    );
  });
});

const db = useDatabase();
let ctx: TestContext;
let queue: Queue;
beforeAll(async () => {
  await installTestJobs(db.admin, db.as('auditkeep_owner'));
  const log = pino({ level: 'silent' });
  queue = await openQueue({ url: db.url('auditkeep_engine'), role: 'auditkeep_engine', log, clock: systemClock });
});
afterAll(() => queue.close());
beforeEach(async () => {
  ctx = await testContext(db);
  await db.admin.withClient((client) => client.query('delete from pgboss.job'));
});

const due = (retryFailed = false) => enqueueDue(ctx, queue, TEST_JOBS, { retryFailed });
const queued = () =>
  db.engine.withClient((client) => listQueued(client, { names: ['test-daily'], states: ['created'], limit: 9 }));

/** Ends the run that was due, as a worker would. */
async function end(dueAt: string, outcome: 'done' | 'failed'): Promise<void> {
  await db.admin.withClient((client) => client.query('delete from pgboss.job'));
  await db.engine.withClient(async (client) => {
    const queueJobId = crypto.randomUUID();
    const startedAt = ctx.clock.now();
    const id = await startRun(client, { job: 'test-daily', queueJobId, attempt: 1, dueAt, startedAt });
    const end = { finishedAt: startedAt, outcome, summary: '', counts: {}, errorCode: null };
    expect(await finishRun(client, id, end)).toBe(true);
    expect(await finishRun(client, id, end)).toBe(false);
  });
}

describe('what is due', () => {
  it('is enqueued once, however many runs were missed and however many look', async () => {
    ctx.clock.set('2026-03-15T12:00:00Z');
    const names = (await Promise.all([due(), due(), due()])).flat();
    expect(names).toEqual(['test-daily']);
    expect((await queued()).map((job) => job.dueAt)).toEqual(['2026-03-15T03:00:00.000Z']);
    expect(await due()).toEqual([]);
    await end('2026-03-15T03:00:00Z', 'done');
    expect(await due()).toEqual([]);
    ctx.clock.set('2026-03-19T02:00:00Z');
    expect(await due()).toEqual(['test-daily']);
    expect((await queued()).map((job) => job.dueAt)).toEqual(['2026-03-18T03:00:00.000Z']);
  });

  it('is due again after a failure only for worker --once', async () => {
    ctx.clock.set('2026-04-01T12:00:00Z');
    expect(await due()).toEqual(['test-daily']);
    await end('2026-04-01T03:00:00Z', 'failed');
    expect(await due()).toEqual([]);
    expect(await due(true)).toEqual(['test-daily']);
  });

  it('waits while paused; history and release defaults stay apart', async () => {
    ctx.clock.set('2026-05-01T12:00:00Z');
    const change = { job: 'test-daily', cron: '0 4 * * *', timeZone: 'UTC', changedBy: 'ops', reason: 'quiet' };
    const at = ctx.clock.now();
    const version = await db.engine.withClient((client) => changeSchedule(client, { ...change, paused: true }, at));
    expect(version).toBe(2);
    expect(await due()).toEqual([]);
    await db.as('auditkeep_owner').withClient((client) => installQueues(client, TEST_JOBS));
    const [schedule] = await listSchedules(ctx, [dailyJob]);
    expect(schedule).toMatchObject({ version: 2, cron: '0 4 * * *', paused: true, nextDueAt: null });
    await db.engine.withClient((client) => changeSchedule(client, { ...change, paused: false }, at));
    expect(await due()).toEqual(['test-daily']);
    expect((await queued()).map((job) => job.dueAt)).toEqual(['2026-05-01T04:00:00.000Z']);
  });
});

describe('a schedule whose job is gone from the code', () => {
  const gone = { job: 'test-gone', cron: '0 3 * * *', timeZone: 'UTC', paused: false, changedBy: 'auditkeep' };
  const asked = (text: string) =>
    db.admin.withClient((client) => queryRows(client, z.object({ value: z.string() }), text));

  it('is kept as history, and neither listed, enqueued nor noted as due', async () => {
    ctx.clock.set('2026-06-01T12:00:00Z');
    const before = parseInstant('2026-05-20T00:00:00Z') ?? toInstant(0);
    const change = { ...gone, reason: 'of an older release' };
    await db.engine.withClient((client) => changeSchedule(client, change, before));
    expect((await listSchedules(ctx, TEST_JOBS)).map(({ job }) => job)).toEqual(['test-daily']);
    expect(await listSchedules(ctx, [])).toEqual([]);
    expect(await due()).toEqual(['test-daily']);
    expect(await asked(`select distinct job as value from ops.due where due_at > '2026-05-20'`)).toEqual([
      { value: 'test-daily' },
    ]);
    expect(await asked(`select reason as value from ops.schedule where job = 'test-gone'`)).toEqual([
      { value: 'of an older release' },
    ]);
  });
});

describe('a default that a release takes back', () => {
  const without = { ...dailyJob, schedule: null };
  const install = (job: AnyJob) => db.as('auditkeep_owner').withClient((client) => installQueues(client, [job]));
  const state = async () => {
    const [view] = await listSchedules(ctx, [dailyJob]);
    return [view?.paused, view?.changedBy, view?.version];
  };

  it('is paused, and comes back with the default; an operator’s own is left alone', async () => {
    const change = { job: 'test-daily', cron: '0 3 * * *', timeZone: 'UTC', paused: false };
    const put = (changedBy: string, reason: string, cron: string) =>
      db.engine.withClient((client) => changeSchedule(client, { ...change, cron, changedBy, reason }, ctx.clock.now()));
    // Whoever names nobody on the command line acts as the service.
    for (const [by, reason] of [
      ['ops@example.org', 'default of the release'],
      ['auditkeep', 'quiet hours'],
    ] as const) {
      const version = await put(by, reason, '0 5 * * *');
      await install(without);
      await install(dailyJob);
      expect(await state()).toEqual([false, by, version]);
    }
    const version = await put('auditkeep', 'default of the release', '0 3 * * *');
    await install(without);
    await install(without);
    expect(await state()).toEqual([true, 'auditkeep', version + 1]);
    await install(dailyJob);
    await install(dailyJob);
    expect(await state()).toEqual([false, 'auditkeep', version + 2]);
  });
});

describe('the engine', () => {
  it.each([
    ['change an ended run', `update ops.run set outcome = 'done'`],
    [
      'write a run by hand',
      `insert into ops.run (job, queue_job_id, attempt, started_at) values ('x', gen_random_uuid(), 1, now())`,
    ],
    ['forget a run', 'delete from ops.run'],
    ['change history of schedules', `update ops.schedule_version set cron = '* * * * *'`],
    ['make a table of the queue', 'create table pgboss.x (a int)'],
    ['drop a queue table', 'drop table pgboss.job_common'],
  ])('may not %s', async (_what, statement) => {
    const error: unknown = await db.engine
      .withClient((client) => client.query(statement))
      .catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'DB_PRIVILEGE' });
  });

  it('may not even be helped by the owner to change an ended run', async () => {
    const error: unknown = await db.admin
      .withClient((client) => client.query(`update ops.run set summary = 'nicer' where finished_at is not null`))
      .catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'DB_PRIVILEGE' });
    expect(error instanceof Error && error.message).toContain('a finished run never changes');
    expect(sqlStateOf(error instanceof Error ? error.cause : null)).toBe('42501');
  });

  it('supervises the queue without DDL', async () => {
    const errors: Error[] = [];
    queue.boss.on('error', (error) => errors.push(error));
    await queue.boss.supervise();
    expect(errors).toEqual([]);
  });
});
