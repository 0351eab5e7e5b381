/** Reports by schedule: what they wait for, what is caught up after downtime, and whose they are. */
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { sealChain } from '../../src/audit/seal/seal.ts';
import { queryRows } from '../../src/db/query.ts';
import { runAttempt } from '../../src/jobs/attempt.ts';
import { installQueues } from '../../src/jobs/install.ts';
import { openQueue, type Queue } from '../../src/jobs/queue.ts';
import { findJob } from '../../src/jobs/registry.ts';
import { enqueueDue, listSchedules } from '../../src/jobs/schedule.ts';
import { changeSchedule } from '../../src/jobs/store.ts';
import { SERVICE_PERSON } from '../../src/persons/roles.ts';
import { generateReport } from '../../src/reports/generate/generate.ts';
import { frameworksReported } from '../../src/reports/generate/scheduled.ts';
import { listReports } from '../../src/reports/model/read.ts';
import { systemClock } from '../../src/time/clock.ts';
import { ensureMonths, insertEvents } from '../retention/rows.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';

const db = useDatabase();
const quarterly = findJob('report-quarterly');
let ctx: TestContext;
let queue: Queue;
beforeAll(async () => {
  await db.as('auditkeep_owner').withClient((client) => installQueues(client));
  const log = pino({ level: 'silent' });
  queue = await openQueue({ url: db.url('auditkeep_engine'), role: 'auditkeep_engine', log, clock: systemClock });
  const plain = await testContext(db);
  const reports = { fiscalYearStart: 1, frequencies: { gdpr: [], 'iso-27001': [], hipaa: [] } };
  // A worker whose configuration names a person: what it makes by schedule is not that person's.
  const actor = { kind: 'person' as const, email: 'worker@example.org', keyFile: null };
  ctx = { ...plain, config: { ...plain.config, reports }, actor };
});
afterAll(() => queue.close());

const due = () => enqueueDue(ctx, queue, [quarterly], { retryFailed: false });

/** Takes what waits in the queue and does it, as a worker would; gives how it ended: `ok`, whatever reports found, or the code. */
async function work(input?: object): Promise<string | undefined> {
  const shape = z.object({ data: z.unknown() });
  const taken = await db.admin.withClient((client) =>
    queryRows(client, shape, `delete from pgboss.job where name = 'report-quarterly' returning data`),
  );
  const data = input === undefined ? taken[0]?.data : { input, dueAt: null };
  const { signal } = new AbortController();
  const { output } = await runAttempt(ctx, quarterly, { id: crypto.randomUUID(), retryCount: 0, data, signal });
  return ['done', 'findings'].includes(output.outcome) ? 'ok' : output.code;
}

const reports = async () =>
  (await listReports(ctx))
    .filter(({ interim }) => !interim)
    .map(({ framework, periodStart, generatedBy, status }) => {
      expect([generatedBy, status]).toEqual([SERVICE_PERSON, 'draft']);
      return `${framework} ${periodStart}`;
    });

test('are offered paused, and a paused one is never due', async () => {
  ctx.clock.set('2023-12-20T00:00:00Z');
  const views = await listSchedules(
    ctx,
    ['report-monthly', 'report-quarterly', 'report-yearly'].map((name) => findJob(name)),
  );
  expect(views.map(({ paused, nextDueAt }) => [paused, nextDueAt])).toEqual(views.map(() => [true, null]));
  expect(views).toHaveLength(3);
  expect(await due()).toEqual([]);
});

test('wait until the period is over for 24 hours and its events are sealed', async () => {
  await ensureMonths(db.engine, ['2023-12']);
  const change = { job: quarterly.name, cron: '0 5 1 1,4,7,10 *', timeZone: 'UTC', paused: false };
  const by = { changedBy: 'ops@example.org', reason: 'SOX' };
  await db.engine.withClient((client) => changeSchedule(client, { ...change, ...by }, ctx.clock.now()));
  // The run that was due before the schedule came into force is of a period that nobody missed, and is caught up as well.
  expect(await due()).toEqual(['report-quarterly']);
  expect(await work()).toBe('ok');
  expect(await reports()).toEqual(['sox 2023-07-01']);
  await db.engine.withClient((client) => insertEvents(client, '2023-12-31T23:00:00Z', 2));
  ctx.clock.set('2024-01-01T05:00:00Z');
  expect(await due()).toEqual([]);
  ctx.clock.set('2024-01-02T00:00:00Z');
  expect(await due()).toEqual([]);
  await sealChain(ctx);
  ctx.clock.set('2024-01-01T23:59:59.999Z');
  expect(await due()).toEqual([]);
  ctx.clock.set('2024-01-02T00:00:00Z');
  expect(await due()).toEqual(['report-quarterly']);
  expect(await work()).toBe('ok');
  expect(await reports()).toContain('sox 2023-10-01');
});

test('after three missed quarters one run makes each of the three reports, once', async () => {
  ctx.clock.set('2024-10-20T00:00:00Z');
  expect(await due()).toEqual(['report-quarterly']);
  expect(await work()).toBe('ok');
  const made = ['2024-07-01', '2024-04-01', '2024-01-01', '2023-10-01', '2023-07-01'].map((start) => `sox ${start}`);
  expect((await reports()).sort()).toEqual(made.sort());
  expect(await due()).toEqual([]);
  const states = await db.report.withClient((client) =>
    queryRows(
      client,
      z.object({ due: z.string(), state: z.string(), by: z.string().nullable() }),
      `select due_at::date::text as due, state, caught_up_by as by from facts.due_run where job = 'report-quarterly' order by 1`,
    ),
  );
  const [, first, second] = states;
  expect(states.map(({ due: at, state }) => [at, state])).toEqual([
    ['2024-01-01', 'run'],
    ['2024-04-01', 'caught up'],
    ['2024-07-01', 'caught up'],
    ['2024-10-01', 'run'],
  ]);
  expect(first?.by).toMatch(/^[0-9a-f-]{36}$/);
  expect(second?.by).toBe(first?.by);
});

test('a run on request makes the last period’s where it is missing, and refuses one that is not over for a day', async () => {
  expect(await work({})).toBe('ok');
  expect(await reports()).toHaveLength(5);
  ctx.clock.set('2025-01-01T12:00:00Z');
  expect(await work({})).toBe('REPORT_PERIOD');
  expect(await work({ dueAt: 'yesterday' })).toBe('INPUT_INVALID');
  // An interim one does not stand for the report of the period.
  const service = { ...ctx, actor: { kind: 'service' as const, name: 'test' } };
  await generateReport(service, { framework: 'sox', period: '2024-Q4', interim: true });
  ctx.clock.set('2025-01-02T00:00:00Z');
  expect(await work({})).toBe('ok');
  expect(await reports()).toContain('sox 2024-10-01');
});

test('are of the frameworks that their templates or the configuration name', async () => {
  const of = (frequencies: Record<string, ('monthly' | 'quarterly' | 'yearly')[]>) =>
    Promise.all(
      (['monthly', 'quarterly', 'yearly'] as const).map((frequency) =>
        frameworksReported({ reports: { fiscalYearStart: 1, frequencies } }, frequency),
      ),
    );
  expect(await of({})).toEqual([['hipaa'], ['gdpr', 'sox'], ['gdpr', 'hipaa', 'iso-27001', 'sox']]);
  expect(await of({ gdpr: [], sox: ['monthly'] })).toEqual([['hipaa', 'sox'], [], ['hipaa', 'iso-27001']]);
  await expect(of({ soxx: ['monthly'] })).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
});
