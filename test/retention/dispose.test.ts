/** Late units, splits, quarantine and the drop: no row is lost on the way, and none goes without an approval. */
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { queryRows } from '../../src/db/query.ts';
import { runArchive } from '../../src/retention/archive.ts';
import { drop, quarantine, rescue, split, withdraw } from '../../src/retention/dispose.ts';
import { collectDue, planLate } from '../../src/retention/late.ts';
import { findDrift } from '../../src/schema/drift.ts';
import { type TestDatabase, useDatabase } from '../support/database.ts';
import {
  approve,
  countByOrigin,
  ensureMonths,
  failureOf,
  insertEvents,
  instant,
  linkAll,
  PLAN,
  retentionContext,
  scalar,
  stateOf,
} from './rows.ts';

const BEFORE = instant('2023-04-01T00:00:00Z');

async function archived(db: TestDatabase, months: readonly string[]) {
  await ensureMonths(db.engine, months);
  await db.engine.withClient(async (client) => {
    for (const month of months) await insertEvents(client, `${month}-10T00:00:00Z`, 10);
  });
  await linkAll(db.engine);
  await runArchive(retentionContext(db.engine), { table: 'audit_log', before: BEFORE, reason: 'test' });
}
const unitOf = (db: TestDatabase, relation: string) =>
  scalar(db.engine, z.bigint(), 'select unit_id as value from retention.unit where relation_name = $1', [relation]);
const count = (db: TestDatabase, relation: string) =>
  scalar(db.engine, z.bigint(), `select count(*) as value from ${relation} where event_type = 'test'`);
const setState = (db: TestDatabase, unitId: bigint, change: string) =>
  db.admin.withClient((client) =>
    client.query(`update retention.unit set ${change} where unit_id = $1`, [String(unitId)]),
  );

describe('late rows', () => {
  const db = useDatabase();
  const collect = () => collectDue(retentionContext(db.engine), { table: 'audit_log', before: BEFORE, reason: 'test' });

  beforeAll(async () => {
    await archived(db, ['2023-01', '2023-02']);
    await db.engine.withClient(async (client) => {
      await insertEvents(client, '2023-01-20T00:00:00Z', 4);
      await insertEvents(client, '2019-05-05T00:00:00Z', 2);
    });
  });

  test('wait until they are linked', async () => {
    expect((await collect()).map((range) => range.outcome)).toEqual([
      { kind: 'postponed', reason: '2 late events are not linked in the chain yet' },
      { kind: 'postponed', reason: '4 late events are not linked in the chain yet' },
    ]);
  });

  test('become units of generation 2, which every reader of the late table still sees', async () => {
    await linkAll(db.engine);
    const before = await countByOrigin(db.engine);
    expect((await collect()).map((range) => range.outcome)).toEqual([
      { kind: 'collected', relation: 'audit.audit_log_y2019m05_g2', rows: 2 },
      { kind: 'collected', relation: 'audit.audit_log_y2023m01_g2', rows: 4 },
    ]);
    expect(await countByOrigin(db.engine)).toEqual(before);
    expect(await scalar(db.engine, z.bigint(), 'select count(*) as value from only audit.audit_log_late')).toBe(0n);
    expect(await planLate(retentionContext(db.engine))).toEqual([]);
  });

  test('a repeated row is still one, later ones are the next generation, differing doubles are kept', async () => {
    const again = `insert into audit.audit_log (id, event_type, event_category, event_action, event_timestamp, user_email, additional_data)
      select id, event_type, event_category, %ACTION%, event_timestamp, user_email, additional_data
        from audit.audit_log_late where event_timestamp = '2023-01-20T00:00:00Z' limit 1`;
    await db.engine.withClient((client) => client.query(again.replace('%ACTION%', 'event_action')));
    expect((await countByOrigin(db.engine))['late']).toBe(6);
    await db.engine.withClient((client) => client.query(again.replace('%ACTION%', `'DELETE'`)));
    await db.engine.withClient((client) => insertEvents(client, '2023-01-25T00:00:00Z', 1));
    await linkAll(db.engine);
    expect((await collect()).map((range) => range.outcome)).toEqual([
      { kind: 'collected', relation: 'audit.audit_log_y2023m01_g3', rows: 2 },
    ]);
    expect(await countByOrigin(db.engine)).toEqual({ archive: 20, late: 8 });
  });

  test('do not change, wherever they lie', async () => {
    for (const relation of ['audit.audit_log_late', 'audit.audit_log_y2023m01_g2']) {
      for (const statement of [
        `delete from ${relation}`,
        `update ${relation} set event_action = 'X'`,
        `truncate ${relation}`,
      ]) {
        expect(await failureOf(db.admin, statement)).toMatchObject({ code: 'AK100' });
      }
    }
  });

  test('of a range that still has a hot leaf stay', async () => {
    await ensureMonths(db.engine, ['2018-01']);
    const open = `select retention.collect_late('audit_log', '2018-01-01Z', '2018-02-01Z')`;
    expect(await failureOf(db.engine, open)).toMatchObject({ code: 'AK104' });
    const future = `select retention.collect_late('audit_log', now() - interval '1 day', now() + interval '1 day')`;
    expect(await failureOf(db.engine, future)).toMatchObject({ code: 'AK108' });
  });

  test('are data, not drift', async () => {
    expect(await db.engine.withClient(findDrift)).toEqual([]);
  });
});

describe('a unit on its way to destruction', () => {
  const db = useDatabase();
  const ctx = () => retentionContext(db.engine);
  const UNIT = 'audit_log_y2023m01';
  let unitId = 0n;
  const input = () => ({ unitId, reason: 'test' });

  beforeAll(async () => {
    await archived(db, ['2023-01', '2023-02']);
    unitId = await unitOf(db, UNIT);
  });

  test('needs an approval, whoever asks and however', async () => {
    await setState(db, unitId, `state = 'purge_due'`);
    const approved = `update retention.unit set state = 'purge_approved', plan_id = '${PLAN}' where unit_id = ${unitId}`;
    expect(await failureOf(db.admin, approved)).toMatchObject({ code: 'AK109' });
    await expect(quarantine(ctx(), input())).rejects.toMatchObject({ code: 'RETENTION_STATE' });
    await approve(db, unitId);
    await expect(drop(ctx(), { ...input(), planId: PLAN })).rejects.toMatchObject({ code: 'RETENTION_STATE' });
  });

  test('waits in quarantine, where it is read and changes as little as anywhere', async () => {
    expect(await quarantine(ctx(), input())).toMatchObject({ relation: `quarantine.${UNIT}`, rows: 10 });
    expect(await countByOrigin(db.engine)).toEqual({ archive: 10 });
    expect(await count(db, 'quarantine.audit_log')).toBe(10n);
    for (const statement of ['delete from', 'truncate']) {
      expect(await failureOf(db.admin, `${statement} quarantine.${UNIT}`)).toMatchObject({ code: 'AK100' });
    }
    const smuggled = `insert into quarantine.audit_log select * from audit.audit_log_archive limit 1`;
    expect(await failureOf(db.admin, smuggled)).toMatchObject({ code: 'AK100' });
    await expect(drop(ctx(), { ...input(), planId: PLAN })).rejects.toMatchObject({ code: 'RETENTION_NOT_YET' });
  });

  test('a row that is repeated meanwhile is not stored again', async () => {
    await db.engine.withClient((client) =>
      client.query(`insert into audit.audit_log (id, event_type, event_category, event_action, event_timestamp, user_email, additional_data)
        select id, event_type, event_category, event_action, event_timestamp, user_email, additional_data from quarantine.audit_log limit 1`),
    );
    expect(await countByOrigin(db.engine)).toEqual({ archive: 10 });
  });

  test('comes back', async () => {
    expect(await rescue(ctx(), input())).toMatchObject({ relation: `audit.${UNIT}` });
    expect(await countByOrigin(db.engine)).toEqual({ archive: 20 });
    expect(await stateOf(db.engine, UNIT)).toBe('archived');
  });

  test('is taken back before it leaves its archive, and the event names it', async () => {
    await approve(db, unitId);
    await withdraw(ctx(), input());
    expect(await stateOf(db.engine, UNIT)).toBe('archived');
    const told = `select resource_id as value from audit.audit_log_all where event_type = 'partition.withdrawn'`;
    expect(await scalar(db.engine, z.string(), told)).toMatch(new RegExp(`^audit(_archive)?\\.${UNIT}$`));
  });

  test('a hold stops it at every edge', async () => {
    await approve(db, unitId);
    await setState(db, unitId, 'held = true');
    await expect(quarantine(ctx(), input())).rejects.toMatchObject({ code: 'RETENTION_HELD' });
    await setState(db, unitId, 'held = false');
    await quarantine(ctx(), input());
    await setState(db, unitId, `quarantined_at = now() - interval '8 days', held = true`);
    await expect(drop(ctx(), { ...input(), planId: PLAN })).rejects.toMatchObject({ code: 'RETENTION_HELD' });
    await setState(db, unitId, 'held = false');
    expect(await count(db, 'quarantine.audit_log')).toBe(10n);
  });

  test('is not dropped under another plan, nor when it holds something else than its manifest says', async () => {
    const other = '00000000-0000-4000-8000-00000000ffff';
    await expect(drop(ctx(), { ...input(), planId: other })).rejects.toMatchObject({ code: 'RETENTION_NOT_APPROVED' });
    await db.admin.withClient(async (client) => {
      await client.query(`alter table quarantine.${UNIT} disable trigger user`);
      await client.query(`create table public.kept as select * from quarantine.${UNIT} limit 1`);
      await client.query(`delete from quarantine.${UNIT} where id = (select id from public.kept)`);
    });
    await expect(drop(ctx(), { ...input(), planId: PLAN })).rejects.toMatchObject({ code: 'RETENTION_DIFFERS' });
    await db.admin.withClient(async (client) => {
      await client.query(`insert into quarantine.${UNIT} select * from public.kept`);
      await client.query(`alter table quarantine.${UNIT} enable always trigger ak_child_immutable`);
      await client.query('drop table public.kept');
    });
  });

  test('is dropped once, and its links and their places stay', async () => {
    const links = () => scalar(db.engine, z.bigint(), 'select count(*) as value from audit.chain_link');
    const before = await links();
    expect(await drop(ctx(), { ...input(), planId: PLAN })).toMatchObject({ rows: 10 });
    expect(await stateOf(db.engine, UNIT)).toBe('purging');
    expect(await count(db, 'quarantine.audit_log')).toBe(0n);
    expect(await links()).toBe(before);
    const missing = `select count(*) as value from audit.chain_link l join retention.purged_unit p on l.seq <@ p.seqs
      where not exists (select from audit.audit_log_all e where e.id = l.event_id)`;
    expect(await scalar(db.engine, z.bigint(), missing)).toBe(10n);
    await expect(drop(ctx(), { ...input(), planId: PLAN })).rejects.toMatchObject({ code: 'RETENTION_STATE' });
    const finish = `select retention.finish_purge(${unitId})`;
    expect(await failureOf(db.engine, finish)).toMatchObject({ code: '42501' });
    expect(await failureOf(db.admin, finish)).toBeNull();
  });
});

describe('a unit whose rows part ways', () => {
  const db = useDatabase();
  const ctx = () => retentionContext(db.engine);
  const insert = (at: string, days: number, rows: number) =>
    db.engine.withClient((client) =>
      client.query(
        `insert into audit.security_events_log (event_type, severity, category, event_description, event_timestamp, retention_days, additional_context)
         select 'test', 'low', 'anomaly', 'x' || n, $1::timestamptz + n * interval '1 second', $2::int, '{"n": 1.0}' from generate_series(1, $3::int) n`,
        [at, days, rows],
      ),
    );
  const rowsByPlace = () =>
    db.engine.withClient((client) =>
      queryRows(
        client,
        z.object({ place: z.string(), rows: z.bigint() }),
        `select e.tableoid::regclass::text as place, count(*) as rows from audit.security_events_log_late e group by 1 order by 1`,
      ),
    );

  beforeAll(async () => {
    await db.engine.withClient((client) =>
      client.query(`select retention.create_partition('security_events_log', '2015-01-01Z', '2015-02-01Z'),
                           retention.create_partition('security_events_log', '2015-02-01Z', '2015-03-01Z')`),
    );
    await insert('2015-01-10T00:00:00Z', 2555, 6);
    await insert('2015-01-11T00:00:00Z', 3650, 3);
    await insert('2015-02-10T00:00:00Z', 2555, 2);
    const run = await runArchive(ctx(), { table: 'security_events_log', reason: 'test' });
    expect(run.units.map((unit) => unit.outcome.kind)).toEqual(['archived', 'archived']);
  });

  test('becomes one unit for each month in which they expire, with exactly its rows', async () => {
    const unitId = await unitOf(db, 'security_events_log_y2015m01');
    const siblings = await split(ctx(), { unitId, reason: 'expiry' });
    expect(siblings.map(({ rows, keepUntil }) => [rows, keepUntil])).toEqual([
      [6, '2022-02-01T00:00:00+00:00'],
      [3, '2025-02-01T00:00:00+00:00'],
    ]);
    expect(await stateOf(db.engine, 'security_events_log_y2015m01')).toBe('split');
    expect(await rowsByPlace()).toEqual([
      { place: 'audit.security_events_log_y2015m01_g2', rows: 6n },
      { place: 'audit.security_events_log_y2015m01_g3', rows: 3n },
    ]);
    const all = `select count(distinct id) as value from audit.security_events_log_all`;
    expect(await scalar(db.engine, z.bigint(), all)).toBe(11n);
    expect(await db.engine.withClient(findDrift)).toEqual([]);
  });

  test('is left alone where they belong together', async () => {
    const unitId = await unitOf(db, 'security_events_log_y2015m02');
    expect(await split(ctx(), { unitId, reason: 'expiry' })).toEqual([]);
    expect(await stateOf(db.engine, 'security_events_log_y2015m02')).toBe('archived');
  });

  test('is split while it is sealed too, and late rows of its range still find their twins', async () => {
    await db.engine.withClient(async (client) => {
      await client.query(`select retention.create_partition('security_events_log', '2014-06-01Z', '2014-07-01Z')`);
    });
    await insert('2014-06-10T00:00:00Z', 2555, 2);
    await insert('2014-06-11T00:00:00Z', 9000, 2);
    const seal = `select retention.seal_partition('security_events_log', '2014-06-01Z')`;
    await db.engine.withClient((client) => client.query(seal));
    await db.engine.withClient((client) => client.query(seal));
    const unitId = await unitOf(db, 'security_events_log_y2014m06');
    expect(await split(ctx(), { unitId, reason: 'expiry' })).toHaveLength(2);
    const again = `insert into audit.security_events_log (id, event_type, severity, category, event_description, event_timestamp, retention_days, additional_context)
      select id, event_type, severity, category, event_description, event_timestamp, retention_days, additional_context
        from audit.security_events_log_late where event_timestamp < '2014-07-01'`;
    await db.engine.withClient((client) => client.query(again));
    expect(
      await scalar(
        db.engine,
        z.bigint(),
        `select count(*) as value from audit.security_events_log_all where event_timestamp < '2014-07-01'`,
      ),
    ).toBe(4n);
  });

  test('is not touched when the siblings would differ', async () => {
    const unitId = await unitOf(db, 'security_events_log_y2015m02');
    await insert('2015-02-12T00:00:00Z', 9000, 0);
    const broken = `create or replace function retention.expiry_expression(p_table text) returns text language sql immutable
      set search_path = pg_catalog, pg_temp as $$ select 'case when e.event_description = ''x1'' then now() end' $$`;
    const lossy = `create or replace function retention.columns_of(p_table text, p_alias text default null) returns text language sql stable
      set search_path = pg_catalog, pg_temp as $$ select string_agg(coalesce(p_alias || '.', '') || quote_ident(a.attname), ', ' order by a.attnum)
        from pg_attribute a where a.attrelid = 'audit.security_events_log'::regclass and a.attnum > 0 and a.attname <> 'additional_context' $$`;
    const failure = await failureOf(db.admin, broken, lossy, `select retention.split_unit(${unitId})`);
    expect(failure).toMatchObject({ code: 'AK111' });
  });
});
