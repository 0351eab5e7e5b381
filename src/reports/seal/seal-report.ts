/**
 * The seal of an approved report: made when it is first bundled, stored with the bytes that were sealed, and from then on read.
 * One transaction holds all of it, so that a crash leaves a report sealed or not; of two at once one wins and both go on with its.
 */
import { recordEvent } from '../../audit/record/record.ts';
import type { Context } from '../../context.ts';
import { sqlStateOf } from '../../db/errors.ts';
import { inTransaction } from '../../db/transaction.ts';
import { AuditkeepError } from '../../errors.ts';
import { type Certificates, certificateSha256, parseCertificates, writePem } from '../../keys/certificate.ts';
import type { CellContext } from '../../keys/keyring.ts';
import type { SealKey } from '../../keys/seal-key.ts';
import { translateRefusals } from '../../persons/refusal.ts';
import { isoOf, toInstant } from '../../time/clock.ts';
import { sha256Of } from '../parts/bundle-format.ts';
import { type SealSubject, sealReason } from './seal-text.ts';
import { checkSealedPdf, sealPdf, unsealedPart } from './sealed-pdf.ts';
import * as store from './store.ts';

type SealContext = Pick<Context, 'db' | 'keys' | 'clock' | 'actor'>;

/** A sealed report. */
export interface Seal extends store.StoredSeal {
  readonly certificates: Certificates;
  readonly reviewPdf: Buffer;
  /** final.pdf with the seal. */
  readonly sealedPdf: Buffer;
}

/** The PDFs of a report that is not sealed yet; asked for then only, since drawing takes seconds. */
export type DrawPdfs = () => Promise<{ readonly reviewPdf: Buffer; readonly finalPdf: Buffer }>;

/**
 * The seal of an approved report, made when there is none.
 * @throws REPORT_TAMPERED when the stored one does not hold, REPORT_NOT_APPROVED, and those of Keyring.sealKey and Keyring.open
 */
export async function sealOf(
  ctx: SealContext,
  subject: SealSubject & { readonly reviewPdfSha256: string },
  draw: DrawPdfs,
): Promise<Seal> {
  const found = await readSeal(ctx, subject);
  if (found !== null) return found;
  try {
    return await makeSeal(ctx, subject, await draw());
  } catch (error) {
    const winner = sqlStateOf(error) === 'AK137' ? await readSeal(ctx, subject) : null;
    if (winner === null) throw error;
    return winner;
  }
}

async function makeSeal(
  ctx: SealContext,
  subject: SealSubject,
  { reviewPdf, finalPdf }: Awaited<ReturnType<DrawPdfs>>,
): Promise<Seal> {
  const made = await ctx.db.withClient(store.hasMadeCertificate);
  const key = await ctx.keys.sealKey(!made);
  const sealedAt = isoOf(toInstant(Math.floor(ctx.clock.now() / 1000) * 1000));
  const sealedPdf = sealPdf(finalPdf, { reason: sealReason(subject), sealedAt }, key);
  const facts = {
    finalPdfSha256: sha256Of(finalPdf),
    sealedPdfSha256: sha256Of(sealedPdf),
    certificateSha256: certificateSha256(key.certificates[0]),
    sealedAt,
  };
  const encrypt = await ctx.keys.sealer('confidential', 2);
  const stored = {
    ...facts,
    reviewPdf: encrypt(cellOf(subject.reportId, 'review_pdf_encrypted'), reviewPdf),
    sealedPdf: encrypt(cellOf(subject.reportId, 'sealed_pdf_encrypted'), sealedPdf),
  };
  await translateRefusals(() => storeSeal(ctx, subject.reportId, stored, key));
  return { ...facts, certificates: key.certificates, reviewPdf, sealedPdf };
}

function storeSeal(
  ctx: SealContext,
  reportId: string,
  stored: Parameters<typeof store.insertSeal>[2],
  key: SealKey,
): Promise<void> {
  const { certificateSha256: sha256, finalPdfSha256, sealedPdfSha256 } = stored;
  return inTransaction(ctx.db, async (client) => {
    const certificate = { sha256, pem: writePem(key.certificates), made: key.made };
    if (await store.registerCertificate(client, certificate)) {
      await recordEvent(ctx, client, {
        type: 'report.seal_certificate',
        category: 'security',
        action: 'REGISTER',
        resourceType: 'seal_certificate',
        resourceId: sha256,
        details: { certificateSha256: sha256, made: key.made },
      });
    }
    await store.insertSeal(client, reportId, stored);
    await recordEvent(ctx, client, {
      type: 'report.sealed',
      category: 'data_modification',
      action: 'SEAL',
      resourceType: 'compliance_report',
      resourceId: reportId,
      details: { finalPdfSha256, sealedPdfSha256, certificateSha256: sha256 },
    });
  });
}

/** The stored seal, checked as any reader would, or null. @throws REPORT_TAMPERED, and those of Keyring.open */
async function readSeal(
  ctx: Pick<Context, 'db' | 'keys'>,
  subject: SealSubject & { readonly reviewPdfSha256: string },
): Promise<Seal | null> {
  const { reportId } = subject;
  const row = await ctx.db.withClient((client) => store.readSealWithFiles(client, reportId));
  if (row === null) return null;
  const { finalPdfSha256, sealedPdfSha256, certificateSha256: sha256, sealedAt } = row;
  const reviewPdf = Buffer.from(await ctx.keys.open(cellOf(reportId, 'review_pdf_encrypted'), row.reviewPdf));
  const sealedPdf = Buffer.from(await ctx.keys.open(cellOf(reportId, 'sealed_pdf_encrypted'), row.sealedPdf));
  const certificates = parseCertificates(row.pem);
  if (
    certificates === null ||
    certificateSha256(certificates[0]) !== sha256 ||
    sha256Of(reviewPdf) !== subject.reviewPdfSha256 ||
    sha256Of(sealedPdf) !== sealedPdfSha256 ||
    sha256Of(unsealedPart(sealedPdf) ?? '') !== finalPdfSha256 ||
    checkSealedPdf(sealedPdf, { text: { reason: sealReason(subject), sealedAt }, certificates }) !== null
  ) {
    throw new AuditkeepError('REPORT_TAMPERED', {
      message: `the stored seal of report ${reportId} does not hold`,
      hint: 'the row was written outside the product: keep it and find out by whom',
      details: { id: reportId },
    });
  }
  return { finalPdfSha256, sealedPdfSha256, certificateSha256: sha256, sealedAt, certificates, reviewPdf, sealedPdf };
}

function cellOf(rowId: string, column: string): CellContext {
  return { table: 'compliance.report_seal', column, rowId, dataClass: 'confidential' };
}
