/** Waivers and attestations: signed by the right person, checked by every reader, and over when they are over. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { execute } from '../../src/db/query.ts';
import { changeRegister } from '../../src/persons/change.ts';
import { readRegister } from '../../src/persons/read-register.ts';
import {
  addAttestation,
  addWaiver,
  approveWaiver,
  listStatements,
  listWaivers,
} from '../../src/persons/state-statement.ts';
import {
  type CheckedStatement,
  checkStatement,
  signedWaivers,
  waiverApprovalSchema,
  waiverSchema,
  waiverState,
} from '../../src/persons/statement.ts';
import { readStatements } from '../../src/persons/store.ts';
import { TestClock, type TestContext, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { emailOf, foundRegister, type Roster } from './roster.ts';

const db = useDatabase();
let ctx: TestContext;
let roster: Roster;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'auditkeep-statement-'));
  ctx = await testContext(db, { clock: new TestClock(new Date().toISOString()) });
  roster = await foundRegister(ctx, folder);
  await changeRegister(ctx, {
    changes: [{ kind: 'role', email: emailOf('records'), role: 'policy_owner' }],
    officerKeyFiles: ['officer1', 'officer2', 'officer3'].map(roster.keyFile),
  });
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const iso = (days: number) => new Date(ctx.clock.now() + days * 86_400_000).toISOString();
const waiver = (from = 0, until = 30) => {
  return { control: 'ac-12', scope: [], reason: 'roll-out of tokens', valid_from: iso(from), expires_at: iso(until) };
};
const ATTESTATION = {
  framework: 'sox',
  requirement: 'itgc-access-4',
  period_start: '2026-01-01',
  period_end: '2026-03-31',
  outcome: 'met',
  statement: 'reviewed',
} as const;

describe('adding', () => {
  test('a policy owner waives, a reviewer attests; both are listed as signed', async () => {
    const { id } = await addWaiver(roster.as(ctx, 'records'), waiver());
    const { id: attested } = await addAttestation(roster.as(ctx, 'reviewer'), ATTESTATION);
    expect(await listStatements(ctx, 'waiver')).toMatchObject([{ problem: null, statement: { id, control: 'ac-12' } }]);
    expect(await listStatements(ctx, 'attestation')).toMatchObject([{ problem: null, statement: { id: attested } }]);
  });

  test('a waiver by somebody without the role is refused', async () => {
    await expect(addWaiver(roster.as(ctx, 'reviewer'), waiver())).rejects.toMatchObject({ code: 'ROLE_MISSING' });
  });

  test('nobody signs for another, and not without a key', async () => {
    const actor = (keyFile: string | null) => ({
      ...ctx,
      actor: { kind: 'person', email: emailOf('records'), keyFile } as const,
    });
    await expect(addWaiver(actor(roster.keyFile('reviewer')), waiver())).rejects.toMatchObject({
      code: 'PERSON_KEY_INVALID',
    });
    await expect(addWaiver(actor(null), waiver())).rejects.toMatchObject({ code: 'USAGE' });
    await expect(addAttestation(roster.as(ctx, 'officer1'), ATTESTATION)).rejects.toMatchObject({
      code: 'ROLE_MISSING',
    });
  });

  test('a waiver is approved by another policy owner who signs its hash, once, and by nobody else', async () => {
    const [first] = await listWaivers(ctx);
    const id = first?.waiver.id ?? '';
    expect(first?.approvedBy).toBeNull();
    await expect(approveWaiver(roster.as(ctx, 'records'), id)).rejects.toMatchObject({ code: 'DUTY_SEPARATION' });
    await expect(approveWaiver(roster.as(ctx, 'reviewer'), id)).rejects.toMatchObject({ code: 'ROLE_MISSING' });
    await expect(approveWaiver(roster.as(ctx, 'owner'), '00000000')).rejects.toMatchObject({ code: 'INPUT_INVALID' });
    await approveWaiver(roster.as(ctx, 'owner'), id.slice(0, 8));
    expect(await listWaivers(ctx)).toMatchObject([{ approvedBy: emailOf('owner') }]);
    expect(await listStatements(ctx, 'waiver_approval')).toMatchObject([{ problem: null, statement: { waiver: id } }]);
  });

  test('an approval of another text, of the own waiver, or that does not hold is none', async () => {
    const [waivers, approvals] = [await listStatements(ctx, 'waiver'), await listStatements(ctx, 'waiver_approval')];
    const by = (change: object) =>
      approvals.map((checked) => {
        const text = { ...(checked.problem === null ? checked.statement : {}), ...change };
        return { statement: waiverApprovalSchema.parse(text), sha256: '', problem: null };
      });
    const approvedBy = (others: readonly CheckedStatement[]) => signedWaivers(waivers, others)[0]?.approvedBy;
    expect(approvedBy(by({}))).toBe(emailOf('owner'));
    expect(approvedBy(by({ waiver_sha256: '0'.repeat(64) }))).toBeNull();
    expect(approvedBy(by({ waiver: '00000000-0000-4000-8000-000000000000' }))).toBeNull();
    expect(approvedBy(by({ person: emailOf('records') }))).toBeNull();
    expect(
      approvedBy(approvals.map((checked) => ({ ...checked, problem: 'its signature does not verify' }))),
    ).toBeNull();
    expect(
      signedWaivers(
        waivers.map((checked) => ({ ...checked, problem: 'x' })),
        approvals,
      ),
    ).toEqual([]);
  });

  test.each([
    ['more than a year', { expires_at: '2999-01-01T00:00:00.000Z' }],
    ['no time', { valid_from: '2026-05-01T00:00:00.000Z', expires_at: '2026-05-01T00:00:00.000Z' }],
    ['no control', { control: 'everything' }],
    ['no reason', { reason: ' ' }],
  ])('a waiver of %s is refused', async (_, change) => {
    const added = addWaiver(roster.as(ctx, 'records'), { ...waiver(), ...change });
    await expect(added).rejects.toMatchObject({ code: 'INPUT_INVALID' });
  });

  test.each([
    ['ends before it begins', { period_end: '2025-01-01' }, /ends before it begins/],
    ['has 367 days', { period_start: '2023-12-31', period_end: '2024-12-31' }, /at most 366 days/],
    ['ends today', null, /not ended/],
  ])('a period that %s is refused', async (_, change, message) => {
    const today = new Date().toISOString().slice(0, 10);
    const period = { period_start: today, period_end: today, ...change };
    const added = addAttestation(roster.as(ctx, 'reviewer'), { ...ATTESTATION, ...period });
    await expect(added).rejects.toMatchObject({ code: 'INPUT_INVALID' });
    await expect(added).rejects.toThrow(message);
  });

  test('a period of 366 days is attested', async () => {
    const period = { period_start: '2024-01-01', period_end: '2024-12-31' };
    const { id } = await addAttestation(roster.as(ctx, 'reviewer'), { ...ATTESTATION, ...period });
    const attested = await listStatements(ctx, 'attestation');
    expect(attested.map((entry) => entry.statement?.id)).toContain(id);
  });
});

describe('reading', () => {
  test('a waiver counts from its first instant until before its last', async () => {
    const [first] = await listStatements(ctx, 'waiver');
    const statement = waiverSchema.parse(first?.statement);
    const at = (text: string, ms: number) => new Date(Date.parse(text) + ms).toISOString();
    expect(waiverState(statement, at(statement.valid_from, -1))).toBe('not yet');
    expect(waiverState(statement, statement.valid_from)).toBe('active');
    expect(waiverState(statement, at(statement.expires_at, -1))).toBe('active');
    expect(waiverState(statement, statement.expires_at)).toBe('expired');
  });

  test('no text and no signature changes unseen', async () => {
    const { stored, current } = await ctx.db.withClient(async (client) => ({
      stored: (await readStatements(client, 'waiver'))[0] ?? { payload: '', signature: '' },
      current: await readRegister(client),
    }));
    const attested = (await ctx.db.withClient((client) => readStatements(client, 'attestation')))[0];
    expect(checkStatement(stored, current).problem).toBeNull();
    const noRoles = { ...current, register: { ...current.register, roles: [] } };
    const renamed = { ...current, register: { ...current.register, persons: new Map([[emailOf('records'), 'X']]) } };
    const noKeys = { ...current, register: { ...current.register, keys: new Map() } };
    const cases = [
      [{ ...stored, payload: stored.payload.replace('tokens', 'teapot') }, current, 'its signature does not verify'],
      [{ ...stored, payload: `${stored.payload} ` }, current, 'it is no canonical text of the known shape'],
      [{ ...stored, signature: attested?.signature ?? '' }, current, 'its signature does not verify'],
      [
        stored,
        { ...current, installationId: '00000000-0000-4000-8000-00000000beef' },
        'it belongs to another installation',
      ],
      [stored, noRoles, 'its person had no role for it'],
      [stored, renamed, 'its person has another name'],
      [stored, noKeys, 'its key was not a valid key of its person'],
    ] as const;
    for (const [changed, book, problem] of cases) expect(checkStatement(changed, book).problem).toBe(problem);
  });

  test('the database takes no statement of another time or installation, and changes none', async () => {
    const [stored] = await ctx.db.withClient((client) => readStatements(client, 'waiver'));
    const text = JSON.parse(stored?.payload ?? '{}') as Record<string, unknown>;
    const record = (change: object) =>
      db.engine.withClient((client) =>
        execute(client, 'select compliance.record_statement($1::text, $2::text)', [
          JSON.stringify({ ...text, ...change }),
          stored?.signature ?? '',
        ]),
      );
    const old = { time: '2026-01-01T00:00:00.000Z' };
    await expect(record(old)).rejects.toMatchObject({ code: 'AK007' });
    await expect(record({ installation_id: '00000000-0000-4000-8000-00000000beef' })).rejects.toMatchObject({
      code: 'AK009',
    });
    await expect(record({ format: 'auditkeep-waiver/v9' })).rejects.toMatchObject({ code: 'AK009' });
    await expect(record({ format: 'auditkeep-waiver/v1' })).rejects.toMatchObject({ code: 'AK009' });
    await expect(record({ person: 'engine@auditkeep.invalid' })).rejects.toMatchObject({ code: 'AK005' });
    for (const table of ['waiver', 'waiver_approval', 'attestation']) {
      const changed = db
        .as('auditkeep_owner')
        .withClient((client) => execute(client, `delete from compliance.${table}`));
      await expect(changed).rejects.toMatchObject({ code: 'AK013' });
    }
  });
});
