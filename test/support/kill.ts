/**
 * A process of the product that is killed (SIGKILL) at a known point: it stands before a relation that the test has
 * locked. Nothing is timed: the database says that the process waits for the test's own session.
 */
import { expect } from 'vitest';
import { z } from 'zod';
import type { Database } from '../../src/db/database.ts';
import { queryOne, queryRows } from '../../src/db/query.ts';
import { PRODUCT, startCli } from '../cli/process.ts';
import type { TestDatabase } from './database.ts';

const countShape = z.object({ n: z.number() });
const CANARIES = 'ops.plant_canaries';

/** The leaf of audit_log that takes the events of today: whoever records an event stands before its lock. */
export async function eventLeaf(admin: Database): Promise<string> {
  const row = await admin.withClient((client) =>
    queryOne(
      client,
      z.object({ leaf: z.string() }),
      `select l.relation::text as leaf from retention.leaves('audit.audit_log') l
        where l.lower_bound <= now() and now() < l.upper_bound`,
    ),
  );
  return row.leaf;
}

/**
 * Runs fn when another session of this database waits for a lock that a session of ours holds on the relation (in SHARE
 * mode: others read it, nobody writes it), and gives the lock back afterwards.
 */
export async function whileWaiting<T>(admin: Database, relation: string, start: () => T, fn: (started: T) => unknown) {
  await whileHeld(admin, `lock table ${relation} in share mode`, start, fn);
}

/** The same for the locks that any statement takes. */
export async function whileHeld<T>(admin: Database, statement: string, start: () => T, fn: (started: T) => unknown) {
  await admin.withClient(async (holder) => {
    const lock = `begin; ${statement}`;
    await holder.query(lock);
    const { n: pid } = await queryOne(holder, countShape, 'select pg_backend_pid() as n');
    const started = start();
    // A process that starts plants canaries, which are events too. Behind them the lock is the next in the queue.
    while ((await firstWaiting(admin, pid)).includes(CANARIES)) await holder.query(`rollback; ${lock}`);
    await fn(started);
    // A holder whose server is gone has nothing to give back.
    await holder.query('rollback').catch(() => null);
  });
}

/** The first statement that waits for a session, once there is one. */
async function firstWaiting(admin: Database, pid: number): Promise<string> {
  const text = 'select query from pg_stat_activity where $1::int = any (pg_blocking_pids(pid))';
  const waiting: string[] = [];
  const read = async () => {
    const shape = z.object({ query: z.string() });
    const rows = await admin.withClient((client) => queryRows(client, shape, text, [pid]));
    return waiting.push(...rows.map(({ query }) => query));
  };
  await expect.poll(read, { timeout: 60_000, interval: 20 }).toBeGreaterThan(0);
  return waiting[0] ?? '';
}

/** Starts a command, kills it while it waits for the relation, and returns when its sessions have ended. */
export async function killCommand(db: TestDatabase, relation: string, args: readonly string[], home: string) {
  const env = { DATABASE_URL: db.url(), AUDITKEEP_HOME: home };
  await whileWaiting(
    db.admin,
    relation,
    () => startCli(args, env, { entry: PRODUCT }),
    async ({ child, ended }) => {
      child.kill('SIGKILL');
      expect((await ended).signal).toBe('SIGKILL');
    },
  );
  // A session notices that its client is gone when its statement ends: now that the lock is free.
  const left = `select count(*)::int as n from pg_stat_activity
                 where datname = current_database() and application_name in ('auditkeep', 'auditkeep-queue')`;
  const sessions = async () => (await db.admin.withClient((client) => queryOne(client, countShape, left))).n;
  await expect.poll(sessions, { timeout: 20_000, interval: 20 }).toBe(0);
}
