/** What raw SQL as the engine cannot do: every check is inside the guarded functions, and there is no way around them. */
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { lockSession, unlockSession } from '../../src/db/advisory-lock.ts';
import { queryRows } from '../../src/db/query.ts';
import { useDatabase } from '../support/database.ts';
import { ensureMonths, failureOf, insertEvents, linkAll, scalar } from './rows.ts';

const db = useDatabase();

const current = (expression: string) => `(select ${expression} from retention.unit u where u.table_name = 'audit_log'
  and u.lower_bound <= now() and now() < u.upper_bound)`;

beforeAll(async () => {
  await ensureMonths(db.engine, ['2023-01', '2023-02']);
  await db.engine.withClient((client) => insertEvents(client, '2023-01-10T00:00:00Z', 3));
});

test.each([
  ['AK104', `select retention.move_unit('audit_log', '2023-01-01Z')`],
  ['AK104', `select retention.move_unit('audit_log', '2019-01-01Z')`],
  ['AK108', `select retention.seal_partition('audit_log', ${current('u.lower_bound')})`],
  ['AK104', `select retention.seal_partition('audit_log', '2019-01-01Z')`],
  ['AK101', `select retention.create_partition('users', '2019-01-01Z', '2019-02-01Z')`],
  ['AK101', `select retention.create_partition('audit_log', '2019-01-01Z', '2019-02-01Z', 'standard')`],
  ['AK101', `select retention.move_unit('audit_log; drop table audit.audit_log', '2019-01-01Z')`],
  ['AK103', `select retention.create_partition('audit_log', '2023-01-10Z', '2023-01-20Z')`],
  ['AK103', `select retention.create_partition('audit_log', '2022-12-15Z', '2023-01-02Z')`],
  ['AK102', `select retention.create_partition('audit_log', '2019-02-01Z', '2019-01-01Z')`],
  ['AK102', `select retention.create_partition('audit_log', '2900-01-01Z', '2900-02-01Z')`],
  ['AK102', `select retention.create_partition('audit_log', '-infinity', '2019-01-01Z')`],
  ['AK101', `select retention.adopt_partition('audit_log', 'users')`],
  ['AK101', `select retention.prove_bounds('audit_log', 'users')`],
])('refused with %s: %s', async (code, statement) => {
  expect(await failureOf(db.engine, statement)).toMatchObject({ code });
});

test.each([
  ['audit_log', '', '1 mon', `'2019-01-01Z', '2019-02-02Z'`],
  ['audit_log', '', '1 mon', `'2019-01-01Z', '9999-01-01Z'`],
  ['performance_metrics', 'minute', '1 day', `'2019-01-01Z', '2019-01-02 00:00:01Z'`],
])('no partition of %s %s is wider than %s: %s', async (table, category, step, bounds) => {
  const failure = await failureOf(db.engine, `select retention.create_partition('${table}', ${bounds}, '${category}')`);
  expect(failure).toMatchObject({ code: 'AK102' });
  expect(String(failure)).toContain(`is wider than ${step}`);
});

test('no partition lies more than two years ahead', async () => {
  const months = Array.from({ length: 30 }, (_, n) => n);
  const grow = months.map(
    () => `select retention.create_partition('audit_log', top, top + interval '1 month')
             from (select max(l.upper_bound) as top from retention.leaves('audit.audit_log') l) t`,
  );
  expect(String(await failureOf(db.engine, ...grow))).toContain('lies more than two years ahead');
});

describe('sealing', () => {
  const SEAL = `select retention.seal_partition('audit_log', '2023-01-01Z') as value`;

  test('never happens while an event lacks its link, in however many calls', async () => {
    expect(
      await failureOf(db.engine, SEAL, SEAL, SEAL, `select retention.move_unit('audit_log', '2023-01-01Z')`),
    ).toMatchObject({
      code: 'AK104',
    });
  });

  test('is refused in a transaction whose snapshot may be older than the last row', async () => {
    const repeatable = 'set transaction isolation level repeatable read';
    expect(String(await failureOf(db.engine, repeatable, SEAL))).toContain('needs READ COMMITTED');
  });

  test('and a move is refused while a report reads, and passes when it is done', async () => {
    await linkAll(db.engine);
    const sealed = [SEAL, SEAL, `select retention.move_unit('audit_log', '2023-01-01Z')`];
    await db.report.withClient(async (reader) => {
      // By name: the SQL function has to mean the same lock.
      await lockSession(reader, 'structure', 'shared');
      expect(await failureOf(db.engine, ...sealed)).toMatchObject({ code: 'AK106' });
      await unlockSession(reader, 'structure', 'shared');
    });
    expect(await failureOf(db.engine, ...sealed)).toBeNull();
  });

  test('a held unit does not move', async () => {
    const hold = `update retention.unit set held = true where relation_name = 'audit_log_y2023m01'`;
    expect(
      await failureOf(db.admin, SEAL, SEAL, hold, `select retention.move_unit('audit_log', '2023-01-01Z')`),
    ).toMatchObject({
      code: 'AK105',
    });
  });
});

test.each([
  'create table audit.mine (n int)',
  'create table audit.audit_log_x partition of audit.audit_log for values from (maxvalue) to (maxvalue)',
  'alter table audit.audit_log detach partition audit.audit_log_y2023m01',
  'drop table audit.audit_log_y2023m01',
  'alter table audit.audit_log_y2023m01 disable trigger ak_child_immutable',
  'drop trigger ak_child_immutable on audit.audit_log_y2023m01',
  'truncate audit.audit_log_y2023m01',
  'truncate audit.audit_log',
  `update audit.audit_log set event_action = 'READ'`,
  'delete from audit.audit_log',
  'select * from audit.audit_log_y2023m01',
  'insert into audit.audit_log_late select * from audit.audit_log_late',
  'insert into audit.audit_log_archive select * from audit.audit_log',
  `update retention.unit set state = 'sealed'`,
  'update retention.unit set held = false',
  `insert into retention.unit_edge values ('hot', 'archived', false)`,
  `insert into retention.branch values ('audit_log', 'x', 'users', 'users')`,
  `select retention.carve_tombstone(b, 'audit.audit_log', 'audit.audit_log_y2023m01', now(), now(), now(), now()) from retention.branch b`,
  `select retention.make_leaf(b, 'x', true) from retention.branch b`,
  `select retention.add_tombstone(b, 'audit.audit_log', now(), now()) from retention.branch b`,
  `select audit.record_investigation(gen_random_uuid(), '{}', '{}')`,
  'set role auditkeep_owner',
])('the engine has no right to: %s', async (statement) => {
  const failure = await failureOf(db.engine, statement);
  expect(failure).toMatchObject({ code: '42501' });
});

test.each([
  [
    'a state out of order',
    `update retention.unit set state = 'archived' where relation_name = 'audit_log_y2023m01'`,
    'AK104',
  ],
  [
    'new bounds',
    `update retention.unit set upper_bound = upper_bound + interval '1 hour' where relation_name = 'audit_log_y2023m01'`,
    'AK104',
  ],
  ['a deletion', `delete from retention.unit where relation_name = 'audit_log_y2023m01'`, 'AK104'],
  [
    'a birth in the archive',
    `insert into retention.unit (table_name, lower_bound, upper_bound, schema_name, relation_name, state)
     values ('audit_log', '2000-01-01Z', '2000-02-01Z', 'audit', 'x', 'archived')`,
    'AK104',
  ],
  [
    'a retry to another state than the one it failed from',
    `update retention.unit set state = 'failed', failed_from = 'hot' where relation_name = 'audit_log_y2023m01';
     update retention.unit set state = 'sealed', failed_from = null where relation_name = 'audit_log_y2023m01'`,
    'AK104',
  ],
])('not even the superuser gives a unit %s', async (_what, statement, code) => {
  expect(await failureOf(db.admin, statement)).toMatchObject({ code });
});

test('a failed unit returns to where its edge began', async () => {
  const there = `update retention.unit set state = 'failed', failed_from = 'hot' where relation_name = 'audit_log_y2023m01'`;
  const back = `update retention.unit set state = 'hot', failed_from = null where relation_name = 'audit_log_y2023m01'`;
  expect(await failureOf(db.admin, there, back)).toBeNull();
});

test('a tombstone that holds a row does not give way', async () => {
  const smuggle = [
    `alter table audit.audit_log_tomb_min disable trigger zz_seal_divert`,
    `insert into audit.audit_log (event_type, event_category, event_action, event_timestamp) values ('test', 'system', 'X', '2001-01-15Z')`,
  ];
  const create = `select retention.create_partition('audit_log', '2001-01-01Z', '2001-02-01Z')`;
  expect(await failureOf(db.admin, ...smuggle, create)).toMatchObject({ code: 'AK102' });
  expect(await failureOf(db.admin, create)).toBeNull();
});

test('default privileges of the schema do not reach a partition', async () => {
  const grantees = `select count(*) as value from pg_class c, aclexplode(c.relacl) a
                     where c.relname = 'audit_log_y2002m01' and a.grantee <> c.relowner`;
  await db.admin.withClient(async (client) => {
    await client.query(
      'alter default privileges for role auditkeep_owner in schema audit grant select on tables to app_readonly_role, public',
    );
    await client.query(`select retention.create_partition('audit_log', '2002-01-01Z', '2002-02-01Z')`);
    await client.query(
      'alter default privileges for role auditkeep_owner in schema audit revoke select on tables from app_readonly_role, public',
    );
  });
  expect(await scalar(db.admin, z.bigint(), grantees)).toBe(0n);
});

test('functions pin their search_path and belong to the owner; PUBLIC runs none', async () => {
  const functions = await db.admin.withClient((client) =>
    queryRows(
      client,
      z.object({ name: z.string(), config: z.array(z.string()).nullable(), owner: z.string(), public: z.boolean() }),
      `select p.oid::regprocedure::text as name, p.proconfig as config, pg_get_userbyid(p.proowner) as owner,
              has_function_privilege('app_readonly_role', p.oid, 'execute') as public
         from pg_proc p where p.pronamespace = 'retention'::regnamespace`,
    ),
  );
  expect(functions.length).toBeGreaterThan(15);
  for (const fn of functions) {
    expect(fn.config, fn.name).toContain('search_path=pg_catalog, pg_temp');
    expect([fn.owner, fn.public], fn.name).toEqual(['auditkeep_owner', false]);
  }
});

test('the engine runs the guarded functions and no other', async () => {
  const allowed = `select string_agg(p.proname, ' ' order by p.proname) as value from pg_proc p
    where p.pronamespace = 'retention'::regnamespace and has_function_privilege('auditkeep_engine', p.oid, 'execute')`;
  expect((await scalar(db.admin, z.string(), allowed)).split(' ')).toEqual([
    'adopt_partition',
    'attach_unit',
    'certificate_id',
    'certified_place',
    'certified_remains',
    'clock',
    'collect_late',
    'create_partition',
    'destroyed_within',
    'draft_hold',
    'draft_plan',
    'draft_release',
    'draft_restore',
    'drop_unit',
    'expire_copy',
    'fail_unit',
    'fill_gap',
    'finish_archive_request',
    'holds_of',
    'is_held',
    'is_left',
    'judge_sealed_data',
    'known_rows',
    'late_ranges',
    'leaves',
    'mark_expired',
    'merge_tombstones',
    'move_unit',
    'partition_faults',
    'plan_window',
    'policy_effective_at',
    'policy_in_force',
    'propose_policy',
    'prove_bounds',
    'quarantine_unit',
    'reattach_unit',
    'record_certificate',
    'release_lease',
    'released_at',
    'remove_ended',
    'repair_default',
    'rescue_unit',
    'restore_unit',
    'retry_unit',
    'roll_up',
    'seal_partition',
    'split_unit',
    'start_plan',
    'stray_units',
    'take_lease',
    'unit_has_longer_rows',
    'unrolled_units',
    'withdraw_unit',
  ]);
});

test('a hijacked search_path and temporary tables change nothing', async () => {
  const failure = await failureOf(
    db.engine,
    'create temp table unit (like retention.unit including defaults including identity)',
    `insert into pg_temp.unit (table_name, lower_bound, upper_bound, schema_name, relation_name, state)
       values ('audit_log', '2023-02-01Z', '2023-03-01Z', 'audit', 'audit_log_y2023m02', 'sealed')`,
    'set local search_path = pg_temp, retention, pg_catalog',
    `select retention.move_unit('audit_log', '2023-02-01Z')`,
  );
  expect(failure).toMatchObject({ code: 'AK104' });
  expect(
    await scalar(
      db.engine,
      z.string(),
      `select state as value from retention.unit where relation_name = 'audit_log_y2023m02'`,
    ),
  ).toBe('hot');
});
