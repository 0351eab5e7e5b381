/** Raw metrics leave only when their hours and days stand for exactly them. */
import { expect, test } from 'vitest';
import { z } from 'zod';
import { queryRows } from '../../src/db/query.ts';
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
});
