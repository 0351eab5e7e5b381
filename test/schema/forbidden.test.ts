/** What each role may not do, tried by raw SQL. */
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import type { Database } from '../../src/db/database.ts';
import { execute, queryRows } from '../../src/db/query.ts';
import { inTransaction } from '../../src/db/transaction.ts';
import { APPLICATION_ROLES, ROLES, SCHEMAS } from '../../src/schema/roles.ts';
import { useDatabase } from '../support/database.ts';

const db = useDatabase();
const OUR_SCHEMAS = Object.keys(SCHEMAS).filter((schema) => schema !== 'pgboss');
const ALL_ROLES = [ROLES.owner, ROLES.view, ROLES.engine, ROLES.report, ROLES.maint, ...APPLICATION_ROLES];
const EVENT = `insert into audit.audit_log (event_type, event_category, event_action) values ('test', 'system', 'CREATE')`;

const run = (database: Database, ...statements: string[]) =>
  inTransaction(database, async (client) => {
    let count = 0;
    for (const statement of statements) count = await execute(client, statement);
    return count;
  });

const names = (database: Database, text: string, values: string[][] = []) =>
  database.withClient(async (client) => {
    const rows = await queryRows(client, z.object({ name: z.string() }), text, values);
    return rows.map((row) => row.name);
  });

/** Expects PostgreSQL's "permission denied" (or a row-level refusal), not some other error. */
const refused = async (database: Database, ...statements: string[]) => {
  await expect(run(database, ...statements), statements.at(-1) ?? '').rejects.toMatchObject({ code: 'DB_PRIVILEGE' });
};

describe('recorded events', () => {
  beforeAll(async () => {
    await run(db.admin, EVENT);
    await run(
      db.admin,
      `insert into audit.security_events_log (event_type, severity, category, event_description)
         values ('test', 'low', 'anomaly', 'test')`,
    );
  });

  test.each(['app_readwrite_role', 'app_admin_role'])('%s appends, and cannot change what it wrote', async (role) => {
    const application = db.as(role);
    expect(await run(application, `${EVENT} returning event_timestamp, id`)).toBe(1);
    await refused(application, `update audit.audit_log set event_action = 'READ'`);
    await refused(application, 'delete from audit.audit_log');
    await refused(application, 'truncate audit.audit_log');
    await refused(application, 'select event_type from audit.audit_log');
  });

  test.each(['actor_salt', 'payload_salt', 'txid', 'hash_version', 'event_hash', 'previous_event_hash'])(
    'no application chooses %s',
    async (column) => {
      const value = column.endsWith('salt') ? `decode(repeat('00', 16), 'hex')` : '1';
      const insert = `insert into audit.audit_log (event_type, event_category, event_action, ${column})
                    values ('test', 'system', 'CREATE', ${value})`;
      await refused(db.as('app_readwrite_role'), insert);
      await refused(db.engine, insert);
    },
  );

  test('an auditor reads and writes nothing', async () => {
    const auditor = db.as('audit_role');
    expect(await run(auditor, 'select from audit.audit_log_all')).toBeGreaterThan(0);
    await refused(auditor, EVENT);
    await refused(auditor, `update audit.security_events_log set analyst_notes = 'x'`);
    await refused(auditor, 'select from audit.chain_link');
    await refused(auditor, 'select from security_secret.encryption_keys');
  });

  test('an analyst writes the investigation columns of a hot event and nothing else', async () => {
    const analyst = db.as('security_analyst_role');
    expect(await run(analyst, `update audit.security_events_log set analyst_notes = 'seen', investigated = true`)).toBe(
      1,
    );
    await refused(analyst, `update audit.security_events_log set severity = 'info'`);
    await refused(analyst, 'delete from audit.security_events_log');
    await refused(analyst, `update audit.audit_log set event_action = 'READ'`);
  });

  test('no role truncates a partition; owner and superuser are stopped by its own trigger', async () => {
    const leaves = await names(
      db.admin,
      `select min(tableoid::regclass::text) as name from audit.audit_log
       union all select min(tableoid::regclass::text) from audit.security_events_log
       union all values ('audit.audit_log_late')`,
    );
    expect(leaves).toHaveLength(3);
    for (const leaf of leaves) {
      for (const role of ALL_ROLES) {
        if (role === ROLES.owner || role === ROLES.maint) continue;
        await refused(db.as(role), `truncate ${leaf}`);
      }
      for (const database of [db.as(ROLES.owner), db.as(ROLES.maint), db.admin]) {
        await expect(run(database, `truncate ${leaf}`)).rejects.toMatchObject({ code: 'AK100' });
        await expect(run(database, `delete from ${leaf} where true`, `truncate audit.audit_log`)).rejects.toMatchObject(
          {
            code: 'AK100',
          },
        );
      }
    }
  });

  test('no role but the owner has any right on any partition', async () => {
    const reachable = await names(
      db.admin,
      `select c.oid::regclass || ' ' || r.rolname as name
         from pg_class c cross join pg_roles r
        where c.relispartition and c.relkind in ('r', 'p') and r.rolname = any ($1::text[])
          and (has_any_column_privilege(r.oid, c.oid, 'select, insert, update, references')
               or has_table_privilege(r.oid, c.oid, 'delete, truncate, trigger'))`,
      [ALL_ROLES.filter((role) => role !== ROLES.owner && role !== ROLES.maint)],
    );
    expect(reachable).toEqual([]);
  });
});

describe('the engine', () => {
  test('writes these tables directly and no other', async () => {
    const writable = await names(
      db.admin,
      `select c.oid::regclass || ': ' || concat_ws(' ',
                case when has_any_column_privilege('auditkeep_engine', c.oid, 'insert') then 'insert' end,
                case when has_any_column_privilege('auditkeep_engine', c.oid, 'update') then 'update' end,
                case when has_table_privilege('auditkeep_engine', c.oid, 'delete') then 'delete' end,
                case when has_table_privilege('auditkeep_engine', c.oid, 'truncate, trigger') then 'more' end) as name
         from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = any ($1::text[]) and c.relkind in ('r', 'p', 'v')
          and (has_any_column_privilege('auditkeep_engine', c.oid, 'insert, update')
               or has_table_privilege('auditkeep_engine', c.oid, 'delete, truncate, trigger'))
        order by 1`,
      [OUR_SCHEMAS],
    );
    expect(writable).toEqual([
      'audit.audit_log: insert',
      'audit.data_access_log: insert',
      'audit.security_events_log: insert',
      'security_confidential.transactions: insert',
      'security_internal.blockchain_networks: insert',
      'security_internal.distributed_traces: insert',
      'security_internal.performance_metrics: insert',
    ]);
  });

  test('is refused on every guarded table', async () => {
    for (const table of [
      'audit.chain_link',
      'audit.chain_head',
      'audit.checkpoint',
      'audit.erasure',
      'audit.audit_log_archive',
      'audit.audit_log_late',
      'audit.compliance_reports',
      'compliance.person',
      'compliance.person_role',
      'compliance.person_key',
      'compliance.decision',
      'ops.run',
      'ops.migration',
      'retention.unit',
      'security_secret.key_wrap',
      'security_secret.encryption_keys',
      'security_internal.user_roles',
    ]) {
      await refused(db.engine, `insert into ${table} default values`);
      await refused(db.engine, `delete from ${table}`);
      await refused(db.engine, `truncate ${table}`);
    }
    await refused(db.engine, `update security_confidential.transactions set anonymized = true`);
    await refused(db.engine, `update security_secret.encryption_keys set status = 'active'`);
    await refused(db.engine, `update audit.compliance_reports set status = 'approved'`);
  });

  test('does no DDL and becomes nobody else', async () => {
    for (const schema of [...OUR_SCHEMAS, 'public']) {
      await refused(db.engine, `create table ${schema}.intruder (id int)`);
      await refused(db.engine, `create function ${schema}.intruder() returns int return 1`);
    }
    for (const statement of [
      'create schema intruder',
      'create role intruder',
      'alter table audit.audit_log add column intruder int',
      'alter table audit.audit_log disable trigger all',
      'drop table audit.audit_log_late',
      'create trigger intruder before insert on audit.audit_log for each row execute function audit.refuse_change()',
      'alter table security_confidential.users no force row level security',
      'create policy intruder on security_confidential.users using (true)',
      'alter function audit.refuse_change() owner to auditkeep_engine',
      `alter role auditkeep_engine connection limit 1`,
      ...[ROLES.owner, ROLES.view, ROLES.report, ROLES.maint, 'app_admin_role', 'postgres'].map(
        (role) => `set role ${role}`,
      ),
    ]) {
      await refused(db.engine, statement);
    }
  });

  test('cannot hand its own rights on: PostgreSQL only warns', async () => {
    await run(db.engine, 'grant select on audit.chain_link to audit_role');
    await refused(db.as('audit_role'), 'select from audit.chain_link');
  });
});

describe('the report login', () => {
  test('reads the fact views and nothing else', async () => {
    const readable = await names(
      db.admin,
      `select distinct n.nspname::text as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = any ($1::text[]) and c.relkind in ('r', 'p', 'v', 'm')
          and has_schema_privilege('auditkeep_report', n.oid, 'usage')
          and has_any_column_privilege('auditkeep_report', c.oid, 'select, insert, update')`,
      [OUR_SCHEMAS],
    );
    expect(readable.filter((schema) => schema !== 'facts')).toEqual([]);
  });

  test.each([
    'audit.audit_log',
    'audit.audit_log_all',
    'audit.chain_link',
    'security_confidential.users',
    'security_confidential.transactions',
    'security_secret.key_wrap',
    'compliance.decision',
  ])('is refused on %s', async (table) => {
    await refused(db.report, `select from ${table}`);
    await refused(db.report, `delete from ${table}`);
  });

  test('creates nothing and becomes nobody else', async () => {
    await refused(db.report, 'create table facts.intruder (id int)');
    for (const role of [ROLES.owner, ROLES.view, ROLES.engine]) await refused(db.report, `set role ${role}`);
  });
});

describe('functions', () => {
  test('every one pins its search_path', async () => {
    const loose = await names(
      db.admin,
      `select p.oid::regprocedure::text as name from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where n.nspname = any ($1::text[])
          and not coalesce(p.proconfig, '{}') @> '{"search_path=pg_catalog, pg_temp"}'`,
      [OUR_SCHEMAS],
    );
    expect(loose).toEqual([]);
  });

  test('none but current_user_id() is for everybody, and definer functions belong to the owner', async () => {
    const open = await names(
      db.admin,
      `select p.oid::regprocedure::text as name
         from pg_proc p join pg_namespace n on n.oid = p.pronamespace,
              aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
        where n.nspname = any ($1::text[]) and a.grantee = 0`,
      [OUR_SCHEMAS],
    );
    expect(open).toEqual(['security_public.current_user_id()']);
    const foreign = await names(
      db.admin,
      `select p.oid::regprocedure::text as name from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where n.nspname = any ($1::text[]) and p.prosecdef and pg_get_userbyid(p.proowner) <> 'auditkeep_owner'`,
      [OUR_SCHEMAS],
    );
    expect(foreign.filter((name) => !name.startsWith('facts.'))).toEqual([]);
  });

  test('a hijacked search_path changes nothing for them', async () => {
    // Whatever a definer function or a policy calls unqualified would find these first, and fail or tell a lie.
    await run(
      db.admin,
      'create schema evil',
      'grant usage, create on schema evil to public',
      `create function evil.trap(text, text) returns boolean language plpgsql as $$ begin raise 'hijacked'; end $$`,
      'create operator evil.= (leftarg = text, rightarg = text, function = evil.trap)',
      `create function evil.trap(name, name) returns boolean language plpgsql as $$ begin raise 'hijacked'; end $$`,
      'create operator evil.= (leftarg = name, rightarg = name, function = evil.trap)',
      `create function evil.current_setting(text, boolean) returns text return '00000000-0000-4000-8000-00000000ca17'`,
      `create function evil.sha256(bytea) returns bytea language plpgsql as $$ begin raise 'hijacked'; end $$`,
      `create function evil.now() returns timestamptz language plpgsql as $$ begin raise 'hijacked'; end $$`,
    );
    const path = 'set local search_path = evil, pg_catalog';
    await expect(run(db.engine, path, `select 'a'::text = 'a'::text`)).rejects.toThrow('hijacked');
    await run(db.engine, path, EVENT);
    await run(
      db.engine,
      path,
      'create temporary table pg_class (relname text)',
      'select ops.plant_canaries()',
      'rollback',
    );
    await run(
      db.engine,
      path,
      `select retention.create_partition('audit_log', '2019-01-01', '2019-02-01')`,
      'rollback',
    );
    const seen = run(db.as('authenticated_users'), path, 'select from security_confidential.users');
    expect(await seen).toBe(0);
  });
});
