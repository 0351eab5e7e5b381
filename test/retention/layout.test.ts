/** The layout that cannot change later: keys, columns, CHECKs, triggers and rights of every leaf, ATTACH without a scan. */
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { queryRows } from '../../src/db/query.ts';
import { leafName } from '../../src/retention/plan.ts';
import { FAMILIES } from '../../src/retention/policy.ts';
import { readBranches } from '../../src/retention/store.ts';
import { useDatabase } from '../support/database.ts';
import { instant, scalar } from './rows.ts';

const db = useDatabase();

const SHAPES = {
  audit_log: ['audit', 'RANGE (event_timestamp)', 'event_timestamp, id'],
  data_access_log: ['audit', 'LIST (retention_category)', 'accessed_at, retention_category, id'],
  security_events_log: ['audit', 'RANGE (event_timestamp)', 'event_timestamp, id'],
  performance_metrics: ['security_internal', 'LIST (aggregation_period)', 'aggregation_period, "timestamp", id'],
  distributed_traces: ['security_internal', 'RANGE (start_time)', 'start_time, id'],
} as const;

const COLUMNS = `select string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull || ' ' ||
    coalesce(pg_get_expr(d.adbin, d.adrelid), ''), ', ' order by a.attnum) as value
  from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
  where a.attrelid = $1::regclass and a.attnum > 0 and not a.attisdropped`;
const CHECKS = `select coalesce(string_agg(pg_get_constraintdef(c.oid), ', ' order by pg_get_constraintdef(c.oid)), 'none') as value
  from pg_constraint c where c.conrelid = $1::regclass and c.contype = 'c' and c.conname not like '%\\_salt\\_check'`;

describe.each(FAMILIES)('%s', (table) => {
  const [schema, strategy, key] = SHAPES[table];
  const hot = `${schema}.${table}`;

  test('is partitioned by time with a key that carries the partition columns, and its archive alike', async () => {
    for (const parent of [hot, `${hot}_archive`]) {
      expect(await scalar(db.admin, z.string(), 'select pg_get_partkeydef($1::regclass) as value', [parent])).toBe(
        strategy,
      );
      const primary = `select pg_get_constraintdef(c.oid) as value from pg_constraint c where c.conrelid = $1::regclass and c.contype = 'p'`;
      expect(await scalar(db.admin, z.string(), primary, [parent])).toBe(`PRIMARY KEY (${key})`);
    }
  });

  test('archive and late have the same columns and checks; late has no key', async () => {
    for (const question of [COLUMNS, CHECKS]) {
      const expected = await scalar(db.admin, z.string(), question, [hot]);
      expect(expected === 'none').toBe(table === 'distributed_traces' && question === CHECKS);
      expect(await scalar(db.admin, z.string(), question, [`${hot}_archive`])).toBe(expected);
      expect(await scalar(db.admin, z.string(), question, [`${hot}_late`])).toBe(expected);
    }
    // But that a transaction writes an event once (migration 0218).
    const unique = `select coalesce(string_agg(i.indexrelid::regclass::text, ', '), '') as value from pg_index i
                     where i.indrelid = $1::regclass and i.indisunique`;
    expect(await scalar(db.admin, z.string(), unique, [`${hot}_late`])).toBe(
      table === 'audit_log' ? 'audit.audit_log_late_once' : '',
    );
  });

  test('the late table alone, which functions write as the owner, checks salts', async () => {
    const salts = `select count(*) as value from pg_constraint c
                    where c.conrelid = $1::regclass and c.conname like '%\\_salt\\_check' and c.convalidated`;
    const of = (place: string) => scalar(db.admin, z.bigint(), salts, [`${hot}${place}`]);
    expect([await of(''), await of('_archive'), await of('_late')]).toEqual([0n, 0n, table === 'audit_log' ? 2n : 0n]);
  });

  test('refers to no other table', async () => {
    const foreign = `select count(*) as value from pg_constraint c where c.conrelid = $1::regclass and c.contype = 'f'`;
    expect(await scalar(db.admin, z.bigint(), foreign, [hot])).toBe(0n);
  });
});

const leafFacts = z.object({
  name: z.string(),
  triggers: z.array(z.string()),
  bounds: z.string().nullable(),
  constraint: z.string().nullable(),
  owner: z.string(),
  grantees: z.bigint(),
});

test('every leaf has its own triggers, always on, its bounds as a CHECK, and is granted to nobody', async () => {
  const leaves = await db.admin.withClient((client) =>
    queryRows(
      client,
      leafFacts,
      `select c.relname as name, pg_get_userbyid(c.relowner) as owner,
              (select coalesce(array_agg(t.tgname::text || t.tgenabled::text order by t.tgname), '{}') from pg_trigger t
                where t.tgrelid = c.oid and not t.tgisinternal and t.tgparentid = 0) as triggers,
              (select pg_get_constraintdef(k.oid) from pg_constraint k where k.conrelid = c.oid and k.conname = 'ak_bounds') as bounds,
              pg_get_partition_constraintdef(c.oid) as constraint,
              (select count(*) from aclexplode(c.relacl) a where a.grantee <> c.relowner) as grantees
         from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relkind = 'r' and n.nspname in ('audit', 'security_internal')
          and (c.relispartition and c.relname not like 'chain_link%')`,
    ),
  );
  expect(leaves.length).toBeGreaterThan(40);
  for (const leaf of leaves) {
    const tombstone = leaf.name.includes('_tomb_');
    const expected = ['ak_child_immutableA', 'ak_child_truncateA', ...(tombstone ? ['zz_seal_divertA'] : [])];
    if (leaf.name.startsWith('data_access_log_permanent')) expected.unshift('aa_default_permanentA');
    expect(leaf.triggers, leaf.name).toEqual(expected);
    // The CHECK was parsed again, which may add parentheses and drop a cast of a cast, and nothing else.
    expect(leaf.bounds?.replaceAll(/[()]|::text/g, ''), leaf.name).toBe(
      `CHECK ${leaf.constraint?.replaceAll(/[()]|::text/g, '')}`,
    );
    expect([leaf.owner, leaf.grantees], leaf.name).toEqual(['auditkeep_owner', 0n]);
  }
});

test('late tables carry the triggers too', async () => {
  const unguarded = `select count(*) as value from pg_class c
    where c.relname like '%\\_late' and c.relkind = 'r' and 2 <> (select count(*) from pg_trigger t
      where t.tgrelid = c.oid and t.tgname in ('ak_child_immutable', 'ak_child_truncate') and t.tgenabled = 'A')`;
  expect(await scalar(db.admin, z.bigint(), unguarded)).toBe(0n);
  const late = `select count(*) as value from pg_class c where c.relname like '%\\_late' and c.relkind = 'r'`;
  expect(await scalar(db.admin, z.bigint(), late)).toBe(5n);
});

test('the lowest leaf of every branch is a tombstone that reaches to MINVALUE; above it there is room ahead', async () => {
  const branches = await db.engine.withClient(readBranches);
  expect(branches).toHaveLength(9);
  for (const branch of branches) {
    const [lowest, ...others] = branch.leaves;
    expect([lowest?.tombstone, lowest?.from], branch.parent).toEqual([true, null]);
    expect(others.length, branch.parent).toBeGreaterThanOrEqual(4);
    for (const leaf of others) {
      if (leaf.from === null || leaf.to === null) throw new Error(`${leaf.name} has no bounds`);
      expect(leaf.unit?.state).toBe('hot');
      expect(leafName(branch.parent, { from: leaf.from, to: leaf.to })).toBe(leaf.name);
    }
  }
});

test.each([
  ['audit.audit_log', 'audit_log', ''],
  ['audit.data_access_log', 'data_access_log', 'permanent'],
  ['security_internal.performance_metrics', 'performance_metrics', 'minute'],
  ['security_internal.distributed_traces', 'distributed_traces', ''],
])('ATTACH of a moved leaf of %s scans and builds nothing', async (_parent, table, category) => {
  const from = '2020-01-01T00:00:00Z';
  const to = table === 'audit_log' || category === 'permanent' ? '2020-02-01T00:00:00Z' : '2020-01-02T00:00:00Z';
  await db.admin.withClient(async (client) => {
    const notices: string[] = [];
    client.on('notice', (notice) => notices.push(notice.message ?? ''));
    await client.query('select retention.create_partition($1, $2, $3, $4)', [table, from, to, category]);
    await client.query('select retention.seal_partition($1, $2, $3)', [table, from, category]);
    await client.query('select retention.seal_partition($1, $2, $3)', [table, from, category]);
    const relation = (
      await queryRows(
        client,
        z.object({ oid: z.number(), indexes: z.array(z.number()) }),
        `select c.oid::int8::int as oid, (select array_agg(i.indexrelid::int8::int order by 1) from pg_index i where i.indrelid = c.oid) as indexes
           from pg_class c join retention.unit u on u.relation_name = c.relname
          where u.table_name = $1 and u.category = $2 and u.lower_bound = $3`,
        [table, category, from],
      )
    )[0];
    if (relation === undefined) throw new Error('no leaf');
    await client.query("set client_min_messages = 'debug1'");
    await client.query('select retention.move_unit($1, $2, $3)', [table, from, category]);
    await client.query('reset client_min_messages');
    const name = leafName(category === '' ? table : `${table}_${category}`, { from: instant(from), to: instant(to) });
    const proofs = notices.filter(
      (notice) => notice.includes(`"${name}"`) && notice.includes('implied by existing constraints'),
    );
    expect(proofs.length).toBeGreaterThan(0);
    expect(notices.filter((notice) => notice.startsWith('verifying table') && notice.includes(`"${name}"`))).toEqual(
      [],
    );
    expect(
      notices.filter((notice) => notice.startsWith('building index') && notice.includes(`on table "${name}"`)),
    ).toEqual([]);
    const after = await queryRows(
      client,
      z.object({ indexes: z.array(z.number()), parent: z.string() }),
      `select (select array_agg(i.indexrelid::int8::int order by 1) from pg_index i where i.indrelid = c.oid) as indexes,
              i.inhparent::regclass::text as parent
         from pg_class c join pg_inherits i on i.inhrelid = c.oid where c.oid = $1::int`,
      [relation.oid],
    );
    expect(after[0]?.indexes).toEqual(relation.indexes);
    expect(after[0]?.parent).toContain('_archive');
  });
});

test('the views show each row once with its origin', async () => {
  const views = `select string_agg(c.oid::regclass::text || ' ' || pg_get_userbyid(c.relowner), ', ' order by 1) as value
    from pg_class c where c.relkind = 'v' and c.relname like '%\\_all' and c.relnamespace in ('audit'::regnamespace, 'security_internal'::regnamespace)`;
  const text = await scalar(db.admin, z.string(), views);
  for (const family of FAMILIES) expect(text).toContain(`${SHAPES[family][0]}.${family}_all auditkeep_owner`);
});
