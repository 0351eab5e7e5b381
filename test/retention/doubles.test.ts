/** A writer that repeats itself stores one row, whatever happened to the partition in between and whoever writes too. */
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import type { SqlClient } from '../../src/db/database.ts';
import { queryRows } from '../../src/db/query.ts';
import { type TestDatabase, useDatabase } from '../support/database.ts';
import { linkAll } from './rows.ts';

interface Writer {
  readonly view: string;
  readonly statement: string;
}

const AT = '2021-01-05 00:00:00+00';
const EVENT = `insert into audit.audit_log (id, event_type, event_category, event_action, event_timestamp, additional_data)
  values ($1, 'test', 'system', 'CREATE', $2, '{"n": 1.0}') on conflict do nothing`;

const WRITERS: Readonly<Record<string, Writer>> = {
  'audit_log ': { view: 'audit.audit_log_all', statement: EVENT },
  'data_access_log extended': {
    view: 'audit.data_access_log_all',
    statement: `insert into audit.data_access_log (id, table_name, access_type, retention_category, accessed_at)
      values ($1, 't', 'SELECT', 'extended', $2) on conflict do nothing`,
  },
  'security_events_log ': {
    view: 'audit.security_events_log_all',
    statement: `insert into audit.security_events_log (id, event_type, severity, category, event_description, event_timestamp)
      values ($1, 't', 'low', 'anomaly', 'x', $2) on conflict do nothing`,
  },
  'performance_metrics hour': {
    view: 'security_internal.performance_metrics_all',
    statement: `insert into security_internal.performance_metrics
      (id, metric_name, metric_type, value, aggregation_period, timestamp)
      values ($1, 'm', 'gauge', 1.50, 'hour', $2) on conflict do nothing`,
  },
  'distributed_traces ': {
    view: 'security_internal.distributed_traces_all',
    statement: `insert into security_internal.distributed_traces
      (id, trace_id, span_id, operation_name, service_name, start_time)
      values ($1, 't', 's', 'o', 'x', $2) on conflict do nothing`,
  },
};

const db = useDatabase();
let ids = 0;
const freshId = () => `00000000-0000-4000-8000-${String(++ids).padStart(12, '0')}`;

async function originsOf(database: TestDatabase, view: string, id: string): Promise<string[]> {
  const rows = await database.admin.withClient((client) =>
    queryRows(client, z.object({ origin: z.string() }), `select origin from ${view} where id = $1 order by origin`, [
      id,
    ]),
  );
  return rows.map((row) => row.origin);
}

const asEngine = (statement: string, values: string[] = []) =>
  db.engine.withClient((client) => client.query(statement, values));

describe.each(Object.entries(WRITERS))('%s: a retry between each pair of edges', (branch, { view, statement }) => {
  const [table = '', category = ''] = branch.split(' ');
  const id = freshId();
  const write = () => db.engine.withClient((client) => client.query(statement, [id, AT]));
  const step = (call: string) => asEngine(`select retention.${call}($1, '2021-01-05Z', $2)`, [table, category]);

  test('stores nothing', async () => {
    await asEngine(`select retention.create_partition($1, '2021-01-05Z', '2021-01-06Z', $2)`, [table, category]);
    await write();
    await write();
    expect(await originsOf(db, view, id)).toEqual(['hot']);
    await linkAll(db.engine);
    await step('seal_partition');
    await write();
    expect(await originsOf(db, view, id), 'diverted').toEqual(['hot']);
    await step('seal_partition');
    await write();
    expect(await originsOf(db, view, id), 'sealed').toEqual(['hot']);
    await step('move_unit');
    await write();
    expect(await originsOf(db, view, id), 'archived').toEqual(['archive']);
  });

  test('after the row came late: stores nothing, also when its range gets a partition', async () => {
    const late = freshId();
    const at = '2019-05-05 00:00:00+00';
    const repeat = () => db.engine.withClient((client) => client.query(statement, [late, at]));
    await repeat();
    await repeat();
    expect(await originsOf(db, view, late)).toEqual(['late']);
    await asEngine(`select retention.create_partition($1, '2019-05-05Z', '2019-05-06Z', $2)`, [table, category]);
    await repeat();
    expect(await originsOf(db, view, late), 'carved').toEqual(['late']);
    const other = freshId();
    await db.engine.withClient((client) => client.query(statement.replace(`'s',`, `'s2',`), [other, at]));
    expect(await originsOf(db, view, other)).toEqual(['hot']);
  });
});

describe('two transactions that store one event', () => {
  const app = db.as('app_readwrite_role');
  const insert = (client: SqlClient, id: string, at: string) => client.query(EVENT, [id, at]);

  test.each(['read committed', 'repeatable read', 'serializable'])(
    'in a closed range at the same moment (%s): one row',
    async (isolation) => {
      const id = freshId();
      const at = '2001-01-05 00:00:00+00';
      await app.withClient(async (first) => {
        await first.query(`begin isolation level ${isolation}`);
        await insert(first, id, at);
        const second = app.withClient(async (client) => {
          await client.query(`begin isolation level ${isolation}`);
          await client.query('select 1 from audit.audit_log limit 0');
          await insert(client, id, at);
          await client.query('commit');
        });
        const settled = second.then(
          () => null,
          (error: unknown) => error,
        );
        await expect.poll(() => waiting(db), { timeout: 10_000, interval: 10 }).toBe(1);
        await first.query('commit');
        const failure = await settled;
        // Under a frozen snapshot the writer is told to try again.
        if (isolation === 'read committed') expect(failure).toBeNull();
        else expect(failure).toMatchObject({ code: '40001' });
      });
      expect(await originsOf(db, 'audit.audit_log_all', id)).toEqual(['late']);
    },
  );

  test('one gives up: the other is stored', async () => {
    const id = freshId();
    await app.withClient(async (first) => {
      await first.query('begin');
      await insert(first, id, '2001-01-06 00:00:00+00');
      const second = app.withClient((client) => insert(client, id, '2001-01-06 00:00:00+00'));
      await expect.poll(() => waiting(db), { timeout: 10_000, interval: 10 }).toBe(1);
      await first.query('rollback');
      await second;
    });
    expect(await originsOf(db, 'audit.audit_log_all', id)).toEqual(['late']);
  });

  test('a snapshot from before the divert cannot tell whether the row is there, and says so', async () => {
    const id = freshId();
    const at = '2020-03-05 00:00:00+00';
    await asEngine(`select retention.create_partition('audit_log', '2020-03-01Z', '2020-04-01Z')`);
    await app.withClient(async (frozen) => {
      await frozen.query('begin isolation level repeatable read');
      await frozen.query('select 1');
      await app.withClient((client) => insert(client, id, at));
      await asEngine(`select retention.seal_partition('audit_log', '2020-03-01Z')`);
      await expect(insert(frozen, id, at)).rejects.toMatchObject({ code: '40001' });
      await frozen.query('rollback');
    });
    expect(await originsOf(db, 'audit.audit_log_all', id)).toEqual(['hot']);
  });
});

async function waiting(database: TestDatabase): Promise<number> {
  const rows = await database.admin.withClient((client) =>
    queryRows(
      client,
      z.object({ pid: z.number() }),
      `select a.pid from pg_stat_activity a
        where a.datname = current_database() and a.wait_event_type = 'Lock' and a.query like 'insert into audit.audit_log%'`,
    ),
  );
  return rows.length;
}

describe('what makes two rows the same', () => {
  const at = '2001-02-01 00:00:00+00';
  const event = (id: string, json: string) =>
    asEngine(
      `insert into audit.audit_log (id, event_type, event_category, event_action, event_timestamp, additional_data)
       values ($1, 'test', 'system', 'CREATE', $2, $3)`,
      [id, at, json],
    );

  test('their text: 1.0 is not 1.00, whose leaves differ', async () => {
    const id = freshId();
    await event(id, '{"n": 1.0}');
    await event(id, '{"n": 1.0}');
    expect(await originsOf(db, 'audit.audit_log_all', id)).toEqual(['late']);
    await event(id, '{"n": 1.00}');
    expect(await originsOf(db, 'audit.audit_log_all', id)).toEqual(['late', 'late']);
  });

  test('not what an analyst noted since', async () => {
    const id = freshId();
    const moment = '2020-06-05 00:00:00+00';
    const { statement, view } = WRITERS['security_events_log '] ?? { statement: '', view: '' };
    const write = () => asEngine(statement, [id, moment]);
    await asEngine(`select retention.create_partition('security_events_log', '2020-06-01Z', '2020-07-01Z')`);
    await write();
    await db
      .as('security_analyst_role')
      .withClient((client) =>
        client.query(`update audit.security_events_log set investigated = true where id = $1`, [id]),
      );
    await asEngine(`select retention.seal_partition('security_events_log', '2020-06-01Z')`);
    await write();
    expect(await originsOf(db, view, id)).toEqual(['hot']);
  });

  test('not what was erased since: a retry does not bring a person back', async () => {
    const id = freshId();
    const moment = '2020-08-05 00:00:00+00';
    const write = () =>
      asEngine(
        `insert into audit.audit_log (id, event_type, event_category, event_action, event_timestamp, user_email)
         values ($1, 'test', 'system', 'CREATE', $2, 'a@example.org') on conflict do nothing`,
        [id, moment],
      );
    await asEngine(`select retention.create_partition('audit_log', '2020-08-01Z', '2020-09-01Z')`);
    await write();
    await db.admin.withClient(async (client) => {
      await client.query('alter table audit.audit_log_y2020m08 disable trigger ak_child_immutable');
      await client.query('update audit.audit_log set user_email = null, actor_salt = null where id = $1', [id]);
      await client.query('alter table audit.audit_log_y2020m08 enable always trigger ak_child_immutable');
    });
    await asEngine(`select retention.seal_partition('audit_log', '2020-08-01Z')`);
    await write();
    expect(await originsOf(db, 'audit.audit_log_all', id)).toEqual(['hot']);
  });
});
