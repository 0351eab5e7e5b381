/** The waivers and attestations of a report in its bundle: all that the model names, signed, and nothing else. */
import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { canonicalJson } from '../../src/canonical-json.ts';
import { execute } from '../../src/db/query.ts';
import { inTransaction } from '../../src/db/transaction.ts';
import { readSshKeyFile } from '../../src/keys/ssh-key.ts';
import { NAMESPACES, signSshsig } from '../../src/keys/sshsig.ts';
import { readRegister } from '../../src/persons/read-register.ts';
import type { Register } from '../../src/persons/register.ts';
import { addAttestation, addWaiver, approveWaiver } from '../../src/persons/state-statement.ts';
import { makeBundle } from '../../src/reports/bundle/bundle.ts';
import { verifyBundle } from '../../src/reports/bundle/verify-bundle.ts';
import { generateReport } from '../../src/reports/generate/generate.ts';
import type { ReportModel } from '../../src/reports/model/model.ts';
import { parseModel } from '../../src/reports/model/read.ts';
import { packBundle, unpackBundle } from '../../src/reports/parts/bundle-format.ts';
import { checkBundledStatements } from '../../src/reports/parts/bundle-statements.ts';
import { approveReport, reviewReport, submitReport } from '../../src/reports/workflow/workflow.ts';
import { emailOf, foundRegister, type Roster } from '../persons/roster.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { arrangeBase, runAll } from './control-fixtures.ts';

const db = useDatabase();
let ctx: TestContext;
let roster: Roster;
let folder: string;
let reportId: string;
let zip: Buffer;
let parts: ReadonlyMap<string, Uint8Array>;
let register: Register;
let installationId: string;
let ids: { readonly waiver: string; readonly attestation: string };

const ADMIN = '10000000-0000-4000-8000-000000000001';
const DAY_MS = 86_400_000;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'auditkeep-statements-'));
  ctx = await testContext(db);
  roster = await foundRegister(ctx, folder);
  await arrangeBase(db.admin);
  await runAll(db.admin, ['update security_confidential.users set mfa_enabled = false']);
  const waiver = await waive([]);
  const attestation = await addAttestation(roster.as(ctx, 'reviewer'), {
    framework: 'sox',
    requirement: 'itgc-change-3',
    period_start: '2025-01-01',
    period_end: '2025-12-31',
    outcome: 'met',
    statement: 'projects looked at',
  });
  ids = { waiver, attestation: attestation.id };
  reportId = await approvedReport();
  zip = (await makeBundle(ctx, reportId)).zip;
  parts = unpackBundle(zip);
  ({ register, installationId } = await db.engine.withClient(readRegister));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** A waiver of AC-12 that counts; gives its id. */
async function waive(scope: readonly { readonly column: string; readonly value: string }[]): Promise<string> {
  const now = ctx.clock.now();
  const { id } = await addWaiver(roster.as(ctx, 'owner'), {
    control: 'ac-12',
    scope: [...scope],
    reason: 'token ordered',
    valid_from: new Date(now - DAY_MS).toISOString(),
    expires_at: new Date(now + 30 * DAY_MS).toISOString(),
  });
  await approveWaiver(roster.as(ctx, 'owner2'), id);
  return id;
}

async function approvedReport(): Promise<string> {
  const { id } = await generateReport(ctx, { framework: 'sox', period: '2025' });
  await submitReport(roster.as(ctx, 'preparer'), { reportId: id });
  await reviewReport(roster.as(ctx, 'reviewer'), { reportId: id });
  await approveReport(roster.as(ctx, 'approver'), { reportId: id });
  return id;
}

const textOf = (name: string) => Buffer.from(parts.get(name) ?? '').toString('utf8');
const named = () => ({
  waiver: `statements/waiver-${ids.waiver}.json`,
  approval: `statements/waiver-approval-${ids.waiver}.json`,
  attestation: `statements/attestation-${ids.attestation}.json`,
});

/** Packed again with other parts, as somebody with our code would. */
function repack(change: (parts: Map<string, Uint8Array>) => void): Buffer {
  const content = new Map([...parts].filter(([name]) => name !== 'manifest.json' && name !== 'digest.txt'));
  change(content);
  const subject = JSON.parse(textOf('manifest.json')) as { report: Parameters<typeof packBundle>[0] };
  return packBundle(subject.report, content);
}

/** What the statements alone show when the model says something else. */
function findingsFor(change: (model: ReportModel) => ReportModel) {
  const model = change(parseModel(Buffer.from(textOf('model.json'))));
  const changed = new Map(parts).set('model.json', Buffer.from(canonicalJson(model)));
  return checkBundledStatements(changed, { installationId, register }).findings;
}

const withWaiver = (model: ReportModel, change: Partial<ReportModel['controls'][number]['waivers'][number]>) => ({
  ...model,
  controls: model.controls.map((control) => ({
    ...control,
    waivers: control.waivers.map((waiver) => ({ ...waiver, ...change })),
  })),
});

test('the bundle holds every text with its signature, and stock tools verify them', async () => {
  const { waiver, approval, attestation } = named();
  expect([...parts.keys()].filter((name) => name.startsWith('statements/')).sort()).toEqual(
    [waiver, approval, attestation].flatMap((part) => [part, `${part}.sig`]).sort(),
  );
  const check = await verifyBundle(zip, textOf('allowed_signers'));
  expect(check.findings).toEqual([]);
  expect(check).toMatchObject({ roles: 'given', withheld: [] });
  const commands = textOf('README.txt').match(/ssh-keygen[^\n]*\\\n[^\n]* statements\/[^\n]*/g) ?? [];
  expect(commands).toHaveLength(3);
  const cwd = join(folder, 'opened');
  for (const [name, bytes] of parts) {
    await mkdir(dirname(join(cwd, name)), { recursive: true });
    await writeFile(join(cwd, name), bytes);
  }
  if (spawnSync('ssh-keygen', ['-?']).error !== undefined) return; // the other checks do not need it
  for (const command of commands) {
    expect(spawnSync('sh', ['-c', command], { cwd, encoding: 'utf8' }).stdout).toContain('Good "');
  }
});

test('a text that is missing, changed, another one or one more is named', async () => {
  const { waiver, approval, attestation } = named();
  const find = async (change: (all: Map<string, Uint8Array>) => void) =>
    (await verifyBundle(repack(change), textOf('allowed_signers'))).findings;
  const bytes = (name: string) => parts.get(name) ?? new Uint8Array();
  expect(await find((all) => all.delete(waiver))).toContainEqual({ part: waiver, what: 'is missing' });
  expect(await find((all) => all.delete(`${approval}.sig`))).toContainEqual({ part: approval, what: 'is missing' });
  const changed = Buffer.from(textOf(attestation).replace('looked at', 'lookedbat'));
  const wrongHash = 'does not have the sha256 that the model names';
  expect(await find((all) => all.set(attestation, changed))).toContainEqual({ part: attestation, what: wrongHash });
  expect(await find((all) => all.set(waiver, bytes(approval)))).toContainEqual({ part: waiver, what: wrongHash });
  const swapped = await find((all) => all.set(`${waiver}.sig`, bytes(`${approval}.sig`)));
  expect(swapped).toContainEqual({ part: waiver, what: 'does not hold: its signature does not verify' });
  const further = 'statements/waiver-11111111-1111-4111-8111-111111111111.json';
  const what = 'is no part of a bundle';
  expect(await find((all) => all.set(further, bytes(waiver)))).toContainEqual({ part: further, what });
});

test('a signature by somebody without the role is found', async () => {
  const { waiver } = named();
  const payload = Buffer.from(textOf(waiver));
  const signature = await signSshsig(await readSshKeyFile(roster.keyFile('preparer')), NAMESPACES.waiver, payload);
  const forged = new Map(parts).set(`${waiver}.sig`, Buffer.from(signature));
  expect(checkBundledStatements(forged, { installationId, register }).findings).toEqual([
    { part: waiver, what: 'does not hold: its signature does not verify' },
  ]);
  const roles = register.roles.filter(({ role }) => role !== 'policy_owner');
  const what = 'does not hold: its person had no role for it';
  expect(checkBundledStatements(parts, { installationId, register: { ...register, roles } }).findings).toEqual(
    [
      { part: named().approval, what },
      { part: waiver, what },
    ].sort((a, b) => (a.part < b.part ? -1 : 1)),
  );
});

test('a model that says something else of a statement than was signed is found', () => {
  const { waiver, attestation } = named();
  const what = 'is not what the model says of it';
  expect(findingsFor((model) => model)).toEqual([]);
  const changes = [
    { reason: 'no reason' },
    { expiresAt: '2099-01-01T00:00:00.000Z' },
    { signers: [emailOf('owner2'), emailOf('owner')] },
    { scope: [{ column: 'privileged_roles', value: 'keeper' }] },
  ];
  for (const change of changes) {
    expect(findingsFor((model) => withWaiver(model, change))).toEqual([{ part: waiver, what }]);
  }
  expect(
    findingsFor((model) => ({
      ...model,
      source: { ...model.source, readAt: '2099-01-01T00:00:00.000Z' },
      generated: { ...model.generated, at: '2098-01-01T00:00:00.000Z' },
    })),
  ).toEqual([{ part: waiver, what }]);
  const attested = (change: object) => (model: ReportModel) => ({
    ...model,
    requirements: model.requirements.map((entry) =>
      entry.attestation === null ? entry : { ...entry, attestation: { ...entry.attestation, ...change } },
    ),
  });
  for (const change of [
    { outcome: 'not-met' },
    { statement: 'x' },
    { by: emailOf('owner') },
    { periodEnd: '2026-01-01' },
  ]) {
    expect(findingsFor(attested(change))).toEqual([{ part: attestation, what }]);
  }
  expect(findingsFor((model) => ({ ...model, framework: { ...model.framework, id: 'gdpr' } }))).toEqual([
    { part: attestation, what },
  ]);
  expect(findingsFor((model) => withWaiver(model, { sha256: 'f'.repeat(64) })).map(({ part }) => part)).toEqual([
    waiver,
  ]);
});

test('a waiver that names whom the report hides is withheld, unless the bundle says who that is', async () => {
  const scoped = await waive([{ column: 'account', value: ADMIN }]);
  // The first one that covers an exception counts, so the one of all has to be gone.
  await inTransaction(db.as('auditkeep_owner'), async (client) => {
    await execute(client, 'alter table compliance.waiver_approval disable trigger user');
    await execute(client, 'delete from compliance.waiver_approval where waiver_id = $1::uuid', [ids.waiver]);
    await execute(client, 'alter table compliance.waiver_approval enable always trigger append_only');
  });
  const approved = await approvedReport();
  const redacted = (await makeBundle(ctx, approved)).zip;
  const made = unpackBundle(redacted);
  const names = [...made.keys()].filter((name) => name.startsWith('statements/waiver'));
  expect(names).toEqual([]);
  expect(Buffer.concat([...made.values()]).includes(ADMIN)).toBe(false);
  const check = checkBundledStatements(made, { installationId, register });
  expect(check).toMatchObject({ findings: [], withheld: [scoped] });
  const verdict = await verifyBundle(redacted, textOf('allowed_signers'));
  expect(verdict).toMatchObject({ outcome: 'incomplete', findings: [], withheld: [scoped] });
  const full = unpackBundle((await makeBundle(ctx, approved, 'full')).zip);
  const waiver = `statements/waiver-${scoped}.json`;
  expect(Buffer.from(full.get(waiver) ?? '').toString('utf8')).toContain(ADMIN);
  expect(checkBundledStatements(full, { installationId, register })).toMatchObject({ findings: [], withheld: [] });
  const identities = Buffer.from(full.get('identities.ndjson') ?? '').toString('utf8');
  const other = new Map(full).set(
    'identities.ndjson',
    Buffer.from(identities.replaceAll(ADMIN, ADMIN.replace('1', '7'))),
  );
  expect(checkBundledStatements(other, { installationId, register }).findings).toEqual([
    { part: waiver, what: 'is not what the model says of it' },
  ]);
  // The report that rests on the removed approval is no longer packed.
  await expect(makeBundle(ctx, reportId)).rejects.toMatchObject({ code: 'BUNDLE_INVALID' });
});
