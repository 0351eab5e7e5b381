/** Partitions exist before they are needed: growth, a stopped year, adoption, tombstones that give way, two at once. */
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { runArchive } from '../../src/retention/archive.ts';
import { applyPartitions, ensurePartitions, planPartitions } from '../../src/retention/partition.ts';
import { readBranches } from '../../src/retention/store.ts';
import { isoOf, systemClock } from '../../src/time/clock.ts';
import { addPeriod, startOfStep, subtractPeriod, utcDate } from '../../src/time/period.ts';
import { type TestDatabase, useDatabase } from '../support/database.ts';
import {
  countByOrigin,
  ensureMonths,
  failureOf,
  insertEvents,
  instant,
  linkAll,
  retentionContext,
  rewind,
  scalar,
} from './rows.ts';

const ARCHIVE_2024 = { table: 'audit_log', before: instant('2025-01-01T00:00:00Z'), reason: 'test' } as const;

const leavesOf = async (db: TestDatabase, table: string, category: string | null = null) => {
  const branches = await db.engine.withClient(readBranches);
  return branches.find((branch) => branch.table === table && branch.category === category)?.leaves ?? [];
};

describe('growth', () => {
  const db = useDatabase();

  test('a migrated database lacks nothing, and a plan changes nothing', async () => {
    const ctx = retentionContext(db.engine);
    expect((await planPartitions(ctx)).units).toEqual([]);
    expect(await applyPartitions(ctx)).toMatchObject({ created: 0, adopted: 0 });
  });

  test('a stopped year is made up for in one run, although not even its own event had a place', async () => {
    const now = systemClock.now();
    const stopped = startOfStep('month', subtractPeriod(now, { unit: 'year', count: 1 }));
    for (const [table, category] of [
      ['audit_log', ''],
      ['data_access_log', 'standard'],
      ['distributed_traces', ''],
      ['performance_metrics', 'minute'],
    ] as const) {
      await rewind(db.admin, table, category, isoOf(stopped));
    }
    await expect(db.engine.withClient((client) => insertEvents(client, isoOf(now), 1))).rejects.toMatchObject({
      code: '23514',
    });
    const ctx = retentionContext(db.engine);
    const plan = await planPartitions(ctx);
    const applied = await applyPartitions(ctx);
    expect([applied.planHash, applied.created]).toEqual([plan.planHash, plan.units.length]);

    const events = await leavesOf(db, 'audit_log');
    expect(events[1]?.from).toBe(stopped);
    expect((events.at(-1)?.to ?? 0) >= addPeriod(now, { unit: 'month', count: 3 })).toBe(true);
    const traces = await leavesOf(db, 'distributed_traces');
    const hotFrom = startOfStep('day', subtractPeriod(now, { unit: 'day', count: 14 }));
    expect(traces.slice(0, 3).map((leaf) => [leaf.tombstone, leaf.from])).toEqual([
      [true, null],
      [true, stopped],
      [false, hotFrom],
    ]);
    expect((await planPartitions(ctx)).units).toEqual([]);

    const recorded = `select string_agg(resource_id, ',' order by resource_id) as value from audit.audit_log where event_type = 'partition.created'`;
    expect(await scalar(db.engine, z.string(), recorded)).toBe(
      'audit_log,data_access_log_standard,distributed_traces,performance_metrics_minute',
    );
  });

  test('needs no lock that a writer with an open transaction would keep it from', async () => {
    await rewind(db.admin, 'audit_log', '', isoOf(startOfStep('month', systemClock.now())));
    const ctx = retentionContext(db.engine);
    await ensurePartitions(ctx, 'audit_log', []);
    const top = (await leavesOf(db, 'audit_log')).at(-1)?.to ?? ctx.clock.now();
    await db.engine.withClient(async (writer) => {
      await writer.query('begin');
      await insertEvents(writer, isoOf(ctx.clock.now()), 1);
      const later = retentionContext(db.engine, isoOf(addPeriod(ctx.clock.now(), { unit: 'month', count: 1 })));
      expect((await ensurePartitions(later, 'audit_log', [])).created).toBe(1);
      await writer.query('commit');
    });
    expect((await leavesOf(db, 'audit_log')).at(-1)?.from).toBe(top);
  });

  test('three at once make each partition once', async () => {
    await rewind(db.admin, 'audit_log', '', isoOf(startOfStep('month', systemClock.now())));
    const ctx = retentionContext(db.engine);
    const due = (await planPartitions(ctx)).units.length;
    const runs = await Promise.all([1, 2, 3].map(() => applyPartitions(ctx)));
    expect(runs.reduce((sum, run) => sum + run.created, 0)).toBe(due);
    expect(due).toBeGreaterThan(2);
  });
});

describe('what an import needs', () => {
  const db = useDatabase();

  test('old months are made where nothing was archived, and no others', async () => {
    const ensured = await ensureMonths(db.engine, ['2019-11', '2019-11', '2020-02', '1970-01', '0001-01', '2999-01']);
    expect(ensured).toMatchObject({ created: 4, archivedRanges: [] });
    const leaves = (await leavesOf(db, 'audit_log')).slice(0, 8);
    expect(
      leaves.map(
        (leaf) => `${leaf.tombstone ? 'tombstone' : 'hot'} ${leaf.from === null ? 'min' : utcDate(leaf.from)}`,
      ),
    ).toEqual([
      'tombstone min',
      'hot 0001-01-01',
      'tombstone 0001-02-01',
      'hot 1970-01-01',
      'tombstone 1970-02-01',
      'hot 2019-11-01',
      'tombstone 2019-12-01',
      'hot 2020-02-01',
    ]);
    for (const [index, leaf] of leaves.slice(1).entries()) expect(leaf.from).toBe(leaves[index]?.to);
    await db.engine.withClient((client) => insertEvents(client, '2019-11-30T23:59:59Z', 1));
    expect(await countByOrigin(db.engine)).toEqual({ hot: 1 });
    expect((await ensureMonths(db.engine, ['2019-11', '2020-02'])).created).toBe(0);
  });

  test('several importers at once get the same partitions', async () => {
    const months = ['2015-01', '2015-02', '2015-04', '2015-07'];
    const made = await Promise.all([1, 2, 3].map(() => ensureMonths(db.engine, months)));
    expect(made.reduce((sum, one) => sum + one.created, 0)).toBe(months.length);
  });

  test('only the categories that are asked for', async () => {
    const ctx = retentionContext(db.engine);
    const at = [instant('2018-06-15T00:00:00Z')];
    expect((await ensurePartitions(ctx, 'data_access_log', at, ['extended'])).created).toBe(1);
    expect((await ensurePartitions(ctx, 'data_access_log', at)).created).toBe(2);
    expect((await ensurePartitions(ctx, 'performance_metrics', at, ['minute'])).created).toBe(1);
    const [minute] = (await leavesOf(db, 'performance_metrics', 'minute')).filter((leaf) => !leaf.tombstone);
    expect(minute?.name).toBe('performance_metrics_minute_y2018m06d15');
  });

  test('a corrupt input does not make thousands of partitions', async () => {
    const instants = Array.from({ length: 1600 }, (_, index) =>
      addPeriod(instant('1800-01-01T00:00:00Z'), { unit: 'month', count: index }),
    );
    const before = (await leavesOf(db, 'audit_log')).length;
    await expect(ensurePartitions(retentionContext(db.engine), 'audit_log', instants)).rejects.toMatchObject({
      code: 'RETENTION_BOUNDS',
    });
    expect(await leavesOf(db, 'audit_log')).toHaveLength(before);
  });
});

describe('partitions of somebody else', () => {
  const db = useDatabase();

  test('are adopted with their bounds and leave like any other', async () => {
    await rewind(db.admin, 'audit_log', '', '2024-01-01T00:00:00Z');
    await db.admin.withClient(async (client) => {
      await client.query(
        `create table audit.audit_log_2024 partition of audit.audit_log for values from ('2024-01-01Z') to ('2025-01-01Z')`,
      );
      await client.query(
        `create table audit.audit_log_odd partition of audit.audit_log for values from ('2025-01-01Z') to ('2026-10-31 23:00Z')`,
      );
      await client.query('alter table audit.audit_log_2024 owner to auditkeep_owner');
      await client.query('alter table audit.audit_log_odd owner to auditkeep_owner');
    });
    await db.engine.withClient((client) => insertEvents(client, '2024-05-05T00:00:00Z', 4));
    const ctx = retentionContext(db.engine, '2026-11-15T00:00:00Z');
    const applied = await applyPartitions(ctx);
    expect(applied.adopted).toBe(2);
    const leaves = await leavesOf(db, 'audit_log');
    expect(leaves.slice(1, 4).map((leaf) => leaf.name)).toEqual([
      'audit_log_2024',
      'audit_log_odd',
      'audit_log_20261031230000_20261101000000',
    ]);
    expect((await applyPartitions(ctx)).adopted).toBe(0);

    await linkAll(db.engine);
    const run = await runArchive(ctx, ARCHIVE_2024);
    expect(run.units.map((unit) => [unit.partition, unit.outcome])).toEqual([
      ['audit_log_2024', { kind: 'archived', rows: 4 }],
    ]);
    const protectedLeaf = `select count(*) as value from pg_trigger where tgrelid = 'audit.audit_log_2024'::regclass and tgname like 'ak_child%' and tgenabled = 'A'`;
    expect(await scalar(db.admin, z.bigint(), protectedLeaf)).toBe(2n);
  });

  test('a gap is filled, and the rows of a DEFAULT partition find their place', async () => {
    const month = startOfStep('month', systemClock.now());
    await rewind(db.admin, 'security_events_log', '', isoOf(month));
    const gap = addPeriod(month, { unit: 'month', count: 1 });
    const after = addPeriod(gap, { unit: 'month', count: 1 });
    await db.admin.withClient(async (client) => {
      await client.query(`create table audit.after_gap partition of audit.security_events_log
        for values from ('${isoOf(gap)}') to ('${isoOf(after)}');
        alter table audit.after_gap owner to auditkeep_owner;
        create table audit.rest partition of audit.security_events_log default;
        alter table audit.rest owner to auditkeep_owner`);
      // One where the gap is, one behind the last partition, one of long ago that the tombstone sends to late.
      await client.query(
        `insert into audit.security_events_log (event_type, severity, category, event_description, event_timestamp)
         select 'test', 'low', 'anomaly', 'x', at from unnest($1::timestamptz[]) at`,
        [[isoOf(month), isoOf(after), '2001-01-01T00:00:00Z']],
      );
    });
    const ctx = retentionContext(db.engine);
    const actions = (await planPartitions(ctx)).units
      .filter((unit) => unit.table === 'security_events_log')
      .map((unit) => `${unit.action} ${unit.partition}`);
    expect(actions.slice(0, 2)).toEqual([
      'repair rest',
      `fill security_events_log_y${isoOf(month).slice(0, 4)}m${isoOf(month).slice(5, 7)}`,
    ]);
    expect(await applyPartitions(ctx)).toMatchObject({ repaired: 2, adopted: 1, blocked: 0 });
    expect((await planPartitions(ctx)).units).toEqual([]);
    const rows = `select count(*) as value from audit.security_events_log_all where event_type = 'test'`;
    expect(await scalar(db.engine, z.bigint(), rows)).toBe(3n);
    const unproven = `select count(*) as value from pg_constraint where conname = 'ak_bounds' and not convalidated`;
    expect(await scalar(db.engine, z.bigint(), unproven)).toBe(0n);
  });

  test('what cannot be adopted or was altered is named, and stops nobody else', async () => {
    const month = startOfStep('month', systemClock.now());
    await rewind(db.admin, 'security_events_log', '', isoOf(month));
    const next = addPeriod(month, { unit: 'month', count: 1 });
    await rewind(
      db.admin,
      'distributed_traces',
      '',
      isoOf(subtractPeriod(systemClock.now(), { unit: 'day', count: 3 })),
    );
    await db.admin.withClient(async (client) => {
      await client.query(`create table audit.theirs partition of audit.security_events_log
        for values from ('${isoOf(month)}') to ('${isoOf(next)}');
        grant select on audit.theirs to public`);
      await client.query(`create table public.referrer (at timestamptz, id uuid,
        foreign key (at, id) references audit.audit_log_y${isoOf(next).slice(0, 4)}m${isoOf(next).slice(5, 7)})`);
      await client.query(
        `alter table audit.data_access_log_standard_y${isoOf(next).slice(0, 4)}m${isoOf(next).slice(5, 7)} disable trigger ak_child_truncate`,
      );
    });
    const ctx = retentionContext(db.engine);
    const applied = await applyPartitions(ctx);
    expect(
      applied.units.filter((unit) => unit.blockers.length > 0).map((unit) => [unit.action, unit.blockers]),
    ).toEqual([
      ['check', ['referenced']],
      ['adopt', ['foreign-owner']],
      ['check', ['altered']],
    ]);
    expect(applied.blocked).toBe(3);
    expect((await planPartitions(ctx)).units.map((unit) => unit.table)).not.toContain('distributed_traces');
    const refused = `select retention.adopt_partition('security_events_log', 'theirs')`;
    expect(await failureOf(db.engine, refused)).toMatchObject({ code: 'AK112' });
    await db.admin.withClient((client) => client.query('alter table audit.theirs owner to auditkeep_owner'));
    expect(await applyPartitions(ctx)).toMatchObject({ adopted: 1, blocked: 2 });
    const grants = `select count(*) as value from pg_class c, aclexplode(c.relacl) a where c.relname = 'theirs' and a.grantee <> c.relowner`;
    expect(await scalar(db.admin, z.bigint(), grants)).toBe(0n);
  });

  test('rows of a DEFAULT partition that lie far ahead stop its own branch, and none is lost', async () => {
    await db.admin.withClient(async (client) => {
      await client.query(`create table audit.rest partition of audit.security_events_log default;
        alter table audit.rest owner to auditkeep_owner`);
      await client.query(`insert into audit.security_events_log (event_type, severity, category, event_description, event_timestamp)
        values ('ahead', 'low', 'anomaly', 'x', now() + interval '30 years')`);
    });
    await expect(applyPartitions(retentionContext(db.engine))).rejects.toThrow(/more than two years ahead/);
    expect(await scalar(db.admin, z.bigint(), 'select count(*) as value from audit.rest')).toBe(1n);
  });
});
