/** Jobs that leave marks in public.test_mark, so that tests can count what really happened, from any process. */
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import type { Context } from '../../src/context.ts';
import type { Database } from '../../src/db/database.ts';
import { execute, queryOne, queryRows } from '../../src/db/query.ts';
import { AuditkeepError } from '../../src/errors.ts';
import { installQueues } from '../../src/jobs/install.ts';
import { type AnyJob, defineJob, type Job } from '../../src/jobs/job.ts';

const marked = z.looseObject({ mark: z.string().default('-') });
type Marked = z.infer<typeof marked>;

function testJob(name: string, run: Job<Marked>['run'], over: Partial<Job<Marked>> = {}): AnyJob {
  return defineJob<Marked>({
    name,
    summary: name,
    schedule: null,
    policy: 'standard',
    retryLimit: 1,
    timeLimitSeconds: 60,
    input: marked,
    run,
    ...over,
  });
}

export const markJob = testJob('test-mark', async (ctx, { mark }) => {
  await addMark(ctx, mark);
  return { summary: 'marked', counts: { marks: 1 } };
});

/** Starts, waits until the mark `open` exists, ends. */
export const gateJob = testJob(
  'test-gate',
  async (ctx, { mark }) => {
    await addMark(ctx, `${mark}-started`);
    while ((await countMarks(ctx.db, 'open')) === 0) await delay(50);
    await addMark(ctx, `${mark}-ended`);
    return { summary: 'passed the gate', counts: {} };
  },
  { policy: 'exclusive', retryLimit: 3 },
);

/** Waits for its signal and stops at that safe point. */
export const patientJob = testJob('test-patient', async (ctx, { mark }, signal) => {
  await addMark(ctx, `${mark}-started`);
  while (!signal.aborted) await delay(20);
  return { summary: 'stopped early', counts: { left: 1 } };
});

/** Fails until the mark `mended` exists, with a message that quotes data. */
export const failingJob = testJob('test-fail', async (ctx) => {
  if ((await countMarks(ctx.db, 'mended')) > 0) return { summary: 'mended', counts: {} };
  throw new Error('duplicate key (email)=(alice@example.org)');
});

export const refusingJob = testJob('test-refuse', () =>
  Promise.reject(new AuditkeepError('INPUT_INVALID', { message: 'never right', hint: 'give up' })),
);

export const findingJob = testJob('test-find', () =>
  Promise.resolve({ summary: 'found something', counts: { found: 2 }, findings: true }),
);

export const dailyJob = testJob(
  'test-daily',
  async (ctx) => {
    await addMark(ctx, 'daily');
    return { summary: 'daily', counts: {} };
  },
  { schedule: { cron: '0 3 * * *', timeZone: 'UTC' }, policy: 'exclusive' },
);

export const TEST_JOBS = [markJob, gateJob, patientJob, failingJob, refusingJob, findingJob, dailyJob];

/** Makes the marks table and the queues; retries wait no time. */
export async function installTestJobs(admin: Database, owner: Database): Promise<void> {
  await owner.withClient((client) => installQueues(client, TEST_JOBS));
  await admin.withClient(async (client) => {
    await client.query('create table public.test_mark (mark text not null)');
    await client.query('grant select, insert on public.test_mark to auditkeep_engine');
    await client.query('update pgboss.queue set retry_delay = 0, retry_backoff = false');
  });
}

async function addMark(ctx: Pick<Context, 'db'>, mark: string): Promise<void> {
  await ctx.db.withClient((client) => execute(client, 'insert into public.test_mark values ($1)', [mark]));
}

export async function countMarks(db: Database, mark: string): Promise<number> {
  const row = await db.withClient((client) =>
    queryOne(client, z.object({ n: z.number() }), 'select count(*)::int as n from public.test_mark where mark = $1', [
      mark,
    ]),
  );
  return row.n;
}

export async function clearMarks(admin: Database): Promise<void> {
  await admin.withClient(async (client) => {
    await client.query('truncate public.test_mark');
    await client.query('delete from pgboss.job');
  });
}

export function setMark(admin: Database, mark: string): Promise<number> {
  return admin.withClient((client) => execute(client, 'insert into public.test_mark values ($1)', [mark]));
}

/** Waits for a condition that other processes bring about; fails loudly when it never comes. */
export async function until(what: string, condition: () => Promise<boolean>, timeoutMs = 30_000): Promise<void> {
  for (let waited = 0; waited < timeoutMs; waited += 50) {
    if (await condition()) return;
    await delay(50);
  }
  throw new Error(`never happened: ${what}`);
}

export function outcomesOf(db: Database, job: string): Promise<{ outcome: string | null; code: string | null }[]> {
  return db.withClient((client) =>
    queryRows(
      client,
      z.object({ outcome: z.string().nullable(), code: z.string().nullable() }),
      'select outcome, error_code as code from ops.run where job = $1 order by started_at, attempt',
      [job],
    ),
  );
}
