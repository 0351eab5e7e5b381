/** Checks a bundle offline: its parts, the signatures, and that everything in it is about the same report. */
import { type AllowedSigner, parseAllowedSigners, stampOf } from '../keys/allowed-signers.ts';
import { NAMESPACES } from '../keys/sshsig.ts';
import { decisionsText, type ReportFile, readSignedFiles, reportFileSchema } from './bundle-content.ts';
import {
  type BundleFinding,
  type BundleParts,
  checkParts,
  packBundle,
  sha256Of,
  unpackBundle,
} from './bundle-format.ts';
import { checkDecisions, type ReportDecision, type SignerBook } from './decision-check.ts';
import { entryOf } from './decision-entry.ts';
import { readEngineVersion } from './engine-version.ts';
import { differencesOf, parseModel } from './read.ts';
import { renderPdf } from './render/pdf.ts';

export interface BundleCheck {
  readonly valid: boolean;
  /**
   * given: the signatures are by keys of a list that came another way. bundled: by keys that the bundle itself brings, so
   * that it is shown to be internally consistent and no more.
   */
  readonly signers: 'given' | 'bundled';
  readonly reportId: string | null;
  /** H. */
  readonly reportHash: string | null;
  readonly findings: readonly BundleFinding[];
  readonly decisions: readonly ReportDecision[];
  /** Whether final.pdf was drawn again and compared; only the release and Node version that made it can. */
  readonly finalPdf: 'reproduced' | 'not checked';
}

/**
 * Checks a bundle's bytes. Each part that is damaged, missing, forged or not listed is named in the findings.
 * @param givenSigners the text of an allowed_signers file that came another way, or null for the one inside
 * @throws BUNDLE_INVALID when it cannot be unpacked, INPUT_INVALID for a malformed list of signers
 */
export async function verifyBundle(zip: Uint8Array, givenSigners: string | null): Promise<BundleCheck> {
  const parts = unpackBundle(zip);
  const given = givenSigners === null ? null : parseAllowedSigners(givenSigners);
  const report = readReportFile(parts);
  const findings = checkParts(zip, parts);
  const base = { signers: given === null ? 'bundled' : 'given', reportId: report?.reportId ?? null } as const;
  if (report === null) {
    const all = [...findings, { part: 'report.json', what: 'is missing or malformed' }];
    return { ...base, valid: false, reportHash: null, findings: all, decisions: [], finalPdf: 'not checked' };
  }
  const book = bookOf(given ?? readBundledSigners(parts, findings));
  const checked = checkDecisions({
    installationId: report.installationId,
    versions: report.versions,
    stored: readSignedFiles(parts),
    signers: book,
  });
  findings.push(...checked.findings.map(({ decisionId, what }) => ({ part: partOf(parts, decisionId), what })));
  const own = report.versions.find((version) => version.id === report.reportId);
  findings.push(...checkContent(zip, parts, report, checked.decisions));
  const finalPdf = findings.length === 0 ? await reproduceFinalPdf(parts, checked.decisions, report) : 'not checked';
  if (finalPdf === 'different') findings.push({ part: 'final.pdf', what: 'is not what model and decisions draw' });
  return {
    ...base,
    valid: findings.length === 0,
    reportHash: own?.reportHash ?? null,
    findings,
    decisions: checked.decisions,
    finalPdf: finalPdf === 'reproduced' ? 'reproduced' : 'not checked',
  };
}

function textOf(parts: BundleParts, name: string): string | null {
  const bytes = parts.get(name);
  return bytes === undefined ? null : Buffer.from(bytes).toString('utf8');
}

function readReportFile(parts: BundleParts): ReportFile | null {
  try {
    return reportFileSchema.parse(JSON.parse(textOf(parts, 'report.json') ?? ''));
  } catch {
    return null; // reported as a finding by the caller
  }
}

function readBundledSigners(parts: BundleParts, findings: BundleFinding[]): AllowedSigner[] {
  try {
    return parseAllowedSigners(textOf(parts, 'allowed_signers') ?? '');
  } catch {
    findings.push({ part: 'allowed_signers', what: 'is malformed' });
    return [];
  }
}

function bookOf(signers: readonly AllowedSigner[]): SignerBook {
  return {
    signerOf(fingerprint, at) {
      const stamp = stampOf(at);
      const found = signers.find(
        (signer) =>
          signer.fingerprint === fingerprint &&
          (signer.namespaces === null || signer.namespaces.includes(NAMESPACES.reportDecision)) &&
          (signer.validAfter === null || signer.validAfter <= stamp) &&
          (signer.validBefore === null || stamp <= signer.validBefore),
      );
      return found === undefined ? null : { email: found.email, compromised: false };
    },
    // The list of signers says nothing about roles; the database enforced them.
    hasRole: () => null,
    // Each decision signs the name that is printed for it.
    nameOf: () => null,
  };
}

/** The file of a decision, for the finding's part. */
function partOf(parts: BundleParts, decisionId: string | null): string {
  if (decisionId === null) return 'decisions';
  const found = [...parts.keys()].find(
    (name) => /^decisions\/.*\.json$/.test(name) && textOf(parts, name)?.includes(`"decision_id":"${decisionId}"`),
  );
  return found ?? 'decisions';
}

/** The model's hash was signed, so it may be drawn. */
async function reproduceFinalPdf(
  parts: BundleParts,
  decisions: readonly ReportDecision[],
  report: ReportFile,
): Promise<'reproduced' | 'different' | 'not checked'> {
  const model = parseModel(Buffer.from(parts.get('model.json') ?? ''));
  const sameRelease = report.engineVersion === (await readEngineVersion());
  if (!sameRelease || model.generated.nodeVersion !== process.version) return 'not checked';
  const drawn = await renderPdf(model, decisions.map(entryOf));
  return drawn.equals(parts.get('final.pdf') ?? Buffer.alloc(0)) ? 'reproduced' : 'different';
}

/** What follows from the signed texts is compared with what they say. */
function checkContent(
  zip: Uint8Array,
  parts: BundleParts,
  report: ReportFile,
  decisions: readonly ReportDecision[],
): BundleFinding[] {
  const findings: BundleFinding[] = [];
  const own = report.versions.find((version) => version.id === report.reportId);
  const expectHash = (part: string, expected: string | undefined, name: string) => {
    const bytes = parts.get(part);
    if (bytes === undefined) findings.push({ part, what: 'is missing' });
    else if (sha256Of(bytes) !== expected) findings.push({ part, what: `does not have the signed ${name}` });
  };
  expectHash('model.json', own?.reportHash, 'report_hash');
  findings.push(...checkModel(parts, report));
  expectHash('review.pdf', own?.reviewPdfSha256, 'review_pdf_sha256');
  if (own?.status !== 'approved' || own.version !== report.version) {
    findings.push({ part: 'report.json', what: 'is not about an approved report' });
  }
  if (textOf(parts, 'decisions.json') !== decisionsText(decisions)) {
    findings.push({ part: 'decisions.json', what: 'is not the list of the signed decisions' });
  }
  if (!parts.has('final.pdf')) findings.push({ part: 'final.pdf', what: 'is missing' });
  if (findings.length === 0) {
    const content = new Map([...parts].filter(([name]) => name !== 'manifest.json' && name !== 'digest.txt'));
    const subject = {
      reportId: report.reportId,
      version: report.version,
      reportHash: own?.reportHash ?? '',
      installationId: report.installationId,
    };
    if (!packBundle(subject, content).equals(zip)) {
      findings.push({ part: 'manifest.json', what: 'is not the manifest that these parts make' });
    }
  }
  return findings;
}

/** What report.json, bound by signatures, and the model say about the report must be the same. */
function checkModel(parts: BundleParts, report: ReportFile): BundleFinding[] {
  const own = report.versions.find((version) => version.id === report.reportId);
  const bytes = parts.get('model.json');
  if (own === undefined || bytes === undefined || sha256Of(bytes) !== own.reportHash) return [];
  const { id, version, interim, generatedBy } = own;
  const stated = { id, version, interim, generatedBy, engineVersion: report.engineVersion };
  return differencesOf(parseModel(Buffer.from(bytes)), stated).map((field) => ({
    part: 'report.json',
    what: `states another ${field} than the model`,
  }));
}
