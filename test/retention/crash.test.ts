/**
 * A run that dies in the middle of a step, at the point where its transaction has done everything but record it. The
 * test holds it there with a lock on the events' newest partition, ends its connection and runs again.
 */
import { describe, expect, onTestFinished, test } from 'vitest';
import { z } from 'zod';
import { openDatabase } from '../../src/db/database.ts';
import { queryRows } from '../../src/db/query.ts';
import { listArchive, runArchive } from '../../src/retention/archive.ts';
import { readBranches } from '../../src/retention/store.ts';
import { migrate } from '../../src/schema/migrate.ts';
import { type TestDatabase, useDatabase } from '../support/database.ts';
import { eventLeaf, whileWaiting } from '../support/kill.ts';
import { startTestServer } from '../support/server.ts';
import {
  countByOrigin,
  ensureMonths,
  insertEvents,
  instant,
  linkAll,
  retentionContext,
  scalar,
  stateOf,
} from './rows.ts';

const BEFORE = instant('2023-02-01T00:00:00Z');
const UNIT = 'audit_log_y2023m01';

/** Runs an archival, ends its connection while it waits to record the step, and gives its outcome. */
async function runAndKill(db: TestDatabase) {
  const leaf = await scalar(
    db.admin,
    z.string(),
    `select l.relation::text as value from retention.leaves('audit.audit_log') l
      where l.lower_bound <= now() and now() < l.upper_bound`,
  );
  return await db.admin.withClient(async (holder) => {
    await holder.query('begin');
    await holder.query(`lock table ${leaf} in share mode`);
    const run = runArchive(retentionContext(db.engine), { table: 'audit_log', before: BEFORE, reason: 'killed' });
    await expect.poll(() => killWaiting(db), { timeout: 20_000, interval: 20 }).toBe(1);
    await holder.query('rollback');
    return (await run).units.map((unit) => unit.outcome);
  });
}

/** Ends the engine's connection that waits to insert an event; gives how many there were. */
async function killWaiting(db: TestDatabase): Promise<number> {
  return await db.admin.withClient(async (client) => {
    const rows = await queryRows(
      client,
      z.object({ ended: z.boolean() }),
      `select pg_terminate_backend(a.pid) as ended from pg_stat_activity a
        where a.datname = current_database() and a.usename = 'auditkeep_engine' and a.wait_event_type = 'Lock'
          and a.query like 'insert into audit.audit_log%'`,
    );
    return rows.filter((row) => row.ended).length;
  });
}

const leavesOf = async (db: TestDatabase) => {
  const branches = await db.engine.withClient(readBranches);
  return branches.find((branch) => branch.table === 'audit_log')?.leaves.map((leaf) => leaf.name) ?? [];
};
const eventsOf = (db: TestDatabase, type: string) =>
  scalar(
    db.engine,
    z.bigint(),
    `select count(*) as value from audit.audit_log_all where event_type = '${type}' and resource_id = '${UNIT}'`,
  );

describe('killed while it seals, killed while it moves, run again', () => {
  const db = useDatabase();

  test('each kill leaves the unit where the step began, with all of its rows in one place', async () => {
    await ensureMonths(db.engine, ['2023-01']);
    await db.engine.withClient((client) => insertEvents(client, '2023-01-10T00:00:00Z', 20));
    await linkAll(db.engine);
    const before = await leavesOf(db);

    expect(await runAndKill(db)).toMatchObject([{ kind: 'failed', error: { code: 'DB_UNREACHABLE' } }]);
    expect(await stateOf(db.engine, UNIT)).toBe('hot');
    expect(await countByOrigin(db.engine)).toEqual({ hot: 20 });

    await db.engine.withClient((client) => client.query(`select retention.seal_partition('audit_log', '2023-01-01Z')`));
    expect(await stateOf(db.engine, UNIT)).toBe('sealed');
    expect(await runAndKill(db)).toMatchObject([{ kind: 'failed', error: { code: 'DB_UNREACHABLE' } }]);
    expect(await stateOf(db.engine, UNIT)).toBe('sealed');
    expect(await countByOrigin(db.engine)).toEqual({ hot: 20 });
    expect(await leavesOf(db)).toEqual(before);
    expect(await eventsOf(db, 'partition.archived')).toBe(0n);

    const rerun = await runArchive(retentionContext(db.engine), {
      table: 'audit_log',
      before: BEFORE,
      reason: 'again',
    });
    expect(rerun.units.map((unit) => unit.outcome)).toEqual([{ kind: 'archived', rows: 20 }]);
    expect(await countByOrigin(db.engine)).toEqual({ archive: 20 });
    expect(await eventsOf(db, 'partition.archived')).toBe(1n);
    expect(await leavesOf(db)).toEqual(before.map((name) => (name === UNIT ? 'audit_log_tomb_20230101000000' : name)));
  });

  test('the dead run left no lock behind', async () => {
    const held = `select count(*) as value from pg_locks where locktype = 'advisory' and classid = 24939
      and database = (select oid from pg_database where datname = current_database())`;
    expect(await scalar(db.admin, z.bigint(), held)).toBe(0n);
  });
});

describe('killed between the divert and the seal', () => {
  const db = useDatabase();

  test('writers go on: repeated rows are stored once, new ones come late, and the next run takes the unit', async () => {
    await ensureMonths(db.engine, ['2023-01']);
    const row = (n: number) =>
      db.engine.withClient((client) =>
        client.query(
          `insert into audit.audit_log (id, event_type, event_category, event_action, event_timestamp)
           values ($1, 'test', 'system', 'CREATE', '2023-01-10T00:00:00Z') on conflict do nothing`,
          [`00000000-0000-4000-8000-${String(n).padStart(12, '0')}`],
        ),
      );
    await row(1);
    await linkAll(db.engine);
    // The dead run got as far as committing the divert.
    await db.engine.withClient((client) => client.query(`select retention.seal_partition('audit_log', '2023-01-01Z')`));
    await row(1);
    await row(2);
    await row(2);
    expect(await countByOrigin(db.engine)).toEqual({ hot: 1, late: 1 });
    const run = await runArchive(retentionContext(db.engine), { table: 'audit_log', before: BEFORE, reason: 'again' });
    expect(run.units.map((unit) => unit.outcome)).toEqual([{ kind: 'archived', rows: 1 }]);
    await row(1);
    await row(2);
    expect(await countByOrigin(db.engine)).toEqual({ archive: 1, late: 1 });
  });
});

describe('two runs at once', () => {
  const db = useDatabase();

  test('archive each unit once', async () => {
    const months = ['2022-01', '2022-02', '2022-03', '2022-04'];
    await ensureMonths(db.engine, months);
    await db.engine.withClient(async (client) => {
      for (const month of months) await insertEvents(client, `${month}-10T00:00:00Z`, 5);
    });
    await linkAll(db.engine);
    const ctx = retentionContext(db.engine);
    const runs = await Promise.all(
      [1, 2, 3].map(() => runArchive(ctx, { table: 'audit_log', before: BEFORE, reason: 'together' })),
    );
    const outcomes = runs.flatMap((run) => run.units.map((unit) => unit.outcome));
    expect(outcomes.filter((outcome) => outcome.kind === 'archived')).toHaveLength(months.length);
    expect(outcomes.filter((outcome) => outcome.kind === 'failed')).toEqual([]);
    expect(await listArchive(ctx)).toHaveLength(months.length);
    expect(await countByOrigin(db.engine)).toEqual({ archive: 20 });
  });
});

describe('the server stops at once in the middle of a move', () => {
  test('after recovery every row is there once, and the next run takes the unit', async () => {
    const server = await startTestServer();
    onTestFinished(() => server.stop());
    const admin = openDatabase({ url: server.url('postgres'), applicationName: 'test' });
    await migrate(admin);
    const engine = openDatabase({ url: server.url('postgres'), role: 'auditkeep_engine', applicationName: 'test' });
    onTestFinished(async () => {
      await Promise.all([admin.end(), engine.end()]);
    });
    await ensureMonths(engine, ['2023-01']);
    await engine.withClient((client) => insertEvents(client, '2023-01-10T00:00:00Z', 20));
    await linkAll(engine);
    const run = (reason: string) =>
      runArchive(retentionContext(engine), { table: 'audit_log', before: BEFORE, reason });
    const crashIn = async (state: string) => {
      await whileWaiting(
        admin,
        await eventLeaf(admin),
        () => ({ outcomes: run('crashed').then(({ units }) => units.map(({ outcome }) => outcome.kind)) }),
        async ({ outcomes }) => {
          await server.crash();
          expect(await outcomes).toEqual(['failed']);
        },
      );
      await server.restart();
      expect(await stateOf(engine, UNIT)).toBe(state);
    };

    await crashIn('hot');
    expect(await countByOrigin(engine)).toEqual({ hot: 20 });
    await engine.withClient((client) => insertEvents(client, '2023-01-11T00:00:00Z', 5));
    expect(await countByOrigin(engine)).toEqual({ hot: 20, late: 5 });
    await engine.withClient((client) => client.query(`select retention.seal_partition('audit_log', '2023-01-01Z')`));
    await crashIn('sealed');
    expect(await countByOrigin(engine)).toEqual({ hot: 20, late: 5 });
    expect((await run('again')).units.map(({ outcome }) => outcome)).toEqual([{ kind: 'archived', rows: 20 }]);
    expect(await countByOrigin(engine)).toEqual({ archive: 20, late: 5 });
    const ids = 'select count(distinct id) as value from audit.audit_log_all where event_type = $1';
    expect(await scalar(engine, z.bigint(), ids, ['test'])).toBe(25n);
  });
});
