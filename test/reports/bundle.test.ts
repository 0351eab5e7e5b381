import { readdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { generateIdentity, identityToRecipient } from 'age-encryption';
import { zipSync } from 'fflate';
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { canonicalJson } from '../../src/canonical-json.ts';
import { makeBundle } from '../../src/reports/bundle/bundle.ts';
import { checkBundleFile, distributeReport } from '../../src/reports/bundle/distribute.ts';
import { verifyBundle } from '../../src/reports/bundle/verify-bundle.ts';
import { generateReport } from '../../src/reports/generate/generate.ts';
import { checkParts, packBundle, sha256Of, unpackBundle } from '../../src/reports/parts/bundle-format.ts';
import { approveReport, archiveReport, reviewReport, submitReport } from '../../src/reports/workflow/workflow.ts';
import type { Roster } from '../persons/roster.ts';
import type { TestContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { jsonVariants } from '../support/json-variants.ts';
import {
  approveBundle,
  isAnotherTemplate,
  knownSeal,
  partText,
  repackBundle,
  reportJson,
  reportShape,
} from './approved-bundle.ts';

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
        ageRecipient: await identityToRecipient(await generateIdentity()),
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
    const signers = textOf('allowed_signers');
    expect(await verifyBundle(zip, signers, knownSeal(zip))).toMatchObject({
      valid: true,
      signers: 'given',
      sealCertificate: 'given',
    });
    // Each of the two that a reader was not told leaves something open.
    expect(await verifyBundle(zip, signers)).toMatchObject({ outcome: 'incomplete', sealCertificate: 'bundled' });
    expect(await verifyBundle(zip, null, knownSeal(zip))).toMatchObject({ outcome: 'incomplete', signers: 'bundled' });
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
