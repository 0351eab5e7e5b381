/** What every run mends first: tables somebody took out, a real DETACH CONCURRENTLY cut short, leases, tombstones. */
import { beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { queryOne, queryRows } from '../../src/db/query.ts';
import { runArchive } from '../../src/retention/archive.ts';
import { applyPartitions } from '../../src/retention/partition.ts';
import { reconcile } from '../../src/retention/reconcile.ts';
import { readBranches } from '../../src/retention/store.ts';
import { releaseLease, takeLease } from '../../src/retention/unit-store.ts';
import { useDatabase } from '../support/database.ts';
import {
  countByOrigin,
  ensureMonths,
  failureOf,
  insertEvents,
  instant,
  linkAll,
  retentionContext,
  scalar,
} from './rows.ts';

const db = useDatabase();
const ctx = () => retentionContext(db.engine);
const MONTHS = ['2022-01', '2022-02', '2022-03', '2022-04', '2022-05', '2022-06'];

beforeAll(async () => {
  await ensureMonths(db.engine, MONTHS);
  await db.engine.withClient(async (client) => {
    for (const month of MONTHS) await insertEvents(client, `${month}-10T00:00:00Z`, 5);
  });
  await linkAll(db.engine);
});

test('a detached unit goes back, with its rows', async () => {
  await db.admin.withClient((client) =>
    client.query('alter table audit.audit_log detach partition audit.audit_log_y2022m03'),
  );
  expect(await countByOrigin(db.engine)).toEqual({ hot: 25 });
  expect(await reconcile(ctx())).toMatchObject({ reattached: 1, failures: [] });
  expect(await countByOrigin(db.engine)).toEqual({ hot: 30 });
});

test('a DETACH CONCURRENTLY that was cut short is finished, and its rows are back', async () => {
  await db.admin.withClient(async (reader) => {
    // Its second half waits for whoever read the table before.
    await reader.query('begin isolation level repeatable read');
    await reader.query('select count(*) from audit.audit_log');
    await db.admin.withClient(async (client) => {
      const { pid } = await queryOne(client, z.object({ pid: z.number() }), 'select pg_backend_pid() as pid');
      const detach = client
        .query('alter table audit.audit_log detach partition audit.audit_log_y2022m04 concurrently')
        .catch((error: unknown) => error);
      const pending = `select count(*) as value from pg_inherits where inhdetachpending`;
      await expect.poll(() => scalar(db.admin, z.bigint(), pending), { timeout: 20_000, interval: 20 }).toBe(1n);
      await scalar(db.admin, z.boolean(), `select pg_cancel_backend(${pid}) as value`);
      expect(await detach).toMatchObject({ code: '57014' });
    });
    await reader.query('commit');
  });
  expect(await countByOrigin(db.engine)).toEqual({ hot: 25 });
  expect(await reconcile(ctx())).toMatchObject({ reattached: 1, failures: [] });
  expect(await countByOrigin(db.engine)).toEqual({ hot: 30 });
});

test('a table that is gone is named, and its gap is filled so that it stops nothing else', async () => {
  await ensureMonths(db.engine, ['2021-07']);
  await db.admin.withClient((client) => client.query('drop table audit.audit_log_y2021m07'));
  const mended = await reconcile(ctx());
  expect(mended.failures).toMatchObject([{ partition: 'audit_log_y2021m07', error: { code: 'RETENTION_DIFFERS' } }]);
  await applyPartitions(ctx());
});

test('a unit that another worker has claimed waits, until that worker is gone', async () => {
  const unitId = await scalar(
    db.engine,
    z.bigint(),
    `select unit_id as value from retention.unit where relation_name = 'audit_log_y2022m01'`,
  );
  const run = async () => {
    const done = await runArchive(ctx(), {
      table: 'audit_log',
      before: instant('2022-02-01T00:00:00Z'),
      reason: 'test',
    });
    return done.units.map((unit) => unit.outcome.kind);
  };
  const holder = '00000000-0000-4000-8000-00000000bbbb';
  const other = '00000000-0000-4000-8000-00000000cccc';
  // A pool of its own: its connection is ended below, and no other work may be given a dead one.
  await db.as('auditkeep_engine').withClient(async (client) => {
    expect(await takeLease(client, unitId, { holder, seconds: 600 })).toBe(true);
    expect(await takeLease(client, unitId, { holder, seconds: 600 })).toBe(true);
    expect(await db.engine.withClient((second) => takeLease(second, unitId, { holder: other, seconds: 600 }))).toBe(
      false,
    );
    expect(await run()).toEqual(['postponed']);
    const raw = `select retention.seal_partition('audit_log', '2022-01-01Z')`;
    expect(await failureOf(db.engine, raw)).toMatchObject({ code: 'AK110' });
    await releaseLease(client, unitId, other);
    expect(await run()).toEqual(['postponed']);
  });
  // The session that claimed it ends without giving it back.
  await db.admin.withClient((client) =>
    client.query(`select pg_terminate_backend(lease_pid) from retention.unit where unit_id = $1`, [String(unitId)]),
  );
  const alive = `select count(*) as value from retention.unit u, pg_stat_get_activity(u.lease_pid) where u.unit_id = ${unitId}`;
  await expect.poll(() => scalar(db.admin, z.bigint(), alive), { timeout: 20_000, interval: 20 }).toBe(0n);
  expect(await run()).toEqual(['archived']);
});

/** Every stretch of audit_log without a gap, and which of it takes rows: the same before a merge and after it. */
function ends(): Promise<readonly unknown[]> {
  return db.admin.withClient((client) =>
    queryRows(
      client,
      z.object({ stretch: z.string() }),
      `select unnest(range_agg(tstzrange(lower_bound, upper_bound)))::text || ' ' || tombstone as stretch
         from retention.leaves('audit.audit_log') group by tombstone order by 1`,
    ),
  );
}

/** One merge: four at once, no tombstone that holds a row, none beyond a gap, and not while a report reads. */
async function mergesWithin(): Promise<void> {
  const merge = `select retention.merge_tombstones('audit_log') as value`;
  await db.admin.withClient(async (reader) => {
    await reader.query('select pg_advisory_lock_shared(24939, 1)');
    expect(await failureOf(db.engine, merge)).toMatchObject({ code: 'AK106' });
    await reader.query('select pg_advisory_unlock_shared(24939, 1)');
  });
  const tombs = `from retention.leaves('audit.audit_log') l where l.tombstone`;
  const lowest = await scalar(
    db.admin,
    z.string(),
    `select relation::text as value ${tombs} order by lower_bound limit 1`,
  );
  expect(
    await failureOf(
      db.admin,
      `alter table ${lowest} disable trigger user`,
      `insert into ${lowest} (event_type, event_category, event_action, event_timestamp) values ('x', 'system', 'X', '1990-01-01Z')`,
      merge,
    ),
  ).toMatchObject({ code: 'AK102' });
  await db.admin.withClient(async (client) => {
    await client.query('begin');
    const second = `select relation::text as value ${tombs} order by lower_bound offset 1 limit 1`;
    const one = z.object({ value: z.string() });
    await client.query(`drop table ${(await queryOne(client, one, second)).value}`);
    const above = `select count(*)::text as value ${tombs} and lower_bound = (select max(b.upper_bound) + interval '1 month'
      from retention.leaves('audit.audit_log') b where b.relation = '${lowest}'::regclass)`;
    expect((await queryOne(client, one, above)).value).toBe('1');
    const merged = await queryOne(client, z.object({ value: z.number() }), merge);
    expect((await queryOne(client, one, above)).value).toBe('1');
    expect(merged.value).toBe(4);
    // The lowest stands alone below the gap, and the gap is still one.
    const first = await queryOne(client, one, `select relation::text as value ${tombs} order by lower_bound limit 1`);
    expect(first.value).toBe(lowest);
    const upper = `select count(*)::text as value from retention.leaves('audit.audit_log') a, retention.leaves('audit.audit_log') b
      where a.relation = '${lowest}'::regclass and b.lower_bound = a.upper_bound`;
    expect((await queryOne(client, one, upper)).value).toBe('0');
    await client.query('rollback');
  });
}

test('neighbouring tombstones become one, and rows still find late', async () => {
  const run = await runArchive(ctx(), { table: 'audit_log', before: instant('2022-07-01T00:00:00Z'), reason: 'test' });
  expect(run.units.map((unit) => unit.outcome.kind)).toEqual([
    'archived',
    'archived',
    'archived',
    'archived',
    'archived',
  ]);
  const tombs = async () => {
    const branches = await db.engine.withClient(readBranches);
    return branches.find((branch) => branch.table === 'audit_log')?.leaves.filter((leaf) => leaf.tombstone).length ?? 0;
  };
  const before = await tombs();
  expect(before).toBeGreaterThan(5);
  await mergesWithin();
  const covered = await ends();
  const mended = await reconcile(ctx());
  expect(await ends()).toEqual(covered);
  expect(mended.failures.map(({ error }) => String(error))).toEqual([
    'AuditkeepError: the table of unit audit_log_y2021m07 is gone',
  ]);
  expect(mended.merged).toBeGreaterThan(5);
  expect(await tombs()).toBeLessThan(3);
  await db.engine.withClient((client) => insertEvents(client, '2022-03-20T00:00:00Z', 3));
  expect(await countByOrigin(db.engine)).toEqual({ archive: 30, late: 3 });
});
