/** Where inserted rows go: their leaf, or the late table where a tombstone lies; doubles; the default category. */
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { queryRows } from '../../src/db/query.ts';
import { useDatabase } from '../support/database.ts';
import { countByOrigin, scalar } from './rows.ts';

const db = useDatabase();

interface Sample {
  readonly view: string;
  readonly time: string;
  readonly category: string | null;
  readonly columns: string;
  readonly values: string;
}

const SAMPLES: readonly (readonly [string, Sample])[] = [
  [
    'audit.audit_log',
    sample(
      'audit_log_all',
      'event_timestamp',
      null,
      'event_type, event_category, event_action',
      `'test', 'system', 'CREATE'`,
    ),
  ],
  [
    'audit.data_access_log',
    sample('data_access_log_all', 'accessed_at', 'extended', 'table_name, access_type', `'t', 'SELECT'`),
  ],
  [
    'audit.security_events_log',
    sample(
      'security_events_log_all',
      'event_timestamp',
      null,
      'event_type, severity, category, event_description',
      `'t', 'low', 'anomaly', 'x'`,
    ),
  ],
  [
    'security_internal.performance_metrics',
    sample('performance_metrics_all', 'timestamp', 'hour', 'metric_name, metric_type, value', `'m', 'gauge', 1.50`),
  ],
  [
    'security_internal.distributed_traces',
    sample(
      'distributed_traces_all',
      'start_time',
      null,
      'trace_id, span_id, operation_name, service_name',
      `'t', gen_random_uuid()::varchar(8), 'o', 's'`,
    ),
  ],
];

function sample(view: string, time: string, category: string | null, columns: string, values: string): Sample {
  return { view, time, category, columns, values };
}

describe.each(SAMPLES)('%s', (table, { view, time, category, columns, values }) => {
  const schema = table.split('.')[0] ?? '';
  const categoryColumn = table.endsWith('metrics') ? ', aggregation_period' : ', retention_category';
  const insert = (at: string) =>
    db.engine.withClient((client) =>
      client.query(
        `insert into ${table} ("${time}", ${columns}${category === null ? '' : categoryColumn})
         values ($1::timestamptz, ${values}${category === null ? '' : `, '${category}'`}) returning id`,
        [at],
      ),
    );
  const origins = async () =>
    await db.engine.withClient(async (client) => {
      const rows = await queryRows(
        client,
        z.object({ origin: z.string(), rows: z.bigint() }),
        `select origin, count(*) as rows from ${schema}.${view} group by origin order by origin`,
      );
      return rows.map((row) => `${row.origin} ${row.rows}`);
    });

  test('a row of now goes to its leaf, a row of long ago to late, a row beyond the horizon nowhere', async () => {
    expect((await insert('now')).rows).toHaveLength(1);
    expect(await origins()).toEqual(['hot 1']);
    const diverted = await insert('1999-12-31 23:59:59.999999Z');
    expect([diverted.rowCount, diverted.rows]).toEqual([0, []]);
    expect(await origins()).toEqual(['hot 1', 'late 1']);
    await expect(insert('2999-01-01Z')).rejects.toMatchObject({ code: '23514' });
    expect(await origins()).toEqual(['hot 1', 'late 1']);
  });

  test('the leaf is the one whose bounds hold the row', async () => {
    const leaf = await scalar(db.admin, z.string(), `select tableoid::regclass::text as value from ${table}`);
    const bounds = `select l.lower_bound <= now() and now() < l.upper_bound as value
                      from pg_inherits i, retention.leaves(i.inhparent) l
                     where i.inhrelid = '${leaf}'::regclass and l.relation = i.inhrelid`;
    expect(await scalar(db.admin, z.boolean(), bounds)).toBe(true);
    if (category !== null) expect(leaf).toContain(`_${category}_`);
  });

  test('an application cannot write to a leaf, to the archive or to late directly', async () => {
    for (const target of [`${table}_late`, `${table}_archive`]) {
      const direct = db
        .as('app_readwrite_role')
        .withClient((client) => client.query(`insert into ${target} default values`));
      await expect(direct, target).rejects.toMatchObject({ code: 'DB_PRIVILEGE' });
    }
  });
});

describe('diverted events', () => {
  const ID = '00000000-0000-4000-8000-000000000001';
  const insert = (action: string, id = ID) =>
    db.as('app_readwrite_role').withClient((client) =>
      client.query(
        `insert into audit.audit_log (id, event_type, event_category, event_action, event_timestamp, additional_data)
         values ($1, 'double', 'system', $2, '2001-01-01 00:00:00Z', '{"n": 1.0}')`,
        [id, action],
      ),
    );
  const late = () =>
    scalar(db.admin, z.bigint(), `select count(*) as value from audit.audit_log_late where event_type = 'double'`);

  test('an identical row is dropped, whatever its salts; a differing one is kept', async () => {
    await insert('CREATE');
    expect(await late()).toBe(1n);
    await insert('CREATE');
    expect(await late()).toBe(1n);
    await insert('UPDATE');
    expect(await late()).toBe(2n);
    await insert('CREATE', '00000000-0000-4000-8000-000000000002');
    expect(await late()).toBe(3n);
  });

  test('salts and txid are those of the row that was written', async () => {
    const same = `select count(*) filter (where octet_length(actor_salt) = 16 and octet_length(payload_salt) = 16
                          and txid = xmin::text::bigint and hash_version = 1) = count(*) as value
                    from audit.audit_log_late where event_type = 'double'`;
    expect(await scalar(db.admin, z.boolean(), same)).toBe(true);
    const salts = `select count(distinct actor_salt) = count(*) as value from audit.audit_log_late where event_type = 'double'`;
    expect(await scalar(db.admin, z.boolean(), salts)).toBe(true);
  });

  test('diverts where ordinary triggers are off, as for a replication worker', async () => {
    await db.admin.withClient(async (client) => {
      await client.query("set session_replication_role = 'replica'");
      await client.query(
        `insert into audit.audit_log (event_type, event_category, event_action, event_timestamp)
         values ('replica', 'system', 'CREATE', '2001-01-01Z')`,
      );
      await client.query('reset session_replication_role');
    });
    const tombstones = `select count(*) as value from audit.audit_log where event_type = 'replica'`;
    expect(await scalar(db.admin, z.bigint(), tombstones)).toBe(0n);
    const kept = `select count(*) as value from audit.audit_log_late where event_type = 'replica'`;
    expect(await scalar(db.admin, z.bigint(), kept)).toBe(1n);
  });
});

describe('data_access_log without a category', () => {
  beforeAll(async () => {
    await db.engine.withClient((client) =>
      client.query(
        `insert into audit.data_access_log (table_name, access_type, retention_category, accessed_at)
         values ('none', 'SELECT', null, now()), ('none', 'SELECT', null, '2001-01-01Z')`,
      ),
    );
  });

  test('is stored as permanent, hot and late', async () => {
    const found = await db.engine.withClient((client) =>
      queryRows(
        client,
        z.object({ origin: z.string(), retention_category: z.string() }),
        `select origin, retention_category from audit.data_access_log_all where table_name = 'none' order by origin`,
      ),
    );
    expect(found).toEqual([
      { origin: 'hot', retention_category: 'permanent' },
      { origin: 'late', retention_category: 'permanent' },
    ]);
  });
});

// Salts are the database's own: no role can give one (test/schema/forbidden.test.ts). What the trigger writes as the
// owner is checked once more.
test.each([
  ['an infinite time', `'-infinity', null, public.gen_random_bytes(16)`],
  ['a short salt, late', `'2001-01-01', 'a@example.org', '\\x00'`],
  ['no salt over a group that has values, late', `'2001-01-01', 'a@example.org', null`],
])('an event with %s is refused', async (_what, values) => {
  const insert = db.admin.withClient((client) =>
    client.query(
      `insert into audit.audit_log (event_type, event_category, event_action, event_timestamp, user_email, actor_salt)
       values ('bad', 'system', 'CREATE', ${values})`,
    ),
  );
  await expect(insert).rejects.toMatchObject({ code: '23514' });
  expect((await countByOrigin(db.engine))['hot']).toBe(1);
});
