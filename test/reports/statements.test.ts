/** What persons signed changes statuses: waivers for what they cover, attestations for what no control answers; nothing unsigned does. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { execute } from '../../src/db/query.ts';
import { inTransaction } from '../../src/db/transaction.ts';
import { addAttestation, addWaiver, approveWaiver, listStatements } from '../../src/persons/state-statement.ts';
import { evaluateControls } from '../../src/reports/evaluate/evaluate.ts';
import {
  checkAttestedRequirement,
  checkWaiverScope,
  coveringAttestations,
  readActiveWaivers,
  readAttestations,
} from '../../src/reports/evaluate/statements.ts';
import { coveringWaiver } from '../../src/reports/evaluate/waiver.ts';
import { generateReport } from '../../src/reports/generate/generate.ts';
import { loadTemplates } from '../../src/reports/template/template.ts';
import { parseReportPeriod } from '../../src/time/report-period.ts';
import { emailOf, foundRegister, type Roster } from '../persons/roster.ts';
import { TestClock, type TestContext, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { arrangeBase, runAll } from './control-fixtures.ts';

const db = useDatabase();
let ctx: TestContext;
let roster: Roster;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'auditkeep-statements-'));
  ctx = await testContext(db, { clock: new TestClock(new Date().toISOString()) });
  roster = await foundRegister(ctx, folder);
  await arrangeBase(db.admin);
  // Two privileged accounts without a second factor.
  await runAll(db.admin, [
    'update security_confidential.users set mfa_enabled = false',
    `insert into security_internal.user_roles (user_id, role_id, granted_by)
     select '${CLERK}', id, '${ADMIN}' from security_internal.roles`,
  ]);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const ADMIN = '10000000-0000-4000-8000-000000000001';
const CLERK = '10000000-0000-4000-8000-000000000002';
const iso = (days: number) => new Date(ctx.clock.now() + days * 86_400_000).toISOString();
const only = (account: string) => [{ column: 'account', value: account }];

/** AC-12 as a report made now would have it, with the waivers that count now. */
async function evaluate(clock = ctx.clock) {
  const control = (await loadTemplates()).controls.get('ac-12');
  if (control === undefined) throw new Error('no control ac-12');
  const { results } = await evaluateControls(ctx, {
    controls: [control],
    period: parseReportPeriod('2025', { now: ctx.clock.now() }),
    pseudonymize: (value) => `P(${value})`,
    waivers: await readActiveWaivers({ ...ctx, clock }),
  });
  const result = results[0]?.result;
  if (result?.kind !== 'evaluated') throw new Error('ac-12 was not evaluated');
  const { judgement, exceptions, waivers } = result;
  return { status: judgement.status, found: exceptions.count, waived: exceptions.waived, waivers };
}

const waive = (account: string | null, days = 30) =>
  addWaiver(roster.as(ctx, 'owner'), {
    control: 'ac-12',
    scope: account === null ? [] : only(account),
    reason: 'token ordered',
    valid_from: iso(-1),
    expires_at: iso(days),
  });

describe('a waiver', () => {
  test('counts for what it covers, with two signatures, until it expires', async () => {
    expect(await evaluate()).toEqual({ status: 'fail', found: 2, waived: 0, waivers: [] });
    const first = await waive(ADMIN, 30);
    expect(await evaluate()).toMatchObject({ status: 'fail', waived: 0 });
    await approveWaiver(roster.as(ctx, 'owner2'), first.id);
    expect(await evaluate()).toMatchObject({
      status: 'fail',
      found: 2,
      waived: 1,
      waivers: [
        {
          id: first.id,
          sha256: first.sha256,
          signers: [emailOf('owner'), emailOf('owner2')],
          scope: [{ column: 'account', value: `P(${ADMIN})` }],
          covered: 1,
        },
      ],
    });
    const second = await waive(CLERK, 20);
    await approveWaiver(roster.as(ctx, 'owner2'), second.id);
    expect(await evaluate()).toMatchObject({ status: 'pass_with_waiver', found: 2, waived: 2 });
    expect(await evaluate(new TestClock(iso(19.9)))).toMatchObject({ status: 'pass_with_waiver' });
    expect(await evaluate(new TestClock(iso(20)))).toMatchObject({ status: 'fail', waived: 1 });
    expect(await evaluate(new TestClock(iso(-2)))).toMatchObject({ status: 'fail', waived: 0 });
  });

  test('that the owner of the database wrote without signatures counts for nothing', async () => {
    await inTransaction(db.as('auditkeep_owner'), async (client) => {
      await execute(client, 'alter table compliance.waiver_approval disable trigger user');
      await execute(
        client,
        `update compliance.waiver_approval a set signature = (select w.signature from compliance.waiver w where w.id = a.waiver_id)`,
      );
      await execute(client, 'alter table compliance.waiver_approval enable always trigger append_only');
    });
    expect(await evaluate()).toMatchObject({ status: 'fail', waived: 0, waivers: [] });
  });

  test('of another control, or of conditions that no row has, covers nothing', () => {
    const waiver = {
      id: 'w',
      sha256: '',
      approvalSha256: '',
      control: 'ac-12',
      reason: '',
      expiresAt: '',
      signers: [],
      scope: only(ADMIN),
    };
    const both = { ...waiver, scope: [...only(ADMIN), { column: 'privileged_roles', value: 'keeper' }] };
    expect(coveringWaiver([waiver], { account: CLERK })).toBeNull();
    expect(coveringWaiver([waiver], { other: ADMIN })).toBeNull();
    expect(coveringWaiver([both], { account: ADMIN, privileged_roles: 'other' })).toBeNull();
    expect(coveringWaiver([both], { account: ADMIN, privileged_roles: 'keeper' })).toBe(both);
  });

  test('names a control and columns that there are', async () => {
    await checkWaiverScope('ac-12', only(ADMIN));
    await expect(checkWaiverScope('ac-99', [])).rejects.toMatchObject({ code: 'INPUT_INVALID' });
    await expect(checkWaiverScope('ac-12', [{ column: 'nothing' }])).rejects.toThrow(/no column 'nothing'/);
  });
});

describe('an attestation', () => {
  test('is of a requirement that there is and that controls do not answer wholly', async () => {
    await checkAttestedRequirement('sox', 'itgc-change-1');
    await checkAttestedRequirement('sox', 'itgc-change-3');
    await expect(checkAttestedRequirement('sox', 'itgc-access-4')).rejects.toThrow(/answer it wholly/);
    await expect(checkAttestedRequirement('sox', 'itgc-99')).rejects.toMatchObject({ code: 'INPUT_INVALID' });
    await expect(checkAttestedRequirement('pci', 'itgc-99')).rejects.toMatchObject({ code: 'TEMPLATE_INVALID' });
  });

  const attest = (requirement: string, outcome: 'met' | 'not-met', [from, to]: readonly [string, string]) =>
    addAttestation(roster.as(ctx, 'reviewer'), {
      framework: 'sox',
      requirement,
      period_start: from,
      period_end: to,
      outcome,
      statement: 'looked at',
    });
  const YEAR = ['2025-01-01', '2025-12-31'] as const;
  const outcomes = async (framework = 'sox') => {
    const found = await readAttestations(ctx, { framework, startDate: YEAR[0], endDate: YEAR[1] });
    return [...found].map(([requirement, { outcome }]) => `${requirement} ${outcome}`);
  };

  test('counts when it covers every day of the period, the newest of several', async () => {
    await attest('itgc-change-3', 'met', ['2025-01-02', YEAR[1]]);
    await attest('itgc-change-3', 'met', [YEAR[0], '2025-12-30']);
    expect(await outcomes()).toEqual([]);
    await attest('itgc-change-3', 'not-met', YEAR);
    expect(await outcomes()).toEqual(['itgc-change-3 not-met']);
    await attest('itgc-change-3', 'met', ['2024-12-31', YEAR[1]]);
    expect(await outcomes()).toEqual(['itgc-change-3 met']);
    expect(await outcomes('gdpr')).toEqual([]);
  });

  test('that was signed before the period of the report was over counts for nothing', async () => {
    const signed = await listStatements(ctx, 'attestation');
    const at = (time: string) => {
      const moved = signed.flatMap((checked) => {
        const { statement, sha256, problem } = checked;
        if (problem !== null || statement.format !== 'auditkeep-attestation/v1') return [];
        return [{ statement: { ...statement, time }, sha256, problem }];
      });
      return coveringAttestations(moved, { framework: 'sox', startDate: YEAR[0], endDate: YEAR[1] }).size;
    };
    expect(at('2025-12-31T23:59:59.999Z')).toBe(0);
    expect(at('2026-01-01T00:00:00.000Z')).toBe(1);
  });

  test('fills a manual slot of a report, stands beside the controls of a partial one, and is nothing to an automated one', async () => {
    await attest('itgc-change-1', 'not-met', YEAR);
    await attest('itgc-access-4', 'met', YEAR);
    const { model } = await generateReport(ctx, { framework: 'sox', period: '2025' });
    const of = (id: string) => model.requirements.find((requirement) => requirement.id === id);
    expect(of('itgc-change-3')).toMatchObject({
      status: 'pass',
      attestation: { outcome: 'met', by: emailOf('reviewer'), periodStart: '2024-12-31' },
    });
    expect(of('itgc-change-1')).toMatchObject({ status: 'fail', attestation: { outcome: 'not-met' } });
    expect(of('itgc-access-4')).toMatchObject({ status: 'insufficient_data', attestation: null });
    expect(model.opinion).toBe('exceptions');
    await attest('itgc-change-3', 'met', ['2024-01-01', '2024-12-31']);
    const other = await generateReport(ctx, { framework: 'sox', period: '2024' });
    expect(other.model.requirements.find(({ id }) => id === 'itgc-change-3')).toMatchObject({ status: 'pass' });
    const earlier = await generateReport(ctx, { framework: 'sox', period: '2023' });
    expect(earlier.model.requirements.find(({ id }) => id === 'itgc-change-3')).toMatchObject({
      status: 'manual_pending',
      attestation: null,
    });
  });

  test('whose text somebody changed counts for nothing', async () => {
    await inTransaction(db.as('auditkeep_owner'), async (client) => {
      await execute(client, 'alter table compliance.attestation disable trigger user');
      await execute(
        client,
        `update compliance.attestation set payload = replace(payload, 'not-met', 'met'),
           payload_sha256 = encode(sha256(convert_to(replace(payload, 'not-met', 'met'), 'UTF8')), 'hex')`,
      );
      await execute(client, 'alter table compliance.attestation enable always trigger append_only');
    });
    expect(await outcomes()).toEqual(['itgc-change-3 met', 'itgc-access-4 met']);
  });
});
