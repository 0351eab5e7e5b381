/** Checks the seal in a bundle: its certificate, the signature, and what report.json says of both. Pure. */
import { type Certificates, certificateSha256, parseCertificates, writePem } from '../../keys/certificate.ts';
import { parseInstant } from '../../time/clock.ts';
import type { ReportFile } from '../parts/bundle-content.ts';
import { type BundleFinding, type BundleParts, sha256Of } from '../parts/bundle-format.ts';
import { sealReason } from './seal-text.ts';
import { checkSealedPdf, type SealFault, unsealedPart } from './sealed-pdf.ts';

const CERTIFICATE = 'seal-certificate.pem';

/**
 * What does not hold of a bundle's seal.
 * @param given SHA-256 of the certificate that reached the reader another way; null for none
 */
export function checkSeal(parts: BundleParts, report: ReportFile, given: string | null): BundleFinding[] {
  const text = Buffer.from(parts.get(CERTIFICATE) ?? '').toString('utf8');
  const certificates = parseCertificates(text);
  if (certificates === null || writePem(certificates) !== text) {
    return [{ part: CERTIFICATE, what: 'is not the certificate of a seal' }];
  }
  return [
    ...checkCertificate(certificates, report, given),
    ...checkPdf(Buffer.from(parts.get('final.pdf') ?? ''), certificates, report),
  ];
}

function checkCertificate(certificates: Certificates, { seal }: ReportFile, given: string | null): BundleFinding[] {
  const [own] = certificates;
  const at = parseInstant(seal.sealedAt) ?? 0;
  const found = certificateSha256(own);
  const expect = (holds: boolean, what: string) => (holds ? [] : [{ part: CERTIFICATE, what }]);
  return [
    ...expect(found === seal.certificateSha256, 'is not the certificate that report.json names'),
    ...expect(given === null || found === given, 'is not the certificate that reached you another way'),
    ...expect(
      own.validFromDate.getTime() <= at && at <= own.validToDate.getTime(),
      'was not valid when the report was sealed',
    ),
  ];
}

const FAULTS: Readonly<Record<SealFault, string>> = {
  'no update': 'bears no seal',
  update: 'holds something else after its pages than one seal over all of them',
  signature: 'has a seal whose signature does not verify with seal-certificate.pem',
};

function checkPdf(sealed: Buffer, certificates: Certificates, report: ReportFile): BundleFinding[] {
  const { seal, reportId, version, decisionsSha256 } = report;
  const reportHash = report.versions.find((entry) => entry.id === reportId)?.reportHash ?? '';
  const reason = sealReason({ reportId, version, reportHash, decisionsSha256 });
  const fault = checkSealedPdf(sealed, { text: { reason, sealedAt: seal.sealedAt }, certificates });
  const isPages = sha256Of(unsealedPart(sealed) ?? '') === seal.finalPdfSha256;
  if (fault === null) {
    // The seal holds: where report.json says something else of it, that is what was altered.
    const told = isPages && sha256Of(sealed) === seal.sealedPdfSha256;
    return told ? [] : [{ part: 'report.json', what: 'names other hashes of final.pdf than it has' }];
  }
  const inPages = fault !== 'no update' && !isPages;
  return [{ part: 'final.pdf', what: inPages ? 'has other pages than those that were sealed' : FAULTS[fault] }];
}
