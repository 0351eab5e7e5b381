/** The queries of seals (migration 0207). */
import { z } from 'zod';
import type { SqlClient } from '../../db/database.ts';
import { execute, queryMaybe, queryOne } from '../../db/query.ts';

export interface StoredSeal {
  /** P1 and P2. */
  readonly finalPdfSha256: string;
  readonly sealedPdfSha256: string;
  readonly certificateSha256: string;
  /** ISO 8601, whole seconds. */
  readonly sealedAt: string;
}

const COLUMNS = `s.final_pdf_sha256 as "finalPdfSha256", s.sealed_pdf_sha256 as "sealedPdfSha256",
  s.certificate_sha256 as "certificateSha256",
  to_char(s.sealed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS".000Z"') as "sealedAt"`;

const sealShape = z.object({
  finalPdfSha256: z.string(),
  sealedPdfSha256: z.string(),
  certificateSha256: z.string(),
  sealedAt: z.string(),
});
const sealWithFilesShape = sealShape.extend({ pem: z.string(), reviewPdf: z.string(), sealedPdf: z.string() });
export type SealWithFiles = z.infer<typeof sealWithFilesShape>;

/** What is known of a report's seal, or null. */
export function readSealFacts(client: SqlClient, reportId: string): Promise<StoredSeal | null> {
  return queryMaybe(client, sealShape, `select ${COLUMNS} from compliance.report_seal s where s.report_id = $1::uuid`, [
    reportId,
  ]);
}

/** A report's seal with its certificates and the envelopes of both PDFs, or null. */
export function readSealWithFiles(client: SqlClient, reportId: string): Promise<SealWithFiles | null> {
  return queryMaybe(
    client,
    sealWithFilesShape,
    `select ${COLUMNS}, c.pem, s.review_pdf_encrypted as "reviewPdf", s.sealed_pdf_encrypted as "sealedPdf"
       from compliance.report_seal s join compliance.seal_certificate c on c.sha256 = s.certificate_sha256
      where s.report_id = $1::uuid`,
    [reportId],
  );
}

/** Whether a seal key was made by the product once. */
export async function hasMadeCertificate(client: SqlClient): Promise<boolean> {
  const row = await queryOne(
    client,
    z.object({ made: z.boolean() }),
    'select exists (select from compliance.seal_certificate c where c.made) as made',
  );
  return row.made;
}

/** Registers a certificate; false where it is known. The database refuses a second one that was made. */
export async function registerCertificate(
  client: SqlClient,
  certificate: { readonly sha256: string; readonly pem: string; readonly made: boolean },
): Promise<boolean> {
  const row = await queryOne(
    client,
    z.object({ fresh: z.boolean() }),
    'select compliance.register_seal_certificate($1::text, $2::text, $3::boolean) as fresh',
    [certificate.sha256, certificate.pem, certificate.made],
  );
  return row.fresh;
}

/** Records a seal; the database refuses a report that is not approved, and a second seal. */
export async function insertSeal(
  client: SqlClient,
  reportId: string,
  seal: StoredSeal & { readonly reviewPdf: string; readonly sealedPdf: string },
): Promise<void> {
  await execute(
    client,
    'select compliance.seal_report($1::uuid, $2::text, $3::text, $4::text, $5::timestamptz, $6::text, $7::text)',
    [
      reportId,
      seal.finalPdfSha256,
      seal.sealedPdfSha256,
      seal.certificateSha256,
      seal.sealedAt,
      seal.reviewPdf,
      seal.sealedPdf,
    ],
  );
}
