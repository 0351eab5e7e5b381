/** Policy versions: applied, requested, approved, in force; what the database refuses whoever asks. */
import fc from 'fast-check';
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { planArchive } from '../../src/retention/archive.ts';
import { BUILT_IN_POLICY, type PolicyRule, type RetentionPolicy } from '../../src/retention/policy.ts';
import { applyPolicy, approvePolicy, planPolicy, readVersions } from '../../src/retention/policy-apply.ts';
import { diffPolicies } from '../../src/retention/policy-diff.ts';
import { policyText } from '../../src/retention/policy-document.ts';
import { readPolicyInForce } from '../../src/retention/policy-store.ts';
import type { Period } from '../../src/time/period.ts';
import { foundRegister, type Roster } from '../persons/roster.ts';
import { type TestContext, temporaryHome, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { guardsLater } from './later.ts';
import { ensureMonths, failureOf, scalar } from './rows.ts';

const containing = (part: string): unknown => expect.stringContaining(part);

const db = useDatabase();
let ctx: TestContext;
let roster: Roster;

/** A context whose auditkeep.yaml has this retention section. */
const withSection = <C extends TestContext>(of: C, retention: Record<string, unknown> | null): C => ({
  ...of,
  config: { ...of.config, retention },
});
const archiveAfter = (period: string) => ({ rules: [{ table: 'audit_log', archive: period }] });
const inForce = () => db.engine.withClient(readPolicyInForce);
const propose = (text: string, after: number) =>
  `select retention.propose_policy('${text.replaceAll("'", "''")}', ${after}, 'somebody', 'because')`;

beforeAll(async () => {
  ctx = await testContext(db, {});
  roster = await foundRegister(ctx, await temporaryHome());
});

test('version 1 is the built-in policy, word for word', async () => {
  const document = `select document as value from retention.policy_version where version = 1`;
  expect(await scalar(db.engine, z.string(), document)).toBe(policyText(BUILT_IN_POLICY));
  expect(await inForce()).toMatchObject({ version: 1, policy: BUILT_IN_POLICY, reason: 'built in' });
});

test('a longer period is in force at once, with its reason and an audit event', async () => {
  const longer = withSection(ctx, archiveAfter('8 years'));
  expect(await applyPolicy(longer, { reason: 'records schedule' })).toMatchObject({ version: 2, outcome: 'in force' });
  expect(await inForce()).toMatchObject({ version: 2, actor: 'test', reason: 'records schedule', shortens: false });
  expect(await applyPolicy(longer, { reason: 'again' })).toMatchObject({ version: 2, outcome: 'unchanged' });
  const events = `select count(*) as value from audit.audit_log_all where event_type = 'policy.applied'`;
  expect(await scalar(db.engine, z.bigint(), events)).toBe(1n);
});

test('what contradicts itself is reported by diff and refused by apply', async () => {
  const minimum = { period: '9 years', clause: 'Archive Act 3' };
  const contradicting = withSection(ctx, {
    rules: [
      { table: 'audit_log', archive: '9 years', minimum, maximum: { period: '8 years', clause: 'GDPR 5(1)(e)' } },
    ],
  });
  expect((await planPolicy(contradicting)).problems).toHaveLength(1);
  await expect(applyPolicy(contradicting, { reason: 'x' })).rejects.toMatchObject({
    code: 'POLICY_CONFLICT',
    message: containing('Archive Act 3'),
  });
  expect(await readVersions(ctx)).toHaveLength(2);
});

describe('a shorter period', () => {
  let shorter: TestContext;
  beforeEach(() => {
    shorter = withSection(ctx, archiveAfter('7 years'));
  });

  test('is not even requested by a service or somebody without the role', async () => {
    await expect(applyPolicy(shorter, { reason: 'x' })).rejects.toMatchObject({ code: 'USAGE' });
    expect(await readVersions(ctx)).toHaveLength(2);
    await expect(applyPolicy(roster.as(shorter, 'records'), { reason: 'x' })).rejects.toMatchObject({
      code: 'ROLE_MISSING',
    });
    expect(await readVersions(ctx)).toHaveLength(2);
  });

  test('needs a second policy owner', async () => {
    const requested = await applyPolicy(roster.as(shorter, 'owner'), { reason: 'GDPR 5(1)(e)' });
    expect(requested).toMatchObject({ version: 3, outcome: 'requested' });
    await expect(approvePolicy(roster.as(ctx, 'owner'), 3)).rejects.toMatchObject({ code: 'DUTY_SEPARATION' });
    await expect(approvePolicy(roster.as(ctx, 'records'), 3)).rejects.toMatchObject({ code: 'ROLE_MISSING' });
    await expect(approvePolicy(roster.as(ctx, 'owner2'), 2)).rejects.toMatchObject({ code: 'DECISION_OBJECT' });
    await expect(approvePolicy(roster.as(ctx, 'owner2'), 9)).rejects.toMatchObject({ code: 'INPUT_INVALID' });
    expect(await inForce()).toMatchObject({ version: 2 });
  });

  test('and 72 hours from the second signature on; then jobs go by it', async () => {
    const approved = await approvePolicy(roster.as(ctx, 'owner2'), 3);
    expect(approved.effectiveAt).not.toBeNull();
    await expect(approvePolicy(roster.as(ctx, 'owner2'), 3)).rejects.toMatchObject({ code: 'DECISION_STATE' });
    await guardsLater(db, 71);
    expect(await inForce()).toMatchObject({ version: 2 });
    const before = await planArchive(ctx);
    await guardsLater(db, 73);
    expect(await inForce()).toMatchObject({ version: 3 });
    expect((await planArchive(ctx)).planHash).not.toBe(before.planHash);
  });

  test('a newer version takes the place of one that waits', async () => {
    const five = withSection(roster.as(ctx, 'owner'), archiveAfter('6 years'));
    const requested = await applyPolicy(five, { reason: 'x' });
    await applyPolicy(withSection(ctx, archiveAfter('9 years')), { reason: 'longer' });
    await expect(approvePolicy(roster.as(ctx, 'owner2'), requested.version)).rejects.toMatchObject({
      code: 'DECISION_STATE',
      message: containing('newer'),
    });
  });
});

test('archival follows the hot period of the version in force', async () => {
  await ensureMonths(db.engine, ['2025-01']);
  const due = async () =>
    (await planArchive({ ...ctx, clock: ctx.clock }, { table: 'audit_log' })).units.map((unit) => unit.partition);
  expect(await due()).not.toContain('audit_log_y2025m01');
  await applyPolicy(withSection(ctx, { rules: [{ table: 'audit_log', hot: '1 year', archive: '9 years' }] }), {
    reason: 'hot for a year',
  });
  expect(await due()).toContain('audit_log_y2025m01');
});

describe('raw SQL as the engine', () => {
  const text = policyText(BUILT_IN_POLICY);
  const newest = `(select max(version) from retention.policy_version)`;

  test.each([
    [text.replace('"hot":"2 years"', '"hot":"20 years"'), 'AK122'],
    [text.replace('"archive":"7 years"', '"archive":"-7 years"'), 'AK122'],
    [text.replace('"coolingOffHours":72', '"coolingOffHours":0'), 'AK122'],
    [text.replace('"table":"audit_log"', '"table":"users"'), 'AK122'],
    ['{}', 'AK122'],
    // A limit that is missing would be no limit, and count at once.
    [JSON.stringify({ ...BUILT_IN_POLICY, limits: { coolingOffHours: 72 } }), 'AK122'],
  ])('a policy that makes no sense is refused', async (document, code) => {
    const failure = await failureOf(db.engine, propose(document, 0).replace(', 0,', `, ${newest},`));
    expect(failure).toMatchObject({ code });
  });

  test('a version that does not follow the newest is refused', async () => {
    expect(await failureOf(db.engine, propose(text, 1))).toMatchObject({ code: 'AK123' });
  });

  test('a version without a second person is never in force, and nothing is rewritten', async () => {
    const shorten = propose(text, 0).replace(', 0,', `, ${newest},`);
    const before = await inForce();
    await db.engine.withClient((client) => client.query(shorten));
    expect(await inForce()).toMatchObject({ version: before.version });
    for (const statement of [
      `update retention.policy_version set shortens = false`,
      `delete from retention.policy_version`,
      `insert into retention.policy_version (version, document, sha256, shortens, actor, reason)
         select 99, document, sha256, false, 'x', 'x' from retention.policy_version where version = 1`,
      `insert into compliance.object_decision_request (object_kind, object_id, object_hash, meaning, person_id, issued_at, expires_at)
         select 'policy', policy_id, sha256, 'approve', gen_random_uuid(), now(), now() + interval '15 minutes' from retention.policy_version`,
      `create or replace function retention.clock() returns timestamptz language sql as 'select now()'`,
    ]) {
      expect(await failureOf(db.engine, statement)).toMatchObject({ code: '42501' });
    }
    for (const statement of [
      `update retention.policy_version set shortens = false`,
      `truncate retention.policy_version`,
    ]) {
      expect(await failureOf(db.admin, statement)).toMatchObject({ code: 'AK013' });
    }
  });
});

test('the database and the program agree on what shortens', async () => {
  const period = fc.constantFrom<Period | null>(
    null,
    ...[30, 364, 365].map((count) => ({ unit: 'day', count }) as const),
    ...[1, 12, 84].map((count) => ({ unit: 'month', count }) as const),
    ...[1, 7].map((count) => ({ unit: 'year', count }) as const),
  );
  const minimum = period.map((of) => (of === null ? null : { period: of, clause: 'c', legalBasis: null }));
  const disposition = fc.constantFrom<PolicyRule['disposition']>('keep', 'purge');
  const policy = fc
    .record({ archive: period, minimum, disposition, percent: fc.constantFrom(10, 40), hours: fc.constantFrom(72, 73) })
    .map(({ percent, hours, ...fields }): RetentionPolicy => {
      const [first, ...others] = BUILT_IN_POLICY.rules;
      const rules = first === undefined ? [] : [{ ...first, ...fields }, ...others];
      return { rules, limits: { ...BUILT_IN_POLICY.limits, percent, coolingOffHours: hours } };
    });
  const sql = 'select retention.policy_shortens($1::jsonb, $2::jsonb) as value';
  await fc.assert(
    fc.asyncProperty(policy, policy, async (before, after) => {
      const shortens = await scalar(db.admin, z.boolean(), sql, [policyText(before), policyText(after)]);
      expect(diffPolicies(before, after).shortens.length > 0).toBe(shortens);
    }),
    { numRuns: 150 },
  );
});
