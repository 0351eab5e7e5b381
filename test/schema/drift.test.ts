/** The installed schema is the committed one, and every kind of deviation is found. */
import { expect, test } from 'vitest';
import { execute } from '../../src/db/query.ts';
import { compareCatalog, findDrift } from '../../src/schema/drift.ts';
import { useDatabase } from '../support/database.ts';

const db = useDatabase();
/** What is found while a change is made; it is rolled back, since roles are shared with the other tests' databases. */
async function driftAfter(statement: string): Promise<readonly string[]> {
  return db.admin.withClient(async (client) => {
    await execute(client, 'begin');
    try {
      await execute(client, statement);
      return (await findDrift(client)).map((entry) => entry.object);
    } finally {
      await execute(client, 'rollback');
    }
  });
}

// When this fails after a change of a migration: npm run golden, and read the diff of src/schema/design.json.
test('a migrated database is exactly the golden schema', async () => {
  expect(await db.engine.withClient(findDrift)).toEqual([]);
});

test.each([
  {
    what: 'an added column',
    statement: 'alter table audit.audit_log add column extra text',
    object: 'column audit.audit_log.extra',
  },
  {
    what: 'a lost NOT NULL',
    statement: 'alter table security_internal.services alter column version drop not null',
    object: 'column security_internal.services.version',
  },
  {
    what: 'a changed default',
    statement: 'alter table security_confidential.users alter column password_iterations set default 100000',
    object: 'column security_confidential.users.password_iterations',
  },
  {
    what: 'a dropped policy',
    statement: 'drop policy user_self_access on security_confidential.users',
    object: 'policy security_confidential.users.user_self_access',
  },
  {
    what: 'row-level security that is no longer forced',
    statement: 'alter table security_confidential.users no force row level security',
    object: 'table security_confidential.users',
  },
  {
    what: 'a granted privilege',
    statement: 'grant select on audit.chain_link to audit_role',
    object: 'grant on audit.chain_link to audit_role',
  },
  {
    what: 'a granted column',
    statement: 'grant update (severity) on audit.security_events_log to audit_role',
    object: 'grant on audit.security_events_log to audit_role',
  },
  {
    what: 'a grant on a partition',
    statement: 'grant insert on audit.data_access_log_standard to audit_role',
    object: 'partition audit.data_access_log_standard',
  },
  ...[
    'disable trigger ak_child_immutable',
    'enable trigger ak_child_truncate',
    'enable row level security',
    'alter column result drop default',
    'add constraint extra check (length(event_type) < 10)',
  ].map((change) => ({
    what: `a leaf with: ${change}`,
    statement: `alter table audit.audit_log_tomb_min ${change}`,
    object: 'leaf audit.audit_log_tomb_min',
  })),
  {
    what: 'a leaf with a rule',
    statement: 'create rule quiet as on insert to audit.audit_log_tomb_min do instead nothing',
    object: 'leaf audit.audit_log_tomb_min',
  },
  {
    what: 'a leaf with a policy',
    statement: 'create policy p on audit.chain_link_p000000 using (false)',
    object: 'leaf audit.chain_link_p000000',
  },
  {
    what: 'a leaf with a trigger of its own',
    statement: `create trigger aa_skip before insert on audit.audit_log_tomb_min
                  for each row execute function retention.divert_late('security_events_log')`,
    object: 'leaf audit.audit_log_tomb_min',
  },
  {
    what: 'a rule on a table',
    statement: 'create rule quiet as on insert to audit.checkpoint do instead nothing',
    object: 'rule audit.checkpoint.quiet',
  },
  {
    what: 'an altered function',
    statement: `create or replace function security_public.current_user_id() returns uuid language sql stable
                  set search_path = pg_catalog, pg_temp
                  return coalesce(current_setting('app.user', true)::uuid, '00000000-0000-0000-0000-000000000000')`,
    object: 'function security_public.current_user_id()',
  },
  {
    what: 'a function with another search_path',
    statement: 'alter function ops.plant_canaries() reset search_path',
    object: 'function ops.plant_canaries()',
  },
  {
    what: 'an altered view',
    statement: 'alter view audit.data_access_log_all set (security_barrier = true)',
    object: 'view audit.data_access_log_all',
  },
  {
    what: 'a disabled trigger',
    statement: 'alter table compliance.person disable trigger user',
    object: 'trigger compliance.person.append_only',
  },
  {
    what: 'a dropped index',
    statement: 'drop index security_confidential.idx_users_status',
    object: 'index security_confidential.users.idx_users_status',
  },
  {
    what: 'a dropped CHECK',
    statement: 'alter table security_internal.services drop constraint services_status_check',
    object: 'constraint security_internal.services.services_status_check',
  },
  {
    what: 'a foreign owner',
    statement: 'alter table security_internal.services owner to postgres',
    object: 'table security_internal.services',
  },
  {
    what: 'the engine in the owner role',
    statement: 'grant auditkeep_owner to auditkeep_engine',
    object: 'role auditkeep_engine',
  },
])('finds $what', async ({ statement, object }) => {
  const before = await driftAfter('select');
  const after = await driftAfter(statement);
  expect(after.filter((found) => !before.includes(found))).toContain(object);
});

test('tells missing from unexpected from altered', () => {
  const design = new Map([
    ['table a', 'owner x'],
    ['table b', 'owner x'],
  ]);
  const facts = [
    { object: 'table b', definition: 'owner y' },
    { object: 'table c', definition: 'owner x' },
  ];
  expect(compareCatalog(design, facts)).toEqual([
    { object: 'table a', expected: 'owner x', actual: null },
    { object: 'table b', expected: 'owner x', actual: 'owner y' },
    { object: 'table c', expected: null, actual: 'owner x' },
  ]);
});
