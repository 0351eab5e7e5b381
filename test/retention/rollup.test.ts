/** Raw metrics leave only when their hours and days stand for exactly them. */
import { expect, test } from 'vitest';
import { z } from 'zod';
import { queryRows } from '../../src/db/query.ts';
import { runArchival } from '../../src/retention/archival.ts';
import { runArchive } from '../../src/retention/archive.ts';
import { useDatabase } from '../support/database.ts';
import { failureOf, retentionContext, scalar, stateOf } from './rows.ts';

const db = useDatabase();
const UNIT = 'performance_metrics_minute_y2023m05d07';

test('hours and days are stored and proven before the raw rows go', async () => {
  await db.engine.withClient(async (client) => {
    await client.query(
      `select retention.create_partition('performance_metrics', '2023-05-07Z', '2023-05-08Z', 'minute')`,
    );
    await client.query(`insert into security_internal.performance_metrics (metric_name, metric_type, value, labels, timestamp)
      select m, case m when 'hits' then 'counter' else 'gauge' end, n, case when m = 'load' then '{"host": "a"}'::jsonb end, '2023-05-07T00:30:00Z'::timestamptz + n * interval '1 hour'
        from unnest(array['hits', 'load']) m, generate_series(0, 3) n`);
  });
  const seal = `select retention.seal_partition('performance_metrics', '2023-05-07Z', 'minute')`;
  const move = `select retention.move_unit('performance_metrics', '2023-05-07Z', 'minute')`;
  expect(await failureOf(db.engine, seal, seal, move)).toMatchObject({ code: 'AK108' });

  const run = await runArchive(retentionContext(db.engine), { table: 'performance_metrics', reason: 'test' });
  expect(run.units.filter((unit) => unit.partition === UNIT).map((unit) => unit.outcome)).toEqual([
    { kind: 'archived', rows: 8 },
  ]);
  const shape = z.object({ name: z.string(), period: z.string(), value: z.string(), n: z.bigint() });
  const rows = await db.engine.withClient((client) =>
    queryRows(
      client,
      shape,
      `select metric_name as name, aggregation_period as period, trim_scale(sum(value))::text as value, count(*) as n
      from security_internal.performance_metrics_all where labels ? '_rollup' group by 1, 2 order by 1, 2`,
    ),
  );
  expect(rows).toEqual([
    { name: 'hits', period: 'day', value: '6', n: 1n },
    { name: 'hits', period: 'hour', value: '6', n: 4n },
    { name: 'load', period: 'day', value: '1.5', n: 1n },
    { name: 'load', period: 'hour', value: '6', n: 4n },
  ]);
  const raw = `select count(*) as value from security_internal.performance_metrics_archive where aggregation_period = 'minute'`;
  expect(await scalar(db.engine, z.bigint(), raw)).toBe(8n);
});

test('what arrived late is rolled up once, on its own, before it may go or be split', async () => {
  const ctx = retentionContext(db.engine);
  const scope = { table: 'performance_metrics', reason: 'test' } as const;
  await db.engine.withClient((client) =>
    client.query(`insert into security_internal.performance_metrics (metric_name, metric_type, value, timestamp)
      values ('hits', 'counter', 5, '2023-05-07T03:15:00Z'), ('hits', 'counter', 2, '2023-05-07T09:00:00Z')`),
  );
  const late = `${UNIT}_g2`;
  // As a crash between the two steps leaves it: collected, not rolled up.
  await db.engine.withClient((client) =>
    client.query(`select retention.collect_late('performance_metrics', '2023-05-07Z', '2023-05-08Z', 'minute')`),
  );
  for (const state of ['purge_due', 'copied', 'split']) {
    const onward = `update retention.unit set state = '${state}' where relation_name = '${late}'`;
    expect(await failureOf(db.admin, onward)).toMatchObject({ code: 'AK108' });
  }
  const unitOf = (relation: string) =>
    scalar(db.engine, z.bigint(), 'select unit_id as value from retention.unit where relation_name = $1', [relation]);
  expect(await failureOf(db.engine, `select retention.roll_up(${await unitOf(UNIT)})`)).toMatchObject({
    code: 'AK104',
  });

  const run = await runArchival(ctx, scope);
  expect(run.late.map(({ from, outcome }) => [from, outcome])).toEqual([
    [Date.UTC(2023, 4, 7), { kind: 'rolled-up', relation: `security_internal.${late}`, rollUps: 3 }],
  ]);
  // The hours are archived already, so their new roll-ups are late rows themselves.
  const again = await runArchival(ctx, scope);
  expect(again.late.map(({ category, outcome }) => [category, outcome.kind])).toEqual([['hour', 'collected']]);
  const total = (period: string) => `select trim_scale(sum(value))::text as value
    from security_internal.performance_metrics_all where metric_name = 'hits' and aggregation_period = '${period}'`;
  for (const period of ['minute', 'hour', 'day']) {
    expect(await scalar(db.engine, z.string(), total(period))).toBe('13');
  }
  const due = `update retention.unit set state = 'purge_due' where relation_name = '${late}'`;
  expect(await failureOf(db.admin, due)).toBeNull();
});

test('a sealed unit is not split before its roll-ups are proven', async () => {
  await db.engine.withClient(async (client) => {
    await client.query(
      `select retention.create_partition('performance_metrics', '2023-05-11Z', '2023-05-12Z', 'minute')`,
    );
    const seal = `select retention.seal_partition('performance_metrics', '2023-05-11Z', 'minute')`;
    await client.query(seal);
    await client.query(seal);
  });
  const one = `where relation_name = 'performance_metrics_minute_y2023m05d11'`;
  const split = `update retention.unit set state = 'split' ${one}`;
  expect(await failureOf(db.admin, split)).toMatchObject({ code: 'AK108' });
  const rolledUp = `select retention.roll_up((select unit_id from retention.unit ${one}))`;
  expect(await failureOf(db.admin, rolledUp, split)).toBeNull();
});

test('roll-ups that do not add up stop the move', async () => {
  await db.engine.withClient(async (client) => {
    await client.query(
      `select retention.create_partition('performance_metrics', '2023-05-09Z', '2023-05-10Z', 'minute')`,
    );
    await client.query(
      `insert into security_internal.performance_metrics (metric_name, metric_type, value, timestamp) values ('x', 'gauge', 1, '2023-05-09T01:00:00Z')`,
    );
    const seal = `select retention.seal_partition('performance_metrics', '2023-05-09Z', 'minute')`;
    await client.query(seal);
    await client.query(seal);
  });
  const id = await scalar(
    db.engine,
    z.bigint(),
    `select unit_id as value from retention.unit where relation_name = 'performance_metrics_minute_y2023m05d09'`,
  );
  await db.engine.withClient((client) =>
    client.query(`insert into security_internal.performance_metrics (metric_name, metric_type, value, timestamp, aggregation_period, labels)
      values ('x', 'gauge', 1, '2023-05-09T01:00:00Z', 'hour', '{"_rollup": {"unit": ${id}, "count": 5, "sum": 5}}')`),
  );
  expect(await failureOf(db.engine, `select retention.roll_up(${id})`)).toMatchObject({ code: 'AK111' });
  expect(await stateOf(db.engine, 'performance_metrics_minute_y2023m05d09')).toBe('sealed');

  // What was proven once needs no roll-ups any more: theirs is a shorter life.
  const proven = `select retention.is_rolled_up(u) as value from retention.unit u where unit_id = ${id}`;
  expect(await scalar(db.admin, z.boolean(), proven)).toBe(false);
  await db.admin.withClient((client) =>
    client.query(`update retention.unit set rolled_up_at = now() where unit_id = ${id}`),
  );
  expect(await scalar(db.admin, z.boolean(), proven)).toBe(true);
});
