/** An attempt that was given up as lost while it still ran. */
import { expect, test } from 'vitest';
import { runAttempt } from '../../src/jobs/attempt.ts';
import { listAttempts, startRun } from '../../src/jobs/store.ts';
import { testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { markJob } from './test-jobs.ts';

const db = useDatabase();

test('does not settle the job as done', async () => {
  const ctx = await testContext(db);
  const id = '00000000-0000-4000-8000-000000000001';
  const start = { job: 'mark', queueJobId: id, dueAt: null, startedAt: ctx.clock.now() };
  const overtaken = {
    ...markJob,
    run: async () => {
      await ctx.db.withClient((client) => startRun(client, { ...start, attempt: 2 }));
      return { summary: 'done', counts: {} };
    },
  };
  const delivery = { id, retryCount: 0, data: { input: {}, dueAt: null }, signal: new AbortController().signal };
  expect(await runAttempt(ctx, overtaken, delivery)).toMatchObject({ status: 'failed', output: { outcome: 'lost' } });
  const attempts = await db.engine.withClient((client) => listAttempts(client, id));
  expect(attempts.map((run) => run.outcome)).toEqual(['lost', null]);
});
