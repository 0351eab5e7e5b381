/**
 * What a bundle holds besides its documents: report.json, decisions.json, the signed texts with their signatures, the
 * allowed signers and a page on how to check it all with stock tools. Pure.
 */
import { z } from 'zod';
import { canonicalJson } from '../../canonical-json.ts';
import { stampOf } from '../../keys/allowed-signers.ts';
import { NAMESPACES } from '../../keys/sshsig.ts';
import { parseDecisionText } from '../../persons/decision.ts';
import type { StoredAct } from '../../persons/register.ts';
import { STATEMENT_RULES } from '../../persons/statement.ts';
import type { ReportDecision, ReportVersion, StoredDecision } from '../workflow/decision-check.ts';
import { jsonOf } from '../workflow/decision-entry.ts';
import type { BundleVariant } from './bundle-identities.ts';
import type { BundledStatement } from './bundle-statements.ts';

const hash = z.string().regex(/^[0-9a-f]{64}$/);
const statusSchema = z.enum(['draft', 'pending_review', 'reviewed', 'approved', 'archived']);

export const reportFileSchema = z.strictObject({
  format: z.literal('auditkeep-bundle-report/v1'),
  installationId: z.uuid(),
  reportId: z.uuid(),
  version: z.int().positive(),
  engineVersion: z.string(),
  /** Fingerprints of signing keys that the register in the bundle says were compromised later. */
  compromisedKeys: z.array(z.string()),
  /** D: of decisions.json. */
  decisionsSha256: hash,
  /** The seal of the organisation on final.pdf. */
  seal: z.strictObject({
    /** P1: of final.pdf before the seal was appended. */
    finalPdfSha256: hash,
    /** P2: of final.pdf. */
    sealedPdfSha256: hash,
    /** Of the DER form of the first certificate in seal-certificate.pem. */
    certificateSha256: hash,
    /** Whole seconds, by the clock of the machine that sealed. */
    sealedAt: z.string().regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000Z$/),
  }),
  /** The versions that were decided on, as they were when this one was approved. */
  versions: z.array(
    z.strictObject({
      id: z.uuid(),
      version: z.int().positive(),
      reportHash: hash,
      reviewPdfSha256: hash,
      interim: z.boolean(),
      generatedBy: z.string(),
      approvers: z.int().min(1),
      status: statusSchema,
      reviewedBy: z.string().nullable(),
      approvedBy: z.string().nullable(),
    }),
  ),
});
export type ReportFile = z.infer<typeof reportFileSchema>;

/** The parts that every bundle has besides the signed texts. */
export const DOCUMENTS: readonly string[] = [
  'model.json',
  'review.pdf',
  'final.pdf',
  'seal-certificate.pem',
  'report.json',
  'decisions.json',
  'allowed_signers',
  'README.txt',
  'manifest.json',
  'digest.txt',
];

/** The decisions up to and with the approval of a version: what comes after (archiving, newer versions) is not in it. */
export function untilApproval(decisions: readonly ReportDecision[], reportId: string): readonly ReportDecision[] {
  const index = decisions.findIndex(
    (entry) => entry.reportId === reportId && entry.meaning === 'approve' && entry.to === 'approved',
  );
  return index < 0 ? [] : decisions.slice(0, index + 1);
}

/** The versions as the given decisions left them. */
export function versionsAfter(
  versions: readonly ReportVersion[],
  decisions: readonly ReportDecision[],
): ReportVersion[] {
  return versions.map((version) => {
    let state: Pick<ReportVersion, 'status' | 'reviewedBy' | 'approvedBy'> = {
      status: 'draft',
      reviewedBy: null,
      approvedBy: null,
    };
    for (const { reportId, meaning, to, person } of decisions) {
      if (reportId !== version.id) continue;
      if (meaning === 'reject' || meaning === 'recall') state = { ...state, reviewedBy: null };
      if (meaning === 'review') state = { ...state, reviewedBy: person };
      if (to === 'approved') state = { ...state, approvedBy: person };
      state = { ...state, status: to };
    }
    return { ...version, ...state };
  });
}

/** decisions.json: the canonical list of verified decisions; its hash is D. */
export function decisionsText(decisions: readonly ReportDecision[]): string {
  return canonicalJson({ format: 'auditkeep-decisions/v1', decisions: decisions.map(jsonOf) });
}

/** `decisions/01-submit.json`, its `.sig`, and `.comment.txt` where there is one; the comment is hashed in the text. */
export function signedFiles(
  decisions: readonly ReportDecision[],
  stored: readonly StoredDecision[],
): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>();
  const byId = new Map(stored.map((entry) => [parseDecisionText(entry.payload)?.decision_id, entry]));
  for (const [index, decision] of decisions.entries()) {
    const entry = byId.get(decision.id);
    if (entry === undefined) continue;
    const name = `decisions/${String(index + 1).padStart(2, '0')}-${decision.meaning}`;
    files.set(`${name}.json`, Buffer.from(entry.payload, 'utf8'));
    files.set(`${name}.json.sig`, Buffer.from(entry.signature, 'utf8'));
    if (entry.comment !== null) files.set(`${name}.comment.txt`, Buffer.from(entry.comment, 'utf8'));
  }
  return files;
}

/** The opposite of signedFiles. */
export function readSignedFiles(parts: ReadonlyMap<string, Uint8Array>): StoredDecision[] {
  const text = (name: string) => {
    const bytes = parts.get(name);
    return bytes === undefined ? null : Buffer.from(bytes).toString('utf8');
  };
  const names = [...parts.keys()].filter((name) => /^decisions\/\d+-[a-z-]+\.json$/.test(name)).sort();
  return names.map((name) => ({
    payload: text(name) ?? '',
    signature: text(`${name}.sig`) ?? '',
    comment: text(name.replace(/\.json$/, '.comment.txt')),
  }));
}

/** README.txt: the check with stock tools, with the commands spelled out. */
export function readmeText(
  report: ReportFile,
  decisions: readonly ReportDecision[],
  {
    acts,
    statements,
    variant,
  }: {
    readonly acts: readonly StoredAct[];
    readonly statements: readonly BundledStatement[];
    readonly variant: BundleVariant;
  },
): string {
  const own = report.versions.find((version) => version.id === report.reportId);
  const commands = decisions.map(({ meaning, person, time }, index) => {
    const name = `decisions/${String(index + 1).padStart(2, '0')}-${meaning}.json`;
    return `  ssh-keygen -Y verify -O verify-time=${stampOf(time)}Z -f allowed_signers -I ${person} \\
    -n ${NAMESPACES.reportDecision} -s ${name}.sig < ${name}`;
  });
  const founding = acts.slice(0, 1).flatMap(({ signatures }) =>
    signatures.map(({ email }, index) => {
      const name = 'register/0001.json';
      return `  ssh-keygen -Y verify -f allowed_signers -I ${email} \\
    -n ${NAMESPACES.person} -s ${name}.${index + 1}.sig < ${name}`;
    }),
  );
  return `auditkeep report bundle
=======================

Report ${report.reportId}, version ${report.version}, approved.

1. All parts are as they were packed:

  sha256sum -c ${'digest.txt'}

2. Three persons decided, each with an SSH signature over the texts in decisions/:

${commands.join('\n')}

   Compare the keys in allowed_signers with a list that reached you another way: the file in here only shows that the
   bundle agrees with itself.

3. The signed texts name the report. report_hash is the sha256 of model.json, review_pdf_sha256 that of review.pdf:

  ${own?.reportHash ?? ''}  model.json
  ${own?.reviewPdfSha256 ?? ''}  review.pdf

   final.pdf is review.pdf with pages D-1, ... that print the decisions. Its pages and decisions.json are made from model.json
   and decisions/: where they disagree, the signed texts count. The same holds for oscal/: the report as OSCAL 1.2.1, made from
   model.json alone. evidence/ holds all exceptions of the controls that have any; model.json has the sha256 of each file.

4. The organisation sealed final.pdf, by a machine and once: one signature (CMS) over the whole file. PDF readers show it, and so
   does

  pdfsig -nocert final.pdf

   It is a seal and no person's signature, and it is not a qualified electronic signature or seal. Its certificate is in
   seal-certificate.pem, with this sha256:

  ${report.seal.certificateSha256}

   The next line prints it too. Compare it with one that reached you another way: anybody can make a certificate of this name.

  openssl x509 -in seal-certificate.pem -noout -subject -dates -fingerprint -sha256

5. register/ holds the acts that made these persons preparer, reviewer and approver, each signed by key officers. The first was
   signed by its founders; later ones are checked in the same way, each by its own files:

${founding.join('\n')}

   Who the founders are, nothing in here can show: compare their keys, in allowed_signers under ${NAMESPACES.person}.
${statementsText(statements)}
${VARIANT_TEXTS[variant]}
With auditkeep all of this is one command:

  auditkeep report verify FILE --signers YOUR_LIST --seal-certificate SHA256_YOU_KNOW
`;
}

const VARIANT_TEXTS: Readonly<Record<BundleVariant, string>> = {
  redacted: `   Accounts, tokens and other ids are pseudonyms, of this report alone. This is the redacted variant: it does not say whom
   they stand for.
`,
  full: `   Accounts, tokens and other ids are pseudonyms, of this report alone. This is the full variant: identities.ndjson says whom
   they stand for. Treat it as personal data. Each line's commitment is

  printf 'auditkeep-identity/v1\\n%s' IDENTITY | openssl dgst -sha256 -mac HMAC -macopt hexkey:SALT

   of its identity, as it stands there, and its salt. model.json has the Merkle root of all of them (RFC 6962; a leaf is
   {"commitment":"...","pseudonym":"..."}). Of a person who was erased only the commitment is left.
`,
};

/** The paragraph on waivers and attestations; nothing where there are none. */
function statementsText(statements: readonly BundledStatement[]): string {
  if (statements.length === 0) return '';
  const commands = statements.map(({ part, statement }) => {
    const { namespace } = STATEMENT_RULES[statement.format];
    return `  ssh-keygen -Y verify -O verify-time=${stampOf(statement.time)}Z -f allowed_signers -I ${statement.person} \\
    -n ${namespace} -s ${part}.sig < ${part}`;
  });
  return `
   statements/ holds the waivers and attestations that model.json names by the sha256 of their texts, signed by persons of
   the same register:

${commands.join('\n')}
`;
}
