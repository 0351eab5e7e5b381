/** Certificates of destruction for people and auditors: checked, then written as JSON and a page. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { replaceFile } from '../audit/signer/durable-file.ts';
import { readLogPublicKey } from '../audit/signer/signer-store.ts';
import type { Context } from '../context.ts';
import { AuditkeepError } from '../errors.ts';
import { type Certificate, isCertificateSigned, parseCertificate } from './certificate.ts';
import { renderCertificate } from './certificate-pdf.ts';
import { textHash } from './hold.ts';
import { readCertificates, type StoredCertificate } from './purge-store.ts';

export interface CheckedCertificate extends StoredCertificate {
  readonly certificate: Certificate;
  readonly sha256: string;
}

/**
 * The certificate of an id, or of the beginning of one.
 * @throws PLAN_UNKNOWN, CERTIFICATE_INVALID when it is not what the log's key of this home signed
 */
export async function readChecked(ctx: Pick<Context, 'db' | 'config'>, id: string): Promise<CheckedCertificate> {
  const found = (await ctx.db.withClient(readCertificates)).filter((entry) => entry.certificate_id.startsWith(id));
  const [stored] = found;
  if (stored === undefined || found.length > 1) {
    throw new AuditkeepError('PLAN_UNKNOWN', {
      message:
        stored === undefined ? `there is no certificate ${id}` : `${id} is the beginning of several certificates`,
      hint: 'auditkeep purge list shows the certificates of each plan',
    });
  }
  const key = await readLogPublicKey(ctx.config.home);
  const certificate = parseCertificate(stored.document);
  if (certificate === null || key === null || !isCertificateSigned(stored.document, stored.signature, key)) {
    throw new AuditkeepError('CERTIFICATE_INVALID', {
      message: `certificate ${stored.certificate_id} is not what the log's key of this home signed`,
      hint: 'use the home of the worker that signs, and find out who changed the database',
    });
  }
  return { ...stored, certificate, sha256: textHash(stored.document) };
}

/** Writes `<id>.json` (the signed text), `<id>.sig` (base64) and `<id>.pdf` into a folder. @returns their paths */
export async function writeCertificate(folder: string, checked: CheckedCertificate): Promise<readonly string[]> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const path = (ending: string) => join(folder, `${checked.certificate_id}.${ending}`);
  await replaceFile(path('json'), checked.document);
  await replaceFile(path('sig'), `${checked.signature}\n`);
  const page = await renderCertificate(checked.certificate, checked.sha256, checked.signature);
  await writeFile(path('pdf'), page, { mode: 0o600 });
  return ['json', 'sig', 'pdf'].map(path);
}
