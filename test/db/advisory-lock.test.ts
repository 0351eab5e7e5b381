/** Locks that somebody else holds: nobody waits without a limit, and the holder is named. */
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { lockSession, lockTransaction, readLockHolders, unlockSession } from '../../src/db/advisory-lock.ts';
import { queryOne } from '../../src/db/query.ts';
import { inTransaction } from '../../src/db/transaction.ts';
import { findJob } from '../../src/jobs/registry.ts';
import { testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';

const db = useDatabase();
const anybody = db.as('app_readonly_role');

/** Runs fn while a login without any right holds the lock. */
async function whileHeld(number: number, fn: (pid: number) => Promise<void>): Promise<void> {
  await anybody.withClient(async (client) => {
    await client.query('select pg_advisory_lock(24939, $1)', [number]);
    const { pid } = await queryOne(client, z.object({ pid: z.number() }), 'select pg_backend_pid() as pid');
    await fn(pid);
    await client.query('select pg_advisory_unlock(24939, $1)', [number]);
  });
}

describe.each(['session', 'transaction'])('a %s lock', (kind) => {
  const take = (waitMs: number) =>
    kind === 'transaction'
      ? inTransaction(db.engine, (client) => lockTransaction(client, 'structure', waitMs))
      : db.engine.withClient(async (client) => {
          await lockSession(client, 'structure', 'shared', waitMs);
          await unlockSession(client, 'structure', 'shared');
        });

  test('is given up with the name of its holder', async () => {
    await whileHeld(1, async (pid) => {
      await expect(take(100)).rejects.toMatchObject({
        code: 'DB_LOCKED',
        message: `the lock structure is held by pid ${pid} (postgres, test-app_readonly_role)`,
        details: { lock: 'structure', pids: [pid] },
      });
    });
    await take(0);
  });

  test('is had when the holder lets go in time', async () => {
    let taken: Promise<void> = Promise.resolve();
    await whileHeld(1, () => {
      taken = take(30_000);
      return Promise.resolve();
    });
    await taken;
  });
});

test('status tells who holds what', async () => {
  expect(await db.engine.withClient(readLockHolders)).toEqual([]);
  await whileHeld(2, async (pid) => {
    expect(await db.engine.withClient(readLockHolders)).toMatchObject([{ lock: 'sealer', pid }]);
  });
});

test('the job that seals fails when the sealer’s lock is held while events wait beyond their time', async () => {
  const ctx = await testContext(db);
  const job = findJob('seal-chain');
  const run = () => job.run(ctx, job.input.parse({}), new AbortController().signal);
  const { now } = await queryOneOf('select now()::text as now', z.object({ now: z.string() }));
  ctx.clock.set(now);
  await run();
  await db.engine.withClient((client) =>
    client.query(
      `insert into audit.audit_log (event_type, event_category, event_action) values ('t', 'system', 'CREATE')`,
    ),
  );
  await whileHeld(2, async (pid) => {
    ctx.clock.advance(60_000);
    expect(await run()).toMatchObject({ counts: { sealed: 0 } });
    ctx.clock.advance(300_000);
    await expect(run()).rejects.toMatchObject({ code: 'DB_LOCKED', details: { lock: 'sealer', pids: [pid] } });
  });
  expect(await run()).toMatchObject({ counts: { sealed: 1 } });
});

function queryOneOf<T>(text: string, shape: z.ZodType<T>): Promise<T> {
  return db.admin.withClient((client) => queryOne(client, shape, text));
}
