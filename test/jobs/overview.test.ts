/** The overview against a database in which something happened. */
import { beforeAll, expect, it } from 'vitest';
import { installQueues } from '../../src/jobs/install.ts';
import { readOverview } from '../../src/jobs/overview.ts';
import { finishRun, startRun } from '../../src/jobs/store.ts';
import { toInstant } from '../../src/time/clock.ts';
import { testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';

const db = useDatabase();
beforeAll(() => db.as('auditkeep_owner').withClient((client) => installQueues(client, [])));

it('tells what waits, what ran last and how far partitions reach', async () => {
  const ctx = await testContext(db);
  const before = await readOverview(ctx);
  expect(before).toMatchObject({
    chain: { events: 0n, unsealed: 0 },
    checkpoint: null,
    lastVerification: null,
    runs: [],
    queue: { waiting: 0, running: 0, dead: 0 },
    reports: [],
  });
  expect(before.horizon?.daysLeft).toBeTypeOf('number');

  ctx.clock.advance(10 * 86_400_000);
  await db.engine.withClient(async (client) => {
    for (const [attempt, job] of [
      [1, 'verify-chain'],
      [1, 'archive'],
      [2, 'archive'],
    ] as const) {
      const startedAt = toInstant(ctx.clock.now() + attempt);
      const queueJobId = crypto.randomUUID();
      const id = await startRun(client, { job, queueJobId, attempt, dueAt: null, startedAt });
      const outcome = attempt === 2 ? 'failed' : 'done';
      await finishRun(client, id, { finishedAt: startedAt, outcome, summary: job, counts: {}, errorCode: null });
    }
  });
  await db.admin.withClient((client) =>
    client.query(`insert into audit.audit_log (event_type, event_category, event_action, resource_type, result, service_name)
                  select 'test', 'system', 'TEST', 'test', 'success', 'test' from generate_series(1, 3)`),
  );
  const after = await readOverview(ctx);
  expect(after.lastVerification).toMatchObject({ job: 'verify-chain', outcome: 'done' });
  expect(after.runs.map(({ job, outcome }) => [job, outcome])).toEqual([
    ['archive', 'failed'],
    ['verify-chain', 'done'],
  ]);
  expect(after.chain.unsealed).toBe(3);
  expect(after.horizon?.daysLeft).toBe((before.horizon?.daysLeft ?? 0) - 10);
});
