/** Checks a bundle offline: its parts, the signatures, and that everything in it is about the same report. */
import { type AllowedSigner, parseAllowedSigners, rewriteAllowedSigners } from '../../keys/allowed-signers.ts';
import { readEngineVersion } from '../model/engine-version.ts';
import { IDENTITIES_PART } from '../model/identity.ts';
import { differencesOf, parseModel } from '../model/read.ts';
import {
  DOCUMENTS,
  decisionsText,
  type ReportFile,
  readmeText,
  readSignedFiles,
  reportFileSchema,
  signedFiles,
} from '../parts/bundle-content.ts';
import { checkEvidence } from '../parts/bundle-evidence.ts';
import {
  type BundleFinding,
  type BundleParts,
  checkParts,
  packBundle,
  sha256Of,
  unpackBundle,
} from '../parts/bundle-format.ts';
import { type BundleVariant, checkIdentities, variantOf } from '../parts/bundle-identities.ts';
import { checkOscal, OSCAL_PARTS } from '../parts/bundle-oscal.ts';
import {
  allowedSignersText,
  type BundledRegister,
  bundleBook,
  readBundledRegister,
  registerFiles,
} from '../parts/bundle-register.ts';
import { type BundledStatements, checkBundledStatements } from '../parts/bundle-statements.ts';
import { checkTemplateParts, checkTemplateSql } from '../parts/bundle-templates.ts';
import { checkSeal } from '../seal/verify-seal.ts';
import { checkDecisions, type ReportDecision } from '../workflow/decision-check.ts';
import { redrawFinalPdf } from './redraw.ts';

export interface BundleCheck {
  /** Nothing is wrong and nothing is left unchecked. */
  readonly valid: boolean;
  /** invalid: there are findings. incomplete: there are none, but what `unchecked` names was not shown. */
  readonly outcome: 'valid' | 'incomplete' | 'invalid';
  /** What this check could not show, as sentences. */
  readonly unchecked: readonly string[];
  /**
   * Whether the deciders had their roles, by the signed acts in the bundle. given: the founders of that register are in the
   * list that came another way. bundled: it names its founders itself. not checked: the bundle brings no acts.
   */
  readonly roles: BundledRegister['roles'];
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
  /**
   * Whose word the certificate of the seal is. given: it is the one that came another way. bundled: the bundle's own, which anybody
   * can make.
   */
  readonly sealCertificate: 'given' | 'bundled';
  /** Whether final.pdf was drawn again and compared; only the release and Node version that made it can. */
  readonly finalPdf: 'reproduced' | 'not checked';
  /** Whether the OSCAL documents were made again and compared; only the release that made them can. */
  readonly oscal: 'reproduced' | 'not checked';
  /** Whether the bundle says who the pseudonyms are. */
  readonly variant: BundleVariant;
  /** Of a full bundle: how many pseudonyms the model counts, and of how many it says that they were erased. */
  readonly identities: { readonly count: number; readonly erased: number } | null;
  /** Ids of waivers whose signed texts name by id whom the report shows as a pseudonym, and are not in the bundle. */
  readonly withheld: readonly string[];
}

export interface VerifyOptions {
  /** SHA-256 of the certificate of the seal, which came another way. */
  readonly sealCertificate?: string | null;
  /** The release that checks; this one unless given. */
  readonly release?: string;
}

/**
 * Checks a bundle's bytes. Each part that is damaged, missing, forged or not listed is named in the findings.
 * @param givenSigners the text of an allowed_signers file that came another way, or null for the one inside
 * @throws BUNDLE_INVALID when it cannot be unpacked, INPUT_INVALID for a malformed list of signers
 */
export async function verifyBundle(
  zip: Uint8Array,
  givenSigners: string | null,
  options: VerifyOptions = {},
): Promise<BundleCheck> {
  const parts = unpackBundle(zip);
  const given = givenSigners === null ? null : parseAllowedSigners(givenSigners);
  const report = readReportFile(parts);
  const findings = checkParts(zip, parts);
  const signers = given === null ? 'bundled' : 'given';
  const givenCertificate = options.sealCertificate ?? null;
  const sealCertificate = givenCertificate === null ? 'bundled' : 'given';
  if (report === null) {
    const all = [...findings, { part: 'report.json', what: 'is missing or malformed' }];
    return checkOf({
      signers,
      sealCertificate,
      reportId: null,
      reportHash: null,
      findings: all,
      decisions: [],
      finalPdf: 'not checked',
      oscal: 'not checked',
      roles: 'not checked',
      variant: variantOf(parts),
      identities: null,
      withheld: [],
    });
  }
  const persons = readBundledRegister(parts, report.installationId, given);
  const stated = checkBundledStatements(parts, { ...report, register: persons.register });
  const evidence = checkEvidence(parts, ownVersion(report)?.reportHash);
  const templates = checkTemplateParts(parts, ownVersion(report)?.reportHash);
  findings.push(...persons.findings, ...stated.findings, ...evidence.findings, ...templates.findings);
  const bundled = readBundledSigners(parts, findings);
  const checked = checkDecisions({
    installationId: report.installationId,
    versions: report.versions,
    stored: readSignedFiles(parts),
    signers: bundleBook(given ?? bundled, persons.register, report.compromisedKeys),
    anchors: null,
  });
  const { decisions } = checked;
  const files = checked.findings.length === 0 ? new Map<string, string>() : decisionFiles(parts);
  findings.push(
    ...checked.findings.map(({ decisionId, what }) => ({ part: files.get(decisionId ?? '') ?? 'decisions', what })),
  );
  findings.push(...checkContent(zip, parts, report, decisions));
  const variant = variantOf(parts);
  const named = checkIdentities(parts);
  findings.push(...(named?.findings ?? []));
  const identities = named === null ? null : { count: named.count, erased: named.erased };
  const signed = { ...persons, ...stated, parts: [...stated.parts, ...evidence.parts, ...templates.parts], variant };
  findings.push(...checkClosed(parts, report, decisions, signed), ...checkSigners(parts, decisions, signed, bundled));
  findings.push(...checkCompromised(report, decisions, persons), ...checkSeal(parts, report, givenCertificate));
  const own = options.release ?? (await readEngineVersion());
  const isSound = findings.length === 0;
  const drawn = isSound ? await redrawFinalPdf(parts, decisions, own) : 'not checked';
  const told = isSound ? checkOscal(parts, own) : { outcome: 'not checked' as const, findings: [] };
  findings.push(...told.findings, ...(isSound ? checkTemplateSql(parts) : []));
  if (drawn === 'undrawable')
    findings.push({ part: 'model.json', what: 'cannot be drawn by the release that made it' });
  if (drawn === 'different') findings.push({ part: 'final.pdf', what: 'is not what model and decisions draw' });
  const reportHash = ownVersion(report)?.reportHash ?? null;
  const finalPdf = drawn === 'reproduced' ? drawn : 'not checked';
  const { roles } = persons;
  const { reportId } = report;
  const oscal = told.outcome;
  const { withheld } = stated;
  return checkOf({
    ...{ signers, sealCertificate, reportId, reportHash, findings, decisions, finalPdf, oscal, roles },
    ...{ variant, identities, withheld },
  });
}

function checkOf(found: Omit<BundleCheck, 'valid' | 'outcome' | 'unchecked'>): BundleCheck {
  const unchecked = [
    ...(found.finalPdf === 'reproduced' ? [] : ['final.pdf was not drawn again and may say anything']),
    ...(found.oscal === 'reproduced' ? [] : ['the OSCAL documents were not made again and may say anything']),
    ...(found.signers === 'given' ? [] : ['the keys come from the bundle itself and may be anybody’s']),
    ...UNCHECKED_ROLES[found.roles],
    ...found.withheld.map((id) => `the signed text of waiver ${id} names an id that the report hides; ask for it`),
    ...(found.sealCertificate === 'given'
      ? []
      : ['the certificate of the seal comes from the bundle itself and may be anybody’s']),
  ];
  const clean = unchecked.length === 0 ? 'valid' : 'incomplete';
  const outcome = found.findings.length > 0 ? 'invalid' : clean;
  return { valid: outcome === 'valid', outcome, unchecked, ...found };
}

const UNCHECKED_ROLES: Readonly<Record<BundleCheck['roles'], readonly string[]>> = {
  given: [],
  bundled: ['the founders of the register come from the bundle itself, and so do all roles'],
  'not checked': ['the bundle brings no register: nobody shows who had which role'],
};

type BundledTexts = BundledRegister & BundledStatements & { readonly variant: BundleVariant };

/** A bundle holds what follows from its signed texts and model, and nothing else. */
function checkClosed(
  parts: BundleParts,
  report: ReportFile,
  decisions: readonly ReportDecision[],
  signed: BundledTexts,
): BundleFinding[] {
  const files = [...signedFiles(decisions, readSignedFiles(parts)).keys(), ...registerFiles(signed.acts).keys()];
  const known = new Set([...DOCUMENTS, IDENTITIES_PART, ...OSCAL_PARTS, ...files, ...signed.parts]);
  const decided = new Set(decisions.map((decision) => decision.reportId));
  const expect = (part: string, holds: boolean, what: string) => (holds ? [] : [{ part, what }]);
  return [
    ...[...parts.keys()].flatMap((name) => expect(name, known.has(name), 'is no part of a bundle')),
    ...expect(
      'README.txt',
      textOf(parts, 'README.txt') === readmeText(report, decisions, signed),
      'is not the page of a bundle',
    ),
    ...expect(
      'report.json',
      report.versions.every((version) => decided.has(version.id)),
      'lists a version that no decision is about',
    ),
  ];
}

/** allowed_signers lists the keys that decided and that signed acts, and no other. */
function checkSigners(
  parts: BundleParts,
  decisions: readonly ReportDecision[],
  { register, acts, statements }: BundledTexts,
  bundled: readonly AllowedSigner[],
): BundleFinding[] {
  const text = textOf(parts, 'allowed_signers');
  const book = bundleBook(bundled, register, []);
  const hasEveryKey = decisions.every(
    ({ keyFingerprint, person, time }) => book.signerOf(keyFingerprint, time)?.email === person,
  );
  const used = new Set(decisions.map((decision) => decision.keyFingerprint));
  const isExact =
    register === null
      ? bundled.length === used.size &&
        text === rewriteAllowedSigners(bundled.filter((signer) => used.has(signer.fingerprint)))
      : text === allowedSignersText(register, decisions, { acts, statements });
  return hasEveryKey && isExact ? [] : [{ part: 'allowed_signers', what: 'is not the list of the keys that signed' }];
}

/** Where the register is there, it says which keys were compromised later. */
function checkCompromised(
  report: ReportFile,
  decisions: readonly ReportDecision[],
  { register }: BundledRegister,
): BundleFinding[] {
  if (register === null) return [];
  const later = decisions.filter((entry) => entry.keyCompromisedLater).map((entry) => entry.keyFingerprint);
  const expected = [...new Set(later)].sort();
  // Key by key: joined, the one text `a,b` would be the two keys a and b.
  const told = report.compromisedKeys;
  if (told.length === expected.length && told.every((key, at) => key === expected[at])) return [];
  return [{ part: 'report.json', what: 'names other compromised keys than the register' }];
}

function ownVersion({ versions, reportId }: ReportFile): ReportFile['versions'][number] | undefined {
  return versions.find((version) => version.id === reportId);
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

/** The file of each decision by its id, for the finding's part: each file is read once, however many findings there are. */
function decisionFiles(parts: BundleParts): ReadonlyMap<string, string> {
  const files = new Map<string, string>();
  for (const name of parts.keys()) {
    if (!/^decisions\/.*\.json$/.test(name)) continue;
    const [, id] = /"decision_id":"([^"]*)"/.exec(textOf(parts, name) ?? '') ?? [];
    if (id !== undefined && !files.has(id)) files.set(id, name);
  }
  return files;
}

/** What follows from the signed texts is compared with what they say. */
function checkContent(
  zip: Uint8Array,
  parts: BundleParts,
  report: ReportFile,
  decisions: readonly ReportDecision[],
): BundleFinding[] {
  const findings: BundleFinding[] = [];
  const own = ownVersion(report);
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
  if (report.decisionsSha256 !== sha256Of(decisionsText(decisions))) {
    findings.push({ part: 'report.json', what: 'names another hash of the decisions than they have' });
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
  const own = ownVersion(report);
  const bytes = parts.get('model.json');
  if (own === undefined || bytes === undefined || sha256Of(bytes) !== own.reportHash) return [];
  const { id, version, interim, generatedBy, approvers } = own;
  const stated = { id, version, interim, generatedBy, approvers, engineVersion: report.engineVersion };
  try {
    return differencesOf(parseModel(Buffer.from(bytes)), stated).map((field) => ({
      part: 'report.json',
      what: `states another ${field} than the model`,
    }));
  } catch {
    // Whoever made the bundle chose both the hash and the model that has it.
    return [{ part: 'model.json', what: 'is not the model of a report' }];
  }
}
