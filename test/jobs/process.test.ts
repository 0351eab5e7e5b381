/** Workers as processes: killed, told to stop, and left alone by their database. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openDatabase } from '../../src/db/database.ts';
import { startEmbedded, stopEmbedded } from '../../src/db/embedded.ts';
import { execute } from '../../src/db/query.ts';
import { enqueueJob, openQueue } from '../../src/jobs/queue.ts';
import { migrate } from '../../src/schema/migrate.ts';
import { systemClock } from '../../src/time/clock.ts';
import { type Started, startCli } from '../cli/process.ts';
import { useDatabase } from '../support/database.ts';
import { clearMarks, countMarks, gateJob, installTestJobs, markJob, outcomesOf, setMark, until } from './test-jobs.ts';

const db = useDatabase();
let home = '';
const started: Started[] = [];

beforeAll(() => installTestJobs(db.admin, db.as('auditkeep_owner')));
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'auditkeep-test-home-'));
  await clearMarks(db.admin);
});
afterEach(async () => {
  for (const { child } of started.splice(0)) child.kill('SIGKILL');
  await stopEmbedded(home);
  await rm(home, { recursive: true, force: true });
});

async function startWorker(url = db.url()): Promise<Started> {
  const worker = startCli(['worker'], { DATABASE_URL: url, AUDITKEEP_HOME: home });
  started.push(worker);
  await worker.said('working on');
  return worker;
}

async function enqueue(job: typeof markJob, mark: string, url = db.url('auditkeep_engine')): Promise<void> {
  const log = pino({ level: 'silent' });
  const queue = await openQueue({ url, role: 'auditkeep_engine', log, clock: systemClock });
  await enqueueJob(queue, job, { input: { mark }, dueAt: null });
  await queue.close();
}

const marks = (mark: string) => countMarks(db.engine, mark);

describe('a worker process', () => {
  it('killed in the middle of a job leaves it to another, which ends it once', async () => {
    const first = await startWorker();
    await enqueue(gateJob, 'k');
    await until('it runs', async () => (await marks('k-started')) === 1);
    first.child.kill('SIGKILL');
    expect((await first.ended).signal).toBe('SIGKILL');
    await startWorker();
    // The heartbeat of the dead worker is made old, so that the test need not wait for it to grow old.
    await db.admin.withClient((client) =>
      execute(client, `update pgboss.job set heartbeat_on = now() - interval '1 hour' where state = 'active'`),
    );
    await until('another worker took it', async () => (await marks('k-started')) === 2, 60_000);
    await setMark(db.admin, 'open');
    await until('it ended', async () => (await marks('k-ended')) === 1);
    await until('it is recorded', async () => (await outcomesOf(db.engine, 'test-gate')).at(-1)?.outcome === 'done');
    expect((await outcomesOf(db.engine, 'test-gate')).map((run) => run.outcome)).toEqual(['lost', 'done']);
    expect(await marks('k-ended')).toBe(1);
  }, 90_000);

  it('told to stop ends the running job, takes no other, and exits 0', async () => {
    const worker = await startWorker();
    await enqueue(gateJob, 't');
    await until('it runs', async () => (await marks('t-started')) === 1);
    worker.child.kill('SIGTERM');
    await worker.said('stopping');
    await enqueue(markJob, 'late');
    await setMark(db.admin, 'open');
    const ended = await worker.ended;
    expect(ended).toMatchObject({ code: 0, signal: null });
    expect(await marks('t-ended')).toBe(1);
    expect(await marks('late')).toBe(0);
    expect((await outcomesOf(db.engine, 'test-gate')).at(-1)).toEqual({ outcome: 'done', code: null });
  });

  it('told twice ends at once', async () => {
    const worker = await startWorker();
    await enqueue(gateJob, 'u');
    await until('it runs', async () => (await marks('u-started')) === 1);
    worker.child.kill('SIGTERM');
    await worker.said('stopping');
    worker.child.kill('SIGTERM');
    expect((await worker.ended).signal).toBe('SIGTERM');
    expect(await marks('u-ended')).toBe(0);
  });

  it('goes on when the database was away', async () => {
    const server = await startEmbedded(home);
    const admin = openDatabase({ url: server.url, applicationName: 'test' });
    await migrate(admin);
    const owner = openDatabase({ url: server.url, role: 'auditkeep_owner', applicationName: 'test' });
    await installTestJobs(admin, owner);
    await Promise.all([admin.end(), owner.end()]);
    const worker = await startWorker(server.url);
    await stopEmbedded(home);
    const again = await startEmbedded(home);
    expect(again.url).toBe(server.url);
    await enqueue(markJob, 'after', again.url);
    const reader = openDatabase({ url: again.url, applicationName: 'test' });
    await until('it ran', async () => (await countMarks(reader, 'after')) === 1);
    await reader.end();
    worker.child.kill('SIGTERM');
    expect(await worker.ended).toMatchObject({ code: 0 });
  });
});
