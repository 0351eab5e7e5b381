/** Certificates as text: the published vector, every field bound by the signature, the page, the journal. */
import { createPrivateKey, createPublicKey } from 'node:crypto';
import { appendFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { z } from 'zod';
import {
  certificateText,
  isCertificateSigned,
  parseCertificate,
  signCertificate,
} from '../../src/retention/certificate.ts';
import { renderCertificate } from '../../src/retention/certificate-pdf.ts';
import { appendJournal, readJournal } from '../../src/retention/destruction-journal.ts';
import { textHash } from '../../src/retention/hold.ts';
import { temporaryHome } from '../support/context.ts';

const vectorSchema = z.strictObject({
  private_key: z.string(),
  public_key: z.string(),
  document: z.string(),
  sha256: z.string(),
  signature: z.string(),
});
const vector = vectorSchema.parse(JSON.parse(await readFile('test/vectors/certificate-v1.json', 'utf8')));
const key = createPublicKey(vector.public_key);

test('the vector: canonical text, hash and signature', () => {
  const certificate = parseCertificate(vector.document);
  expect(certificate).not.toBeNull();
  if (certificate === null) return;
  const { format: _, method: __, ...facts } = certificate;
  expect(certificateText(facts)).toBe(vector.document);
  expect(textHash(vector.document)).toBe(vector.sha256);
  expect(signCertificate(vector.document, createPrivateKey(vector.private_key))).toBe(vector.signature);
  expect(isCertificateSigned(vector.document, vector.signature, key)).toBe(true);
});

test('any other byte is another certificate', () => {
  for (let at = 0; at < vector.document.length; at += 7) {
    const character = vector.document.charAt(at) === 'x' ? 'y' : 'x';
    const changed = vector.document.slice(0, at) + character + vector.document.slice(at + 1);
    expect(isCertificateSigned(changed, vector.signature, key), `at ${at}`).toBe(false);
  }
  expect(isCertificateSigned(vector.document, '', key)).toBe(false);
});

test.each([
  ['a field too many', (text: string) => text.replace('{', '{"a":1,')],
  ['a space', (text: string) => text.replace(':', ': ')],
  ['one signature', (text: string) => text.replace(/"decisions":\[(\{.*?\}),\{.*?\}\]/, '"decisions":[$1]')],
  ['another format', (text: string) => text.replace('certificate/v1', 'certificate/v2')],
])('refused: %s', (_what, change) => {
  expect(change(vector.document)).not.toBe(vector.document);
  expect(parseCertificate(change(vector.document))).toBeNull();
});

test('the page is one page, and the same for the same certificate', async () => {
  const certificate = parseCertificate(vector.document);
  if (certificate === null) throw new Error('the vector does not parse');
  const page = await renderCertificate(certificate, vector.sha256, vector.signature);
  expect(page.equals(await renderCertificate(certificate, vector.sha256, vector.signature))).toBe(true);
  expect(page.toString('latin1').match(/\/Type \/Page\b/g)).toHaveLength(1);
});

test('the journal keeps what was appended, and goes on after a line that a crash cut short', async () => {
  const home = await temporaryHome();
  const plan = { document: '{}', actor: 'r@example.org', reason: 'schedule' };
  const entry = { document: vector.document, signature: vector.signature, plan };
  expect(await readJournal(home)).toEqual([]);
  await appendJournal(home, entry);
  const file = join(home, 'signer', 'destructions.ndjson');
  await appendFile(file, '{"document":"{}');
  expect(await readJournal(home)).toHaveLength(1);
  await appendJournal(home, entry);
  expect((await readJournal(home)).map(({ signature }) => signature)).toEqual([vector.signature, vector.signature]);
  // As older versions wrote them: without the plan.
  const { document, signature } = vector;
  await appendFile(file, `${JSON.stringify({ document, signature })}\n`);
  expect((await readJournal(home)).map((line) => line.plan)).toEqual([plan, plan, null]);
  await appendFile(file, '{"document":"{}"}\n');
  await expect(readJournal(home)).rejects.toMatchObject({ code: 'CHAIN_SIGNER_STORE' });
});
