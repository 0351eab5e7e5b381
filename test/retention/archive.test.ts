/** hot -> sealed -> archived: nothing lost or doubled, with writers at work; what is not ready waits. */
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { lockSession, unlockSession } from '../../src/db/advisory-lock.ts';
import { queryRows } from '../../src/db/query.ts';
import { listArchive, planArchive, runArchive } from '../../src/retention/archive.ts';
import { DEFAULT_WINDOW, type RetryWindow } from '../../src/retention/lock-retry.ts';
import { ensurePartitions } from '../../src/retention/partition.ts';
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
  stateOf,
} from './rows.ts';

const IMPATIENT = { attempts: 3, maxPauseMs: 20 };
const day = (text: string) => instant(`${text}T00:00:00Z`);

describe('with writers at work', () => {
  const db = useDatabase();
  const months = ['2023-01', '2023-02', '2023-03'];

  test('every inserted event is in exactly one of hot, archive and late', async () => {
    const ctx = retentionContext(db.engine);
    await ensureMonths(db.engine, months);
    let inserted = 0;
    const running = new AbortController();
    const write = async (worker: number) => {
      const application = db.as('app_readwrite_role');
      let round = 0;
      while (!running.signal.aborted) {
        const month = months[(worker + round) % months.length] ?? '2023-01';
        // Workers with an even number hold their transaction open over two statements and a savepoint.
        await application.withClient(async (client) => {
          await client.query('begin');
          await insertEvents(client, `${month}-1${worker}T00:00:00Z`, 5);
          if (worker % 2 === 0) {
            await client.query('savepoint s');
            await insertEvents(client, `${month}-2${worker}T00:00:00Z`, 2);
            if (round % 3 === 0) await client.query('rollback to s');
          }
          await client.query('commit');
          inserted += 5 + (worker % 2 === 0 && round % 3 !== 0 ? 2 : 0);
        });
        round += 1;
      }
    };
    const writers = [0, 1, 2, 3].map(write);
    const scope = { table: 'audit_log', before: day('2023-04-01'), reason: 'writers' } as const;
    for (let run = 0; run < 30; run += 1) {
      const before = inserted;
      await expect.poll(() => inserted, { timeout: 20_000 }).toBeGreaterThan(before);
      await linkAll(db.engine);
      await runArchive(ctx, scope);
      if ((await listArchive(ctx, { table: 'audit_log' })).length === months.length) break;
    }
    const afterMove = inserted;
    await expect.poll(() => inserted, { timeout: 20_000 }).toBeGreaterThan(afterMove);
    running.abort();
    await Promise.all(writers);

    expect(await listArchive(ctx, { table: 'audit_log' })).toHaveLength(months.length);
    const found = await countByOrigin(db.engine);
    expect(found['hot']).toBeUndefined();
    expect(found['late']).toBeGreaterThan(0);
    expect((found['archive'] ?? 0) + (found['late'] ?? 0)).toBe(inserted);
    const doubled = `select count(*) - count(distinct id) as value from audit.audit_log_all where event_type = 'test'`;
    expect(await scalar(db.engine, z.bigint(), doubled)).toBe(0n);
    const counted = (await listArchive(ctx)).reduce((sum, unit) => sum + (unit.rows ?? 0n), 0n);
    expect(counted).toBe(BigInt(found['archive'] ?? 0));
  });

  test('late rows are linked like any other, so nothing is without a seq', async () => {
    await linkAll(db.engine);
    const open = `select count(*) as value from audit.audit_log_sealed where seq is null`;
    expect(await scalar(db.engine, z.bigint(), open)).toBe(0n);
  });
});

describe('a unit', () => {
  const db = useDatabase();
  const scope = { table: 'audit_log', reason: 'test' } as const;
  const outcome = async (before: string, window: RetryWindow = DEFAULT_WINDOW) => {
    const run = await runArchive(retentionContext(db.engine), { ...scope, before: day(before), window });
    return run.units.map((unit) => `${unit.partition} ${unit.outcome.kind}`);
  };

  beforeAll(async () => {
    await ensureMonths(db.engine, ['2022-01', '2022-02', '2022-03', '2022-04', '2022-05']);
    await db.engine.withClient(async (client) => {
      for (const month of ['01', '02', '03', '04', '05']) await insertEvents(client, `2022-${month}-10T00:00:00Z`, 10);
    });
  });

  test('whose events are not linked waits, diverts new rows and leaves once they are', async () => {
    expect(await outcome('2022-02-01')).toEqual(['audit_log_y2022m01 postponed']);
    expect(await stateOf(db.engine, 'audit_log_y2022m01')).toBe('hot');
    await db.engine.withClient((client) => insertEvents(client, '2022-01-20T00:00:00Z', 1));
    expect(await countByOrigin(db.engine)).toEqual({ hot: 50, late: 1 });
    await linkAll(db.engine);
    expect(await outcome('2022-02-01')).toEqual(['audit_log_y2022m01 archived']);
    expect(await countByOrigin(db.engine)).toEqual({ hot: 40, archive: 10, late: 1 });
  });

  test('that left is not planned again, and rows of its range go to late', async () => {
    expect(await outcome('2022-02-01')).toEqual([]);
    await db.engine.withClient((client) => insertEvents(client, '2022-01-31T23:59:59Z', 1));
    expect(await countByOrigin(db.engine)).toEqual({ hot: 40, archive: 10, late: 2 });
    const ensured = await ensurePartitions(retentionContext(db.engine), 'audit_log', [day('2022-01-05')]);
    expect(ensured.created).toBe(0);
    expect(ensured.archivedRanges.map((unit) => unit.relation)).toEqual(['audit.audit_log_y2022m01']);
  });

  test('an archived row that is inserted again is dropped, another one with its id is kept', async () => {
    const again = `insert into audit.audit_log (id, event_type, event_category, event_action, event_timestamp, user_email, additional_data)
      select id, event_type, event_category, %ACTION%, event_timestamp, user_email, additional_data
        from audit.audit_log_archive order by event_timestamp limit 1`;
    await db.engine.withClient((client) => client.query(again.replace('%ACTION%', 'event_action')));
    expect(await countByOrigin(db.engine)).toEqual({ hot: 40, archive: 10, late: 2 });
    await db.engine.withClient((client) => client.query(again.replace('%ACTION%', `'DELETE'`)));
    expect(await countByOrigin(db.engine)).toEqual({ hot: 40, archive: 10, late: 3 });
  });

  test('under a hold stays, and does not stop a younger one', async () => {
    await db.admin.withClient((client) =>
      client.query(`update retention.unit set held = true where relation_name = 'audit_log_y2022m02'`),
    );
    expect(await outcome('2022-04-01')).toEqual(['audit_log_y2022m02 postponed', 'audit_log_y2022m03 archived']);
    expect(await countByOrigin(db.engine)).toEqual({ hot: 30, archive: 20, late: 3 });
    // Its own range is still written to as before.
    await db.engine.withClient((client) => insertEvents(client, '2022-02-20T00:00:00Z', 1));
    expect(await countByOrigin(db.engine)).toEqual({ hot: 31, archive: 20, late: 3 });
  });

  test('that fails does not stop the others, and says why', async () => {
    await db.admin.withClient((client) =>
      client.query('alter table audit.audit_log_y2022m04 disable trigger ak_child_immutable'),
    );
    const ctx = retentionContext(db.engine);
    const run = await runArchive(ctx, { ...scope, before: day('2022-06-01') });
    expect(run.units.map((unit) => `${unit.partition} ${unit.outcome.kind}`)).toEqual([
      'audit_log_y2022m02 postponed',
      'audit_log_y2022m04 failed',
      'audit_log_y2022m05 archived',
    ]);
    expect(run.units[1]?.outcome).toMatchObject({ error: { code: 'RETENTION_UNPROTECTED' } });
    expect(await stateOf(db.engine, 'audit_log_y2022m04')).toBe('failed');
    await db.admin.withClient((client) =>
      client.query('alter table audit.audit_log_y2022m04 enable always trigger ak_child_immutable'),
    );
    expect(await outcome('2022-06-01')).toEqual(['audit_log_y2022m02 postponed', 'audit_log_y2022m04 archived']);
  });

  test('that failed before goes back to where its edge began and is tried again', async () => {
    await ensureMonths(db.engine, ['2020-05']);
    const setState = (change: string) =>
      db.admin.withClient((client) =>
        client.query(`update retention.unit set ${change} where relation_name = 'audit_log_y2020m05'`),
      );
    await setState(`state = 'failed', failed_from = 'hot'`);
    expect(await outcome('2020-06-01')).toEqual(['audit_log_y2020m05 archived']);
  });

  test('is postponed while somebody reads hot, archived and late rows together', async () => {
    await ensureMonths(db.engine, ['2021-01']);
    await db.engine.withClient(async (reader) => {
      await lockSession(reader, 'structure', 'shared');
      expect(await outcome('2021-02-01', IMPATIENT)).toEqual(['audit_log_y2021m01 postponed']);
      expect(await stateOf(db.engine, 'audit_log_y2021m01')).toBe('sealed');
      await unlockSession(reader, 'structure', 'shared');
    });
    expect(await outcome('2021-02-01')).toEqual(['audit_log_y2021m01 archived']);
  });

  test('is postponed behind a long reader of the table, which nobody queues behind', async () => {
    await ensureMonths(db.engine, ['2021-03']);
    await db.engine.withClient(async (reader) => {
      await reader.query('begin');
      await reader.query('select count(*) from audit.audit_log');
      expect(await outcome('2021-04-01', IMPATIENT)).toEqual(['audit_log_y2021m03 postponed']);
      await db.engine.withClient((client) => insertEvents(client, '2021-03-05T00:00:00Z', 1));
      await reader.query('commit');
    });
    expect(await outcome('2021-04-01')).toEqual(['audit_log_y2021m03 archived']);
  });

  test('each step is an event of its transaction, with reason and counts and nothing personal', async () => {
    const events = await db.engine.withClient((client) =>
      queryRows(
        client,
        z.object({ event_type: z.string(), details: z.record(z.string(), z.unknown()), user_email: z.null() }),
        `select event_type, additional_data as details, user_email from audit.audit_log_all
          where resource_id = 'audit_log_y2022m03' order by event_timestamp, event_type desc`,
      ),
    );
    expect(events.map((event) => event.event_type).sort()).toEqual(['partition.archived', 'partition.sealed']);
    expect(events[0]?.details).toMatchObject({
      reason: 'test',
      table: 'audit_log',
      category: null,
      from: '2022-03-01T00:00:00.000Z',
      to: '2022-04-01T00:00:00.000Z',
      rows: 10,
    });
  });

  test('the plan counts exactly and its hash does not change while nothing does', async () => {
    const plan = () => planArchive(retentionContext(db.engine), { table: 'audit_log', before: day('2022-06-01') });
    const [first, second] = [await plan(), await plan()];
    expect(first.units.map((unit) => [unit.partition, unit.rows, unit.blockers])).toEqual([
      ['audit_log_y2022m02', 11n, ['held']],
    ]);
    expect(second.planHash).toBe(first.planHash);
  });
});

const aged = useDatabase();

describe.each([
  [
    'data_access_log',
    'permanent',
    '2019-05-01',
    `insert into audit.data_access_log (table_name, access_type, accessed_at, retention_category) values ('t', 'SELECT', $1, null)`,
  ],
  [
    'data_access_log',
    'standard',
    '2019-05-01',
    `insert into audit.data_access_log (table_name, access_type, accessed_at) values ('t', 'SELECT', $1)`,
  ],
  [
    'security_events_log',
    null,
    '2019-05-01',
    `insert into audit.security_events_log (event_type, severity, category, event_description, event_timestamp) values ('t', 'low', 'anomaly', 'x', $1)`,
  ],
  // Before the raw ones, whose roll-ups lie in the same month.
  [
    'performance_metrics',
    'day',
    '2019-05-01',
    `insert into security_internal.performance_metrics (metric_name, metric_type, value, timestamp, aggregation_period) values ('m', 'gauge', 1, $1, 'day')`,
  ],
  [
    'performance_metrics',
    'minute',
    '2019-05-01',
    `insert into security_internal.performance_metrics (metric_name, metric_type, value, timestamp) values ('m', 'gauge', 1, $1)`,
  ],
  [
    'distributed_traces',
    null,
    '2019-05-01',
    `insert into security_internal.distributed_traces (trace_id, span_id, operation_name, service_name, start_time) values ('t', 's', 'o', 's', $1)`,
  ],
] as const)('%s %s', (table, category, date, insert) => {
  const db = aged;
  const schema = table === 'performance_metrics' || table === 'distributed_traces' ? 'security_internal' : 'audit';

  const column = table === 'data_access_log' ? 'retention_category' : 'aggregation_period';
  const mine = category === null ? '' : ` where ${column} = '${category}'`;

  test('is archived by date like the events', async () => {
    const ctx = retentionContext(db.engine);
    await ensurePartitions(ctx, table, [day(date)], category === null ? undefined : [category]);
    const write = () => db.engine.withClient((client) => client.query(insert, [`${date}T06:00:00Z`]));
    await write();
    const run = await runArchive(ctx, { table, before: day('2019-06-01'), reason: 'test' });
    expect(run.units.map((unit) => [unit.category, unit.rows, unit.outcome])).toEqual([
      [category, 1n, { kind: 'archived', rows: 1 }],
    ]);
    await write();
    const origins = `select string_agg(origin, ',' order by origin) as value from ${schema}.${table}_all${mine}`;
    expect(await scalar(db.engine, z.string(), origins)).toBe(
      table === 'distributed_traces' ? 'archive,late' : 'archive,late',
    );
    if (table === 'security_events_log') {
      const flags = `select string_agg(origin || ' ' || archived, ', ' order by origin) as value from audit.security_events_log_all`;
      expect(await scalar(db.engine, z.string(), flags)).toBe('archive true, late false');
    }
  });
});

describe('security events with an open incident', () => {
  const db = aged;

  test('wait until it is resolved, at most 90 days past the bound', async () => {
    const ctx = retentionContext(db.engine);
    const recent = `(date_trunc('month', now() at time zone 'UTC') - interval '1 month') at time zone 'UTC'`;
    const from = await scalar(
      db.admin,
      z.string(),
      `select to_char(${recent} at time zone 'UTC', 'YYYY-MM-DD') as value`,
    );
    const end = await scalar(
      db.admin,
      z.string(),
      `select to_char(date_trunc('month', now() at time zone 'UTC'), 'YYYY-MM-DD') as value`,
    );
    await ensurePartitions(ctx, 'security_events_log', [day(from), day('2018-05-01')]);
    await db.engine.withClient(async (client) => {
      for (const at of [from, '2018-05-01']) {
        await client.query(
          `insert into audit.security_events_log (event_type, severity, category, event_description, event_timestamp, incident_id)
           values ('t', 'low', 'incident', 'x', $1::timestamptz, gen_random_uuid())`,
          [`${at}T06:00:00Z`],
        );
      }
    });
    const run = () => runArchive(ctx, { table: 'security_events_log', before: day(end), reason: 'test' });
    expect((await run()).units.map((unit) => unit.outcome.kind)).toEqual(['archived', 'postponed']);
    const resolve = db
      .as('security_analyst_role')
      .withClient((client) => client.query('update audit.security_events_log set resolved_at = now()'));
    expect((await resolve).rowCount).toBe(1);
    expect((await run()).units.map((unit) => unit.outcome.kind)).toEqual(['archived']);
    expect(await failureOf(db.admin, 'update audit.security_events_log_archive set resolved_at = null')).toMatchObject({
      code: 'AK100',
    });
  });
});
