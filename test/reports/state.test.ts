/** Changes of the tables that say who may do what: logged as they happen, and missed when the log was switched off. */
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { queryOne, queryRows } from '../../src/db/query.ts';
import { takeStateSnapshot } from '../../src/reports/evaluate/state-snapshot.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';

const db = useDatabase();
let ctx: TestContext;
beforeAll(async () => {
  ctx = await testContext(db);
});

const run = (sql: string) => db.admin.withClient((client) => client.query(sql));
const USER = '10000000-0000-4000-8000-0000000000aa';
const insertUser = `insert into security_confidential.users (id, username, email, password_hash, password_salt)
  values ('${USER}', 'somebody', 'somebody@example.org', 'x', 'y')`;
const changes = () =>
  db.engine.withClient((client) =>
    queryRows(
      client,
      z.object({ table: z.string(), op: z.string(), old: z.boolean(), new: z.boolean() }),
      `select table_name as table, operation as op, old_hash is not null as old, new_hash is not null as new
         from compliance.state_change order by seq`,
    ),
  );

describe('changes', () => {
  test('are logged with hashes, in the table and in the chain, and mere use is not', async () => {
    await run(insertUser);
    await run(`update security_confidential.users set last_login = now(), failed_login_attempts = 3`);
    expect(await changes()).toHaveLength(1);
    await run(`update security_confidential.users set account_status = 'locked'`);
    const users = { table: 'security_confidential.users' };
    expect(await changes()).toEqual([
      { ...users, op: 'INSERT', old: false, new: true },
      { ...users, op: 'UPDATE', old: true, new: true },
    ]);
    const { text, n } = await db.admin.withClient((client) =>
      queryOne(
        client,
        z.object({ text: z.string(), n: z.bigint() }),
        `select string_agg(e::text, '') as text, count(*) as n from audit.audit_log e
           join compliance.state_change c on c.new_hash = e.additional_data ->> 'newHash' where e.event_type = 'state.changed'`,
      ),
    );
    expect(n).toBe(2n);
    expect(text).not.toContain('somebody');
  });

  test.each([
    ['security_internal.roles', `insert into security_internal.roles (name) values ('r')`],
    [
      'security_internal.user_roles',
      `insert into security_internal.user_roles (user_id, role_id) select '${USER}', id from security_internal.roles where name = 'r'`,
    ],
    [
      'security_internal.security_policies',
      `insert into security_internal.security_policies (resource_type, policy_name) values ('t', 'p')`,
    ],
    [
      'security_secret.encryption_keys',
      `insert into security_secret.encryption_keys (key_id, key_type) values ('k', 'SGX_SEAL')`,
    ],
    [
      'security_confidential.service_configurations',
      `with s as (insert into security_internal.services (service_name, service_type, version) values ('s', 't', '1') returning id)
       insert into security_confidential.service_configurations (service_id, config_key) select id, 'c' from s`,
    ],
    [
      'security_internal.api_endpoints',
      `insert into security_internal.api_endpoints (service_id, path, http_method) select id, '/', 'GET' from security_internal.services limit 1`,
    ],
  ])('of %s are watched', async (table, statement) => {
    await run(statement);
    expect((await changes()).at(-1)).toEqual({ table, op: 'INSERT', old: false, new: true });
  });

  test('a log entry does not change, and nobody but the owner reads what keys the hashes', async () => {
    await expect(
      db.as('auditkeep_owner').withClient((client) => client.query(`update compliance.state_change set login = 'x'`)),
    ).rejects.toMatchObject({ code: 'AK013' });
    await expect(
      db.engine.withClient((client) => client.query('select salt from compliance.state_salt')),
    ).rejects.toMatchObject({ code: 'DB_PRIVILEGE' });
  });
});

describe('snapshots', () => {
  test('the first lists what is there, the next what was changed', async () => {
    expect(await takeStateSnapshot(ctx)).toMatchObject({ tables: 7, unlogged: 0 });
    expect(await takeStateSnapshot(ctx)).toEqual({ tables: 7, differences: 0, unlogged: 0 });
    await run(`update security_confidential.users set mfa_enabled = true`);
    await run(`update security_confidential.users set account_status = 'disabled'`);
    expect(await takeStateSnapshot(ctx)).toEqual({ tables: 7, differences: 1, unlogged: 0 });
    await run(`delete from security_internal.user_roles`);
    expect(await takeStateSnapshot(ctx)).toEqual({ tables: 7, differences: 1, unlogged: 0 });
    await run(`update security_internal.roles set description = 'a'`);
    await run(`update security_internal.roles set description = null`);
    expect(await takeStateSnapshot(ctx)).toMatchObject({ differences: 0 });
  });

  test('a change made while the triggers were off is found, also one among logged ones', async () => {
    const silently = (sql: string) =>
      run(`alter table security_internal.roles disable trigger user; ${sql};
      alter table security_internal.roles enable always trigger state_changed`);
    await silently(`update security_internal.roles set permissions = '{*}'`);
    expect(await takeStateSnapshot(ctx)).toEqual({ tables: 7, differences: 1, unlogged: 1 });
    await run(`update security_internal.roles set description = 'b'`);
    await silently(`update security_internal.roles set permissions = '{more}'`);
    expect(await takeStateSnapshot(ctx)).toEqual({ tables: 7, differences: 1, unlogged: 1 });
    await silently(`delete from security_internal.roles`);
    expect(await takeStateSnapshot(ctx)).toEqual({ tables: 7, differences: 1, unlogged: 1 });
    await run(`alter table security_internal.roles enable always trigger state_truncated`);
  });

  test('folded differences have the root that the snapshot states', async () => {
    const { n } = await db.engine.withClient((client) =>
      queryOne(
        client,
        z.object({ n: z.bigint() }),
        `select count(*) as n from compliance.state_snapshot s where s.root <> (
           select encode(sha256(convert_to(coalesce(string_agg(f.row_key || ':' || f.new_hash, ',' order by f.row_key), ''), 'UTF8')), 'hex')
             from (select distinct on (d.row_key) d.row_key, d.new_hash from compliance.state_difference d
                    where d.table_name = s.table_name and d.snapshot_id <= s.id order by d.row_key, d.snapshot_id desc) f
            where f.new_hash is not null)`,
      ),
    );
    expect(n).toBe(0n);
  });
});
