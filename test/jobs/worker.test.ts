/** A worker in this process on a real database, connected as the engine's own login. */

import { pino } from 'pino';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { queryRows } from '../../src/db/query.ts';
import { inTransaction } from '../../src/db/transaction.ts';
import { DEAD_QUEUE, redriveJob } from '../../src/jobs/dead.ts';
import { drainQueues } from '../../src/jobs/drain.ts';
import { installQueues } from '../../src/jobs/install.ts';
import { enqueueJob, openQueue, type Queue } from '../../src/jobs/queue.ts';
import { listQueued } from '../../src/jobs/queue-store.ts';
import { runJob } from '../../src/jobs/run-job.ts';
import { startWorker, type Worker } from '../../src/jobs/worker.ts';
import { systemClock } from '../../src/time/clock.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import {
  clearMarks,
  countMarks,
  failingJob,
  findingJob,
  gateJob,
  installTestJobs,
  markJob,
  outcomesOf,
  patientJob,
  refusingJob,
  setMark,
  TEST_JOBS,
  until,
} from './test-jobs.ts';

const db = useDatabase();
let ctx: TestContext;
let queue: Queue;
const workers: Worker[] = [];

const open = (supervise: boolean) =>
  openQueue(
    { url: db.url('auditkeep_engine'), role: 'auditkeep_engine', log: pino({ level: 'silent' }), clock: systemClock },
    supervise,
  );

async function work(graceMs = 1_000): Promise<Worker> {
  const worker = await startWorker(ctx, await open(true), { jobs: TEST_JOBS, schedules: false, graceMs });
  workers.push(worker);
  return worker;
}

beforeAll(async () => {
  await installTestJobs(db.admin, db.as('auditkeep_owner'));
  ctx = await testContext(db);
});
beforeEach(async () => {
  await clearMarks(db.admin);
  queue = await open(false);
});
afterEach(async () => {
  await Promise.all(workers.splice(0).map((worker) => worker.stop()));
  await queue.close();
});

describe('a worker', () => {
  it('runs a job and records the attempt', async () => {
    await work();
    const run = await runJob(ctx, queue, markJob, { mark: 'one' });
    expect(run).toMatchObject({
      job: 'test-mark',
      attempt: 1,
      outcome: 'done',
      summary: 'marked',
      counts: { marks: 1 },
    });
    expect(await countMarks(db.engine, 'one')).toBe(1);
  });

  it('retries a failing job, puts it aside, and runs it again on request', async () => {
    await work();
    await expect(runJob(ctx, queue, failingJob)).rejects.toMatchObject({ code: 'JOB_FAILED' });
    expect(await outcomesOf(db.engine, 'test-fail')).toEqual([
      { outcome: 'failed', code: 'INTERNAL' },
      { outcome: 'failed', code: 'INTERNAL' },
    ]);
    const [dead] = await listDead();
    expect(dead).toMatchObject({ sourceJob: 'test-fail', errorCode: 'INTERNAL' });
    await setMark(db.admin, 'mended');
    await inTransaction(db.engine, (client) => redriveJob(queue, client, dead?.id ?? ''));
    await until('the job ran again', async () =>
      (await outcomesOf(db.engine, 'test-fail')).some((run) => run.outcome === 'done'),
    );
    expect(await listDead()).toEqual([]);
    await expect(inTransaction(db.engine, (client) => redriveJob(queue, client, dead?.id ?? ''))).rejects.toMatchObject(
      { code: 'JOB_UNKNOWN' },
    );
  });

  it('keeps no data that an unexpected error quotes', async () => {
    await work();
    await expect(runJob(ctx, queue, failingJob)).rejects.toThrow(/Error at /);
    const kept = await db.admin.withClient((client) =>
      queryRows(
        client,
        z.object({ text: z.string() }),
        `select to_jsonb(j)::text as text from pgboss.job j union all select to_jsonb(r)::text from ops.run r`,
      ),
    );
    expect(kept.length).toBeGreaterThan(2);
    expect(kept.filter(({ text }) => text.includes('alice'))).toEqual([]);
  });

  it('does not try again what trying again cannot mend', async () => {
    await work();
    await expect(runJob(ctx, queue, refusingJob)).rejects.toMatchObject({ details: { code: 'INPUT_INVALID' } });
    expect(await outcomesOf(db.engine, 'test-refuse')).toEqual([{ outcome: 'failed', code: 'INPUT_INVALID' }]);
    expect(await listDead()).toHaveLength(1);
  });

  it('shares jobs with another worker, each run once', async () => {
    await Promise.all([work(), work()]);
    const ids = await Promise.all(Array.from({ length: 6 }, (_, n) => enqueueJob(queue, markJob, data(`n${n}`))));
    expect(ids).not.toContain(null);
    await until('all ran', async () => (await outcomesOf(db.engine, 'test-mark')).length >= 7);
    for (let n = 0; n < 6; n += 1) expect(await countMarks(db.engine, `n${n}`)).toBe(1);
  });

  it('has an exclusive job once, waiting or running, with two workers', async () => {
    await Promise.all([work(), work()]);
    expect(await enqueueJob(queue, gateJob, data('first'))).not.toBeNull();
    expect(await enqueueJob(queue, gateJob, data('second'))).toBeNull();
    await until('it runs', async () => (await countMarks(db.engine, 'first-started')) === 1);
    expect(await enqueueJob(queue, gateJob, data('third'))).toBeNull();
    await setMark(db.admin, 'open');
    await until('it ended', async () => (await countMarks(db.engine, 'first-ended')) === 1);
    expect(await countMarks(db.engine, 'second-started')).toBe(0);
  });

  it('asks a long job to stop at a safe point and leaves the rest to the next worker', async () => {
    const worker = await work(200);
    const id = await enqueueJob(queue, patientJob, data('long'));
    await until('it runs', async () => (await countMarks(db.engine, 'long-started')) === 1);
    await worker.stop();
    expect(await outcomesOf(db.engine, 'test-patient')).toEqual([{ outcome: 'stopped', code: 'JOB_STOPPED' }]);
    const [left] = await db.engine.withClient((client) =>
      listQueued(client, { names: ['test-patient'], states: ['retry'], limit: 10 }),
    );
    expect(left?.id).toBe(id);
  });

  it('does not start for a job that has no queue yet', async () => {
    await db.admin.withClient((client) => client.query(`delete from pgboss.queue where name = 'test-refuse'`));
    await expect(work()).rejects.toMatchObject({ code: 'SCHEMA_MISSING', details: { missing: ['test-refuse'] } });
    await db.as('auditkeep_owner').withClient((client) => installQueues(client, TEST_JOBS));
    await work();
  });

  it('forgets a job whose transaction rolled back', async () => {
    await expect(
      inTransaction(db.engine, async (client) => {
        expect(await enqueueJob(queue, markJob, data('ghost'), client)).not.toBeNull();
        throw new Error('rolled back');
      }),
    ).rejects.toThrow('rolled back');
    expect(await listOpen('test-mark')).toEqual([]);
    await inTransaction(db.engine, (client) => enqueueJob(queue, markJob, data('real'), client));
    expect(await listOpen('test-mark')).toHaveLength(1);
  });
});

describe('worker --once', () => {
  const drain = async () =>
    drainQueues(ctx, await open(true), [markJob, failingJob, findingJob], new AbortController().signal);

  it('ends with 0, 1 or 3', async () => {
    expect(await drain()).toEqual({ ran: [], exitCode: 0 });
    await enqueueJob(queue, markJob, data('x'));
    expect(await drain()).toEqual({ ran: [{ job: 'test-mark', outcome: 'done' }], exitCode: 0 });
    await enqueueJob(queue, findingJob, data('x'));
    expect(await drain()).toEqual({ ran: [{ job: 'test-find', outcome: 'findings' }], exitCode: 3 });
    await enqueueJob(queue, findingJob, data('x'));
    await enqueueJob(queue, failingJob, data('x'));
    expect((await drain()).exitCode).toBe(1);
  });
});

const data = (mark: string) => ({ input: { mark }, dueAt: null });
const listOpen = (name: string) =>
  db.engine.withClient((client) =>
    listQueued(client, { names: [name], states: ['created', 'retry', 'active'], limit: 50 }),
  );
const listDead = () => listOpen(DEAD_QUEUE);
