/** What a superuser forges around the sealer: impossible transaction ids, and a sealer that only seems to work. */
import { beforeAll, expect, it } from 'vitest';
import { signCheckpoint } from '../../src/audit/publish/sign.ts';
import { sealChain } from '../../src/audit/seal/seal.ts';
import { verifyChain } from '../../src/audit/verify/verify.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { tamper } from '../tamper/tampering.ts';
import { addEvents, column } from './event-fixtures.ts';

const db = useDatabase();
let ctx: TestContext;

beforeAll(async () => {
  ctx = await testContext(db);
  await addEvents(db.engine, 5);
  await sealChain(ctx);
  await signCheckpoint(ctx);
});

const forge = (txid: string) =>
  tamper(
    db.admin,
    `insert into audit.audit_log (event_type, event_category, event_action, txid)
       values ('forged', 'system', 'GRANT', ${txid})`,
  );

it('finds an event of a transaction that cannot have been', async () => {
  await forge('900000000000000');
  expect(await sealChain(ctx)).toMatchObject({ complete: true });
  const found = await verifyChain(ctx);
  expect(found.findings.map((one) => [one.class, one.actual])).toEqual([['inserted', 'transaction 900000000000000']]);
  await tamper(db.admin, "delete from audit.audit_log where event_type = 'forged'");
  await sealChain(ctx);
  expect((await verifyChain(ctx)).findings).toEqual([]);
});

it('finds an event of a transaction that is still open', async () => {
  await db.as('auditkeep_engine').withClient(async (open) => {
    await open.query('begin');
    const id = await open.query<{ id: string }>('select pg_current_xact_id()::text as id');
    await forge(id.rows[0]?.id ?? '');
    const found = await verifyChain(ctx);
    await open.query('rollback');
    expect(found.findings.map((one) => one.class)).toEqual(['inserted']);
  });
  await tamper(db.admin, "delete from audit.audit_log where event_type = 'forged'");
  await sealChain(ctx);
});

it('does not believe a head whose sealer comes by in the future', async () => {
  await addEvents(db.engine, 1, 500);
  await tamper(db.admin, "update audit.chain_head set sealed_at = clock_timestamp() + interval '10 years'");
  const found = await verifyChain(ctx);
  expect([...new Set(found.findings.map((one) => one.class))]).toEqual(['unsealed']);
});

it.each([
  ['actor', 'user_email'],
  ['payload', 'resource_id'],
])('names an event whose %s group has values and no salt: its leaf fits whatever they are', async (group, value) => {
  const own = `event_action = 'UNSALTED-${group}'`;
  await tamper(
    db.admin,
    `insert into audit.audit_log (event_type, event_category, event_action, ${value}, ${group}_salt)
       values ('forged', 'system', 'UNSALTED-${group}', 'before', null)`,
  );
  await sealChain(ctx);
  await signCheckpoint(ctx);
  const [eventId] = await column(db.admin, `select id::text from audit.audit_log where ${own}`);
  const expected = [{ class: 'commitment-broken', eventId }];
  expect((await verifyChain(ctx)).findings).toMatchObject(expected);
  expect((await verifyChain(ctx, { level: 'incremental' })).findings).toMatchObject(expected);
  await tamper(db.admin, `update audit.audit_log set ${value} = 'after' where ${own}`);
  expect((await verifyChain(ctx)).findings).toMatchObject(expected);
  // An empty group has no salt and no commitment.
  await tamper(db.admin, `update audit.audit_log set ${value} = null where ${own}`);
  expect((await verifyChain(ctx)).findings).toEqual([]);
  expect((await verifyChain(ctx, { level: 'incremental' })).findings).toEqual([]);
});

it('names an event that was born with a salt of another length', async () => {
  await tamper(
    db.admin,
    `insert into audit.audit_log (event_type, event_category, event_action, payload_salt)
       values ('forged', 'system', 'SHORT-SALT', '\\x01')`,
  );
  await sealChain(ctx);
  const [eventId] = await column(db.admin, `select id::text from audit.audit_log where event_action = 'SHORT-SALT'`);
  const { findings } = await verifyChain(ctx);
  expect(findings.find((one) => one.eventId === eventId)).toMatchObject({ class: 'commitment-broken' });
});
