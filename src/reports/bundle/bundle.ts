/** Packs an approved report for somebody outside: every document, every signature, and how to check them. */
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { recordEvent } from '../../audit/record/record.ts';
import { canonicalJson } from '../../canonical-json.ts';
import type { Context } from '../../context.ts';
import { inTransaction } from '../../db/transaction.ts';
import { AuditkeepError } from '../../errors.ts';
import { writePem } from '../../keys/certificate.ts';
import { readRegister } from '../../persons/read-register.ts';
import { readStatements } from '../../persons/store.ts';
import { checkWritableFolder } from '../../writable-folder.ts';
import { IDENTITIES_PART } from '../model/identity.ts';
import type { ReportModel } from '../model/model.ts';
import { readReport } from '../model/read.ts';
import {
  decisionsText,
  type ReportFile,
  readmeText,
  reportFileSchema,
  signedFiles,
  untilApproval,
  versionsAfter,
} from '../parts/bundle-content.ts';
import { evidenceFiles, tooLarge } from '../parts/bundle-evidence.ts';
import { type BundleSubject, MAX_BUNDLE_BYTES, packBundle, sha256Of } from '../parts/bundle-format.ts';
import { type BundleVariant, identitiesPart } from '../parts/bundle-identities.ts';
import { oscalFiles } from '../parts/bundle-oscal.ts';
import { allowedSignersText, registerFiles } from '../parts/bundle-register.ts';
import { statementFiles } from '../parts/bundle-statements.ts';
import { templateFiles } from '../parts/bundle-templates.ts';
import { renderPdf } from '../render/pdf.ts';
import { type Seal, sealOf } from '../seal/seal-report.ts';
import type { ReportDecision, ReportVersion } from '../workflow/decision-check.ts';
import { entryOf } from '../workflow/decision-entry.ts';
import { readStoredDecisions, readVersions } from '../workflow/store-workflow.ts';
import { verifyDecisions } from '../workflow/workflow.ts';
import { showGiver } from './giver.ts';

type BundleContext = Pick<Context, 'db' | 'keys' | 'clock' | 'actor'>;

export interface Bundle {
  readonly reportId: string;
  readonly variant: BundleVariant;
  readonly zip: Buffer;
  readonly sha256: string;
}

/**
 * The bundle of an approved report, in memory; redacted unless said; the first one seals the report. The same approved report gives
 * the same bytes with the same register and release, before and after archiving; a full one as long as nobody that it names is erased.
 * @throws REPORT_NOT_FOUND, REPORT_NOT_APPROVED, DECISION_INVALID when a decision does not hold, REPORT_TAMPERED,
 * BUNDLE_INVALID when it is not sealed and this release draws another PDF than the one that was reviewed, BUNDLE_TOO_LARGE, and
 * those of sealOf and Keyring.open
 */
export async function makeBundle(ctx: BundleContext, id: string, variant: BundleVariant = 'redacted'): Promise<Bundle> {
  const { row, model, bytes } = await readReport(ctx, id);
  const evidence = await readEvidence(ctx, row.id, row.root);
  const decisions = untilApproval(evidence.decisions, row.id);
  if (decisions.length === 0) {
    throw new AuditkeepError('REPORT_NOT_APPROVED', {
      message: `report ${row.id} has not been approved; it is ${row.status}`,
      hint: 'let it be reviewed and approved first',
    });
  }
  const decisionsJson = decisionsText(decisions);
  const subject = {
    reportId: row.id,
    version: row.version,
    reportHash: row.hash,
    reviewPdfSha256: row.pdfSha256,
    decisionsSha256: sha256Of(decisionsJson),
  };
  const seal = await sealOf(ctx, subject, async () => ({
    reviewPdf: await renderReviewed(model, row.pdfSha256),
    finalPdf: await renderPdf(model, decisions.map(entryOf)),
  }));
  const report = reportFile(model, evidence, decisions, seal);
  const identities = variant === 'full' ? await identitiesPart(ctx, model) : undefined;
  const stated = statementFiles(model, evidence.statements, identities);
  const signed = { acts: evidence.acts, statements: stated.statements, variant };
  const content = new Map<string, Uint8Array>([
    ['model.json', bytes],
    ['review.pdf', seal.reviewPdf],
    ['final.pdf', seal.sealedPdf],
    ['seal-certificate.pem', Buffer.from(writePem(seal.certificates), 'utf8')],
    ['report.json', Buffer.from(canonicalJson(report), 'utf8')],
    ['decisions.json', Buffer.from(decisionsJson, 'utf8')],
    ['allowed_signers', Buffer.from(allowedSignersText(evidence.register, decisions, signed), 'utf8')],
    ['README.txt', Buffer.from(readmeText(report, decisions, signed), 'utf8')],
    ...oscalFiles(model),
    ...(await evidenceFiles(ctx, model)),
    ...(await templateFiles(ctx, model)),
    ...registerFiles(evidence.acts),
    ...signedFiles(decisions, evidence.stored),
    ...stated.files,
  ]);
  if (identities !== undefined) content.set(IDENTITIES_PART, identities);
  const zip = packBundle(subjectOf(report, row.hash), content);
  if (zip.length > MAX_BUNDLE_BYTES) throw tooLarge(zip.length);
  return { reportId: row.id, variant, zip, sha256: sha256Of(zip) };
}

/** Decisions, checked, with what they stand on, from one snapshot. */
function readEvidence(ctx: Pick<Context, 'db'>, reportId: string, root: string) {
  return inTransaction(
    ctx.db,
    async (client) => {
      const checked = await verifyDecisions(client, reportId);
      if (!checked.valid) {
        throw new AuditkeepError('DECISION_INVALID', {
          message: `the decisions of this report do not hold: ${checked.findings[0]?.what ?? ''}`,
          hint: 'see all findings with `auditkeep decision verify`',
          details: { findings: checked.findings.length },
        });
      }
      const { register, installationId, acts } = await readRegister(client);
      return {
        decisions: checked.decisions,
        register,
        acts,
        installationId,
        versions: await readVersions(client, root),
        stored: await readStoredDecisions(client, root),
        statements: [
          ...(await readStatements(client, 'waiver')),
          ...(await readStatements(client, 'waiver_approval')),
          ...(await readStatements(client, 'attestation')),
        ],
      };
    },
    'repeatable read, read only',
  );
}

async function renderReviewed(model: ReportModel, expected: string): Promise<Buffer> {
  const pdf = await renderPdf(model, null);
  if (sha256Of(pdf) === expected) return pdf;
  const { engineVersion, nodeVersion } = model.generated;
  throw new AuditkeepError('BUNDLE_INVALID', {
    message: 'the PDF drawn now is not the one that was reviewed',
    hint: `bundle with the release that generated the report: auditkeep ${engineVersion} on Node ${nodeVersion}`,
  });
}

function reportFile(
  model: ReportModel,
  { installationId, versions }: { readonly installationId: string; readonly versions: readonly ReportVersion[] },
  decisions: readonly ReportDecision[],
  { finalPdfSha256, sealedPdfSha256, certificateSha256, sealedAt }: Seal,
): ReportFile {
  const decided = versions.filter((version) => decisions.some((decision) => decision.reportId === version.id));
  return reportFileSchema.parse({
    format: 'auditkeep-bundle-report/v1',
    installationId,
    reportId: model.report.id,
    version: model.report.version,
    engineVersion: model.generated.engineVersion,
    compromisedKeys: [
      ...new Set(decisions.filter((entry) => entry.keyCompromisedLater).map((entry) => entry.keyFingerprint)),
    ].sort(),
    decisionsSha256: sha256Of(decisionsText(decisions)),
    seal: { finalPdfSha256, sealedPdfSha256, certificateSha256, sealedAt },
    versions: versionsAfter(decided, decisions),
  });
}

function subjectOf(report: ReportFile, reportHash: string): BundleSubject {
  const { reportId, version, installationId } = report;
  return { reportId, version, reportHash, installationId };
}

export interface BundleInput {
  readonly reportId: string;
  /** Whether it says who the pseudonyms are; redacted unless given. */
  readonly variant?: BundleVariant;
  /** Why a full bundle is made, for the log. */
  readonly purpose?: string | null;
  readonly outDir: string;
  readonly dryRun?: boolean;
}

/**
 * Writes the bundle of an approved report to `outDir/report-ID.zip`, a full one to `report-ID-full.zip`, and gives its path; a dry
 * run only makes it. A full one is logged first, with who made it and why: no file is there without its event.
 * @throws as makeBundle and, for a full one, showGiver; USAGE for a full one without purpose; INPUT_FILE when it cannot be written
 */
export async function bundleReport(
  ctx: BundleContext & Pick<Context, 'clock' | 'actor'>,
  { reportId, outDir, ...input }: BundleInput,
): Promise<{
  readonly path: string;
  readonly variant: BundleVariant;
  readonly sha256: string;
  readonly bytes: number;
}> {
  const variant = input.variant ?? 'redacted';
  const giver = variant === 'full' ? await showGiver(ctx, variant) : null;
  const purpose = (input.purpose ?? '').trim();
  if (giver !== null && purpose === '') {
    throw new AuditkeepError('USAGE', {
      message: 'a full bundle names persons, so the log has to say why it is made',
      hint: 'give --purpose',
    });
  }
  const bundle = await makeBundle(ctx, reportId, variant);
  const name = `report-${bundle.reportId}${variant === 'full' ? '-full' : ''}.zip`;
  await checkWritableFolder(outDir);
  if (giver !== null) await recordDisclosure(ctx, bundle, { keyFingerprint: giver.keyFingerprint, purpose });
  if (input.dryRun !== true) await writeWhole(outDir, name, bundle.zip);
  return { path: join(outDir, name), variant, sha256: bundle.sha256, bytes: bundle.zip.length };
}

async function recordDisclosure(
  ctx: Pick<Context, 'db' | 'clock' | 'actor'>,
  { reportId, variant, sha256, zip }: Bundle,
  details: { readonly keyFingerprint: string; readonly purpose: string },
): Promise<void> {
  await inTransaction(ctx.db, (client) =>
    recordEvent(ctx, client, {
      type: 'report.bundled',
      category: 'data_access',
      action: 'DISCLOSE',
      resourceType: 'compliance_report',
      resourceId: reportId,
      details: { ...details, variant, bundleSha256: sha256, bytes: zip.length },
    }),
  );
}

/** Writes a file that is there whole or not at all; readable by its owner only. @throws INPUT_FILE */
async function writeWhole(folder: string, name: string, bytes: Uint8Array): Promise<string> {
  const path = join(folder, name);
  try {
    await mkdir(folder, { recursive: true });
    await writeFile(`${path}.part`, bytes, { mode: 0o600 });
    await rename(`${path}.part`, path);
  } catch (cause) {
    throw new AuditkeepError('INPUT_FILE', {
      message: 'the file cannot be written',
      hint: 'name a folder that you may write to',
      cause,
    });
  }
  return path;
}
