/** Fact views over registers, state changes and events of several sources, read as the controls' login. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { queryRows } from '../../src/db/query.ts';
import { importRegister } from '../../src/import/register-import.ts';
import { REGISTER_NAMES } from '../../src/import/register-kinds.ts';
import { takeStateSnapshot } from '../../src/reports/evaluate/state-snapshot.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';

const db = useDatabase();
let ctx: TestContext;
let folder: string;
beforeAll(async () => {
  ctx = await testContext(db);
  folder = await mkdtemp(join(tmpdir(), 'auditkeep-facts-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const rows = (sql: string) =>
  db.report.withClient((client) => queryRows(client, z.record(z.string(), z.unknown()), sql));
const run = (sql: string) => db.admin.withClient((client) => client.query(sql));
async function bring(kind: string, ...lines: object[]): Promise<void> {
  const path = join(folder, `${kind}.ndjson`);
  await writeFile(path, lines.map((line) => JSON.stringify(line)).join('\n'));
  await importRegister(ctx, kind, { paths: [path] });
}

const AT = '2026-02-01T00:00:00Z';
const UUID = '10000000-0000-4000-8000-0000000000AA';

test.each(REGISTER_NAMES)('facts.%s can be read by controls, and the register itself cannot', async (kind) => {
  expect(await rows(`select * from facts.${kind} limit 1`)).toEqual([]);
  await expect(rows(`select * from compliance.${kind}`)).rejects.toMatchObject({ code: 'DB_PRIVILEGE' });
});

test('of an entry the newest revision counts, by both ways of counting', async () => {
  const incident = { incident_id: 'I', severity: 'low', aware_at: AT, personal_data: false };
  await bring('incident', incident);
  await bring('incident', { ...incident, severity: 'high' });
  expect(await rows('select severity, revision from facts.incident')).toEqual([{ severity: 'high', revision: 2 }]);
  expect(await rows(`select register, n from facts.register_count`)).toEqual([{ register: 'incident', n: 1n }]);
});

test('people in registers are the same keys as in events, and never their names', async () => {
  await run(`insert into audit.audit_log (event_type, event_category, event_action, user_email)
             values ('login', 'authentication', 'LOGIN', 'Somebody@example.org')`);
  const training = { course: 'c', completed_at: AT };
  await bring('training', { ...training, account: 'somebody@example.org' }, { ...training, account: UUID });
  const found = await rows('select account_key from facts.training order by 1');
  const [{ actor_key } = {}] = await rows('select actor_key from facts.login');
  expect(found).toEqual([{ account_key: UUID.toLowerCase() }, { account_key: actor_key }]);
  expect(JSON.stringify([found, await rows('select * from facts.training')])).not.toContain('somebody');
});

test('events of each source are log-ins, changes of rights and uses of keys by the mapping', async () => {
  await run(`insert into audit.audit_log (event_type, event_category, event_action, result) values
    ('AwsConsoleSignIn', 'authentication', 'ConsoleLogin', 'failure'), ('AwsApiCall', 'admin', 'AttachUserPolicy', 'success'),
    ('access.role', 'authorization', 'REVOKE', 'success'), ('AwsApiCall', 'security', 'Decrypt', 'success'),
    ('AwsApiCall', 'data_access', 'DescribeInstances', 'success')`);
  expect(
    await rows(`select effect, succeeded from facts.login where event_timestamp is not null order by succeeded`),
  ).toEqual([
    { effect: 'login', succeeded: false },
    { effect: 'login', succeeded: true },
  ]);
  expect(await rows(`select effect from facts.grant order by 1`)).toEqual([{ effect: 'grant' }, { effect: 'revoke' }]);
  expect(await rows(`select effect from facts.key_use`)).toEqual([{ effect: 'decrypt' }]);
});

test('a change that nobody logged is explained by an approved change request of somebody else alone', async () => {
  const ROLE = '20000000-0000-4000-8000-000000000001';
  await run(`insert into security_internal.roles (id, name) values ('${ROLE}', 'r')`);
  await takeStateSnapshot(ctx);
  await run(
    `alter table security_internal.roles disable trigger user; update security_internal.roles set permissions = '{*}'`,
  );
  await takeStateSnapshot(ctx);
  const difference = () => rows(`select logged, approved, row_key from facts.state_difference`);
  expect(await difference()).toEqual([{ logged: false, approved: false, row_key: ROLE }]);
  const request = {
    change_id: 'C-1',
    change_kind: 'normal',
    object_table: 'security_internal.roles',
    requested_by: 'a',
    requested_at: AT,
    approved_by: 'a',
    approved_at: AT,
  };
  await bring('change_request', request);
  expect(await difference()).toMatchObject([{ approved: false }]);
  await bring('change_request', { ...request, approved_by: 'b', window_end: '2026-02-02T00:00:00Z' });
  expect(await difference()).toMatchObject([{ approved: false }]);
  await bring('change_request', { ...request, approved_by: 'b', object_id: UUID });
  expect(await difference()).toMatchObject([{ approved: false }]);
  await bring('change_request', { ...request, approved_by: 'b', object_id: ROLE });
  expect(await difference()).toMatchObject([{ approved: true }]);
});
