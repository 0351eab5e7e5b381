/** Partitions that others made or altered: each thing that can be wrong is named, and what is mended is mended whole. */
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import type { SqlClient } from '../../src/db/database.ts';
import { queryOne, queryRows } from '../../src/db/query.ts';
import { isoOf, systemClock } from '../../src/time/clock.ts';
import { addPeriod, startOfStep } from '../../src/time/period.ts';
import { useDatabase } from '../support/database.ts';
import { failureOf, rewindIn } from './rows.ts';

const db = useDatabase();
const TABLE = 'security_events_log';
const month = startOfStep('month', systemClock.now());
const next = addPeriod(month, { unit: 'month', count: 1 });
const after = addPeriod(month, { unit: 'month', count: 2 });
const leafOf = (at: typeof month) => `${TABLE}_y${isoOf(at).slice(0, 4)}m${isoOf(at).slice(5, 7)}`;
const within = (from: typeof month, to: typeof month) => `for values from ('${isoOf(from)}') to ('${isoOf(to)}')`;
const owned = (relation: string) => `alter table audit.${relation} owner to auditkeep_owner`;

/** Runs as the superuser in a transaction that is rolled back. */
async function tried<T>(work: (client: SqlClient) => Promise<T>): Promise<T> {
  return await db.admin.withClient(async (client) => {
    await client.query('begin');
    try {
      return await work(client);
    } finally {
      await client.query('rollback');
    }
  });
}

const codeOf = async (client: SqlClient, statement: string): Promise<string | null> => {
  await client.query('savepoint one');
  try {
    await client.query(statement);
    return null;
  } catch (error) {
    await client.query('rollback to one');
    return z.object({ code: z.string() }).parse(error).code;
  }
};

const THEIRS = [`create table audit.theirs partition of audit.${TABLE} ${within(month, next)}`];

describe.each<[string, string, readonly string[]]>([
  ['default', 'rest', [`create table audit.rest partition of audit.${TABLE} default`, owned('rest')]],
  ['foreign-owner', 'theirs', THEIRS],
  ['not-a-table', 'theirs', [`${THEIRS[0]} partition by range (event_timestamp)`, owned('theirs')]],
  ['overlaps-unit', 'theirs', [...THEIRS, owned('theirs'), UNIT()]],
  [
    'half-detached',
    'theirs',
    [
      ...THEIRS,
      owned('theirs'),
      `update pg_inherits set inhdetachpending = true where inhrelid = 'audit.theirs'::regclass`,
    ],
  ],
  [
    'referenced',
    'theirs',
    [
      ...THEIRS,
      owned('theirs'),
      'create table public.referrer (at timestamptz, id uuid, foreign key (at, id) references audit.theirs)',
    ],
  ],
])('%s', (fault, relation, statements) => {
  test('is named, and the partition is not adopted', async () => {
    await tried(async (client) => {
      await rewindIn(client, TABLE, '', isoOf(month));
      for (const statement of statements) await client.query(statement);
      expect(await faultsOf(client, relation)).toContain(fault);
      // A DEFAULT partition has no bounds, so that nothing about the branch can be proven.
      const code = fault === 'default' ? 'AK102' : 'AK112';
      expect(await codeOf(client, `select retention.adopt_partition('${TABLE}', '${relation}')`)).toBe(code);
    });
  });
});

/** A unit that was there once: its row stays when its table is gone. */
function UNIT(): string {
  return `insert into retention.unit (table_name, lower_bound, upper_bound, schema_name, relation_name, state)
    values ('${TABLE}', '${isoOf(month)}', '${isoOf(next)}', 'audit', 'gone', 'hot')`;
}

async function faultsOf(client: SqlClient, relation: string): Promise<readonly string[]> {
  const rows = await queryRows(
    client,
    z.object({ fault: z.string() }),
    'select fault from retention.partition_faults() where relation_name = $1 order by 1',
    [relation],
  );
  return rows.map((row) => row.fault);
}

test.each([
  ['a trigger that is off', `disable trigger ak_child_immutable`],
  ['a trigger that ordinary sessions alone run', `enable trigger ak_child_truncate`],
  ['no CHECK of its bounds', 'drop constraint ak_bounds'],
])('a unit with %s is altered', async (_what, change) => {
  await tried(async (client) => {
    expect(await faultsOf(client, leafOf(month))).toEqual([]);
    await client.query(`alter table audit.${leafOf(month)} ${change}`);
    expect(await faultsOf(client, leafOf(month))).toEqual(['altered']);
  });
});

test.each([
  [
    'trigger',
    `create trigger theirs before insert on audit.LEAF for each row execute function audit.default_permanent()`,
  ],
  ['rule', 'create rule theirs as on insert to audit.LEAF do also notify theirs'],
])("a unit with somebody else's %s is altered", async (_what, statement) => {
  await tried(async (client) => {
    await client.query(statement.replace('LEAF', leafOf(month)));
    expect(await faultsOf(client, leafOf(month))).toEqual(['altered']);
  });
});

test('an adopted partition of permanent accesses takes rows without a category as permanent', async () => {
  await tried(async (client) => {
    await rewindIn(client, 'data_access_log', 'permanent', isoOf(month));
    await client.query(`create table audit.theirs partition of audit.data_access_log_permanent ${within(month, next)}`);
    await client.query(owned('theirs'));
    await client.query(`select retention.adopt_partition('data_access_log', 'theirs', 'permanent')`);
    await client.query(
      `insert into audit.data_access_log (table_name, access_type, accessed_at, retention_category) values ('t', 'SELECT', $1, null)`,
      [isoOf(month)],
    );
    const stored = 'select retention_category as category from audit.theirs';
    expect(await queryOne(client, z.object({ category: z.string() }), stored)).toEqual({ category: 'permanent' });
  });
});

describe('a gap', () => {
  const fill = (from: string, to: string) => `select retention.fill_gap('${TABLE}', '${from}', '${to}')`;
  /** The month `month` is missing between the tombstone and a partition of the month after it. */
  const makeGap = async (client: SqlClient) => {
    await rewindIn(client, TABLE, '', isoOf(month));
    await client.query(`create table audit.theirs partition of audit.${TABLE} ${within(next, after)}`);
    await client.query(owned('theirs'));
  };

  test('is filled within it and nowhere else, no wider than a step, and not while a DEFAULT stands', async () => {
    await tried(async (client) => {
      await makeGap(client);
      const later = addPeriod(month, { unit: 'month', count: 3 });
      await client.query(`create table audit.above partition of audit.${TABLE} ${within(after, later)}`);
      const middle = isoOf(addPeriod(month, { unit: 'day', count: 14 }));
      for (const [from, to] of [
        [isoOf(month), isoOf(after)],
        [isoOf(next), isoOf(after).replace('T00', 'T01')],
        [isoOf(later), isoOf(addPeriod(later, { unit: 'month', count: 1 }))],
        [isoOf(next), isoOf(month)],
        [middle, isoOf(addPeriod(next, { unit: 'day', count: 14 }))],
      ] as const) {
        expect([from, to, await codeOf(client, fill(from, to))]).toEqual([from, to, 'AK102']);
      }
      await client.query(`create table audit.rest partition of audit.${TABLE} default; ${owned('rest')}`);
      expect(await codeOf(client, fill(isoOf(month), isoOf(next)))).toBe('AK102');
      await client.query('drop table audit.rest');
      expect(await codeOf(client, fill(isoOf(month), isoOf(next)))).toBeNull();
      expect(await faultsOf(client, leafOf(month))).toEqual([]);
    });
    await tried(async (client) => {
      // Between two units of a branch that has been wide: a year is no step of it.
      await rewindIn(client, TABLE, '', '2020-01-01T00:00:00Z');
      await client.query(
        `create table audit.theirs partition of audit.${TABLE} for values from ('2021-01-01Z') to ('2021-02-01Z')`,
      );
      await client.query(owned('theirs'));
      expect(await codeOf(client, fill('2020-01-01Z', '2021-01-01Z'))).toBe('AK102');
      expect(await codeOf(client, fill('2020-01-01Z', '2020-02-01Z'))).toBeNull();
    });
  });

  test('in whose range rows came late does not store them again', async () => {
    await tried(async (client) => {
      const row = `insert into audit.${TABLE} (id, event_type, severity, category, event_description, event_timestamp)
        values ('00000000-0000-4000-8000-00000000dddd', 'x', 'low', 'anomaly', 'd', '${isoOf(month)}')`;
      await rewindIn(client, TABLE, '', isoOf(next));
      await client.query(row);
      await makeGap(client);
      await client.query(fill(isoOf(month), isoOf(next)));
      await client.query(row);
      const count = `select count(*) as n from audit.${TABLE}_all where id = '00000000-0000-4000-8000-00000000dddd'`;
      expect(await queryOne(client, z.object({ n: z.bigint() }), count)).toEqual({ n: 1n });
    });
  });
});

describe('the rows of a DEFAULT partition', () => {
  const repair = `select retention.repair_default('${TABLE}')`;
  const arrange = async (client: SqlClient) => {
    await client.query(`create table audit.rest partition of audit.${TABLE} default; ${owned('rest')}`);
    await client.query(
      `insert into audit.rest (event_type, severity, category, event_description, event_timestamp)
       select 'x', 'low', 'anomaly', 'd', upper_bound + interval '1 day' from retention.leaves('audit.${TABLE}')
        where isfinite(upper_bound) order by upper_bound desc limit 1`,
    );
  };

  test('are not moved under an older snapshot, nor while a report reads', async () => {
    await tried(async (client) => {
      await client.query('set transaction isolation level repeatable read');
      expect(await codeOf(client, repair)).toBe('AK104');
    });
    await db.engine.withClient(async (reader) => {
      await reader.query('select pg_advisory_lock_shared(24939, 1)');
      expect(await failureOf(db.engine, repair)).toMatchObject({ code: 'AK106' });
      await reader.query('select pg_advisory_unlock_shared(24939, 1)');
    });
  });

  test('that find no place stay where they were', async () => {
    await tried(async (client) => {
      await arrange(client);
      // Somebody's trigger on the table itself swallows them: every partition, also a new one, gets it.
      await client.query(`create function public.swallow() returns trigger language plpgsql as 'begin return null; end';
        create trigger swallow before insert on audit.${TABLE} for each row execute function public.swallow()`);
      expect(await codeOf(client, repair)).toBe('AK111');
      const count = 'select count(*) as n from audit.rest';
      expect(await queryOne(client, z.object({ n: z.bigint() }), count)).toEqual({ n: 1n });
      await client.query(`drop trigger swallow on audit.${TABLE}`);
      expect(await codeOf(client, repair)).toBeNull();
      expect(await codeOf(client, 'select from audit.rest')).toBe('42P01');
    });
  });
});
