/**
 * Whether the decisions of a report hold: every signature, the chain from the first to the last, the state machine and
 * the separation of duties, replayed from signed text alone. Pure; used on the database and on bundles.
 */
import { createHash } from 'node:crypto';
import { checkSshsig, NAMESPACES } from '../../keys/sshsig.ts';
import { type DecisionPayload, hashComment, type Meaning, parseDecisionText } from '../../persons/decision.ts';
import type { Role } from '../../persons/roles.ts';
import { type Part, type ReportStatus, transitionOf } from './transition.ts';

/** A decision as it is stored: signed text, signature and the comment that the text has the hash of. */
export interface StoredDecision {
  readonly payload: string;
  readonly signature: string;
  readonly comment: string | null;
}

/** What the decisions of a report root speak of: one version. E-mails are as in the register. */
export interface ReportVersion {
  readonly id: string;
  readonly version: number;
  readonly reportHash: string;
  readonly reviewPdfSha256: string;
  readonly interim: boolean;
  readonly generatedBy: string;
  /** How many different persons have to approve. */
  readonly approvers: number;
  readonly status: ReportStatus;
  readonly reviewedBy: string | null;
  readonly approvedBy: string | null;
}

/** The person of a key. */
interface Signer {
  readonly email: string;
  readonly compromised: boolean;
  /** The hash of the act that ended the key later; null where it was not ended or is not known. */
  readonly endedBy: string | null;
}

/** What the audit trail says of decisions and acts: their place in the chain, null until they are linked. */
export interface Anchors {
  readonly decisions: ReadonlyMap<string, { readonly payloadSha256: string; readonly seq: bigint | null }>;
  /** By the act's hash. */
  readonly acts: ReadonlyMap<string, bigint | null>;
}

/** Who may sign. */
export interface SignerBook {
  /** The person of a key at an instant; compromised when it was later ended for that reason. Null: nobody's then. */
  signerOf(fingerprint: string, at: string): Signer | null;
  /** Null where roles are not known (a bundle away from the register). */
  hasRole(email: string, role: Role, at: string): boolean | null;
  /** The registered name; null where names are not known, and the signed one stands for itself. */
  nameOf(email: string): string | null;
}

/** A decision that was verified. */
export interface ReportDecision {
  readonly id: string;
  readonly reportId: string;
  readonly version: number;
  readonly meaning: Meaning;
  readonly part: Part | null;
  readonly from: ReportStatus;
  readonly to: ReportStatus;
  readonly person: string;
  /** As signed. */
  readonly name: string;
  /** ISO 8601 in UTC, as signed. */
  readonly time: string;
  readonly comment: string | null;
  readonly keyFingerprint: string;
  /** The key was reported compromised after this decision. */
  readonly keyCompromisedLater: boolean;
  readonly payloadSha256: string;
}

interface DecisionFinding {
  readonly kind:
    | 'signature'
    | 'text'
    | 'chain'
    | 'signer'
    | 'transition'
    | 'separation'
    | 'status'
    | 'register'
    | 'anchor';
  /** The decision that does not hold; null where it is about the report or the register. */
  readonly decisionId: string | null;
  readonly what: string;
  /** The decision, or the act of the register, counts for nothing and the rest stands without it. */
  readonly void: boolean;
  /** The hash of the void text; null where the finding is about no text. */
  readonly payloadSha256: string | null;
  /** Officers have signed that they know of it. It counts as little as before. */
  readonly acknowledged: boolean;
}

export interface CheckedDecisions {
  /** The report is what the decisions that hold make of it. Void ones are findings nevertheless. */
  readonly valid: boolean;
  /** The hash of the last decision that holds: what the next one follows. */
  readonly head: string | null;
  /** Those that hold, in order. */
  readonly decisions: readonly ReportDecision[];
  readonly findings: readonly DecisionFinding[];
}

export interface DecisionCheckInput {
  readonly installationId: string;
  readonly versions: readonly ReportVersion[];
  readonly stored: readonly StoredDecision[];
  readonly signers: SignerBook;
  /** Null away from the database. */
  readonly anchors: Anchors | null;
  /** Hashes of void texts that officers have acknowledged; none unless given. */
  readonly acknowledged?: ReadonlySet<string>;
}

interface Deciders {
  reviewedBy: string | null;
  approvedBy: string | null;
  /** Who approved since the last review. */
  approvals: readonly string[];
}

interface Replay {
  readonly input: DecisionCheckInput;
  readonly statuses: Map<string, ReportStatus>;
  readonly deciders: Map<string, Deciders>;
  readonly parts: Map<string, Part>;
  readonly decisions: ReportDecision[];
}

/**
 * Checks all decisions of one report root, in the order of their recording. One that does not hold is void: a finding, and
 * the rest goes on without it. What was forged, altered or removed shows in what the report claims.
 */
export function checkDecisions(input: DecisionCheckInput): CheckedDecisions {
  const replay: Replay = {
    input,
    statuses: new Map(input.versions.map((version) => [version.id, 'draft'])),
    deciders: new Map(
      input.versions.map((version) => [version.id, { reviewedBy: null, approvedBy: null, approvals: [] }]),
    ),
    parts: new Map(),
    decisions: [],
  };
  const findings: DecisionFinding[] = [];
  let last: DecisionPayload | null = null;
  for (const stored of input.stored) {
    const payload = parseDecisionText(stored.payload);
    const problem = payload === null ? NO_TEXT : checkDecision(replay, stored, payload, last);
    if (problem === null) last = payload;
    else {
      const payloadSha256 = hashText(stored.payload);
      const acknowledged = input.acknowledged?.has(payloadSha256) ?? false;
      findings.push({ ...problem, decisionId: payload?.decision_id ?? null, void: true, payloadSha256, acknowledged });
    }
  }
  for (const version of input.versions) findings.push(...checkOutcome(replay, version));
  return {
    valid: findings.every((finding) => finding.void),
    head: replay.decisions.at(-1)?.payloadSha256 ?? null,
    decisions: replay.decisions,
    findings,
  };
}

const NO_TEXT = { kind: 'text', what: 'a decision is not canonical text of the known shape' } as const;

function checkDecision(
  replay: Replay,
  stored: StoredDecision,
  payload: DecisionPayload,
  last: DecisionPayload | null,
): Problem {
  const head = replay.decisions.at(-1)?.payloadSha256 ?? null;
  if (payload.previous_decision_sha256 !== head) {
    return { kind: 'chain', what: 'it does not follow the last decision that holds' };
  }
  if (last !== null && payload.time < last.time)
    return { kind: 'chain', what: 'it is dated before the one it follows' };
  if (last !== null && payload.incarnation < last.incarnation) {
    return { kind: 'chain', what: 'it belongs to an earlier incarnation than the one it follows' };
  }
  return checkSignature(stored, payload, replay.input) ?? applyDecision(replay, stored, payload);
}

type Problem = Pick<DecisionFinding, 'kind' | 'what'> | null;

function checkSignature(stored: StoredDecision, payload: DecisionPayload, input: DecisionCheckInput): Problem {
  const check = checkSshsig(stored.signature, NAMESPACES.reportDecision, Buffer.from(stored.payload, 'utf8'));
  if (!check.valid) return { kind: 'signature', what: `the signature does not verify (${check.reason})` };
  if (check.publicKey.fingerprint !== payload.key_fingerprint) {
    return { kind: 'signature', what: 'it is signed by another key than it names' };
  }
  if (hashComment(stored.comment) !== payload.comment_sha256) {
    return { kind: 'text', what: 'its comment is not the one that was signed' };
  }
  if (payload.installation_id !== input.installationId) {
    return { kind: 'text', what: 'it belongs to another installation' };
  }
  return null;
}

function applyDecision(replay: Replay, stored: StoredDecision, payload: DecisionPayload): Problem {
  const { meaning, person, time } = payload;
  const version = replay.input.versions.find((entry) => entry.id === payload.object.id);
  const isAbout =
    version?.version === payload.version &&
    version.reportHash === payload.report_hash &&
    version.reviewPdfSha256 === payload.review_pdf_sha256 &&
    version.interim === payload.interim &&
    version.generatedBy === payload.generated_by;
  if (version === undefined || !isAbout) return { kind: 'text', what: 'it was signed for another report or version' };
  const signer = replay.input.signers.signerOf(payload.key_fingerprint, time);
  if (signer?.email !== person) return { kind: 'signer', what: 'its key was not a valid key of its person' };
  const unanchored = checkAnchor(replay.input.anchors, stored, payload, signer);
  if (unanchored !== null) return unanchored;
  const name = replay.input.signers.nameOf(person);
  if (name !== null && name !== payload.person_name) return { kind: 'signer', what: 'its person has another name' };
  const from = replay.statuses.get(version.id) ?? 'draft';
  const step = transitionOf(meaning, from);
  if (step === null) return { kind: 'transition', what: `"${meaning}" is not possible on a report that is ${from}` };
  if (replay.input.signers.hasRole(person, step.role, time) === false) {
    return { kind: 'signer', what: `its person was no ${step.role}` };
  }
  const problem = checkDuties(replay, step.part, payload, version);
  if (problem !== null) return problem;
  if (meaning === 'reject' && stored.comment === null) return { kind: 'text', what: 'a rejection has no comment' };
  if (step.part !== null) replay.parts.set(person, step.part);
  const to = meaning === 'approve' && !reachesQuorum(replay, version) ? 'reviewed' : step.to;
  replay.statuses.set(version.id, to);
  recordDecider(replay, payload, to);
  replay.decisions.push({
    id: payload.decision_id,
    reportId: version.id,
    version: version.version,
    meaning,
    part: step.part,
    from,
    to,
    person,
    name: payload.person_name,
    time,
    comment: stored.comment,
    keyFingerprint: payload.key_fingerprint,
    keyCompromisedLater: signer.compromised,
    payloadSha256: hashText(stored.payload),
  });
  return null;
}

/**
 * Every decision has its audit event. Where its key was ended later, times are the word of whoever wrote the row: the chain
 * has to show the decision before the end, at once for a compromised key, and when the end is linked for others.
 */
function checkAnchor(
  anchors: Anchors | null,
  stored: StoredDecision,
  payload: DecisionPayload,
  signer: Signer,
): Problem {
  if (anchors === null) return null;
  const event = anchors.decisions.get(payload.decision_id);
  if (event?.payloadSha256 !== hashText(stored.payload)) return { kind: 'anchor', what: 'no audit event records it' };
  if (signer.endedBy === null) return null;
  const end = anchors.acts.get(signer.endedBy) ?? null;
  const isBefore = event.seq !== null && (end === null || event.seq < end);
  if (isBefore || (end === null && !signer.compromised)) return null;
  return { kind: 'anchor', what: 'the chain does not show it before the end of its key' };
}

function checkDuties(replay: Replay, part: Part | null, payload: DecisionPayload, version: ReportVersion): Problem {
  const { meaning, person } = payload;
  const taken = replay.parts.get(person);
  if (part !== null && taken !== undefined && taken !== part) {
    return { kind: 'separation', what: `its person was ${taken} of this report before` };
  }
  if (part !== null && part !== 'preparer' && replay.input.versions.some((entry) => entry.generatedBy === person)) {
    return { kind: 'separation', what: 'its person generated the report' };
  }
  if (meaning === 'recall' && replay.deciders.get(version.id)?.reviewedBy !== person) {
    return { kind: 'separation', what: 'it recalls the review of another person' };
  }
  if (meaning === 'approve' && replay.deciders.get(version.id)?.approvals.includes(person) === true) {
    return { kind: 'separation', what: 'its person approved the report before' };
  }
  if (meaning === 'approve' && version.interim) return { kind: 'transition', what: 'it approves an interim report' };
  return null;
}

/** Whether one more approval is the last that the report needs. */
function reachesQuorum(replay: Replay, { id, approvers }: ReportVersion): boolean {
  return (replay.deciders.get(id)?.approvals.length ?? 0) + 1 >= approvers;
}

function recordDecider(replay: Replay, { meaning, person, object }: DecisionPayload, to: ReportStatus): void {
  const deciders = replay.deciders.get(object.id);
  if (deciders === undefined) return;
  if (meaning === 'review') deciders.reviewedBy = person;
  if (meaning === 'reject' || meaning === 'recall') deciders.reviewedBy = null;
  if (to === 'approved') deciders.approvedBy = person;
  deciders.approvals = meaning === 'approve' ? [...deciders.approvals, person] : [];
}

/** What the row claims must be what the signed decisions lead to. */
function checkOutcome(replay: Replay, version: ReportVersion): DecisionFinding[] {
  const status = replay.statuses.get(version.id);
  const deciders = replay.deciders.get(version.id);
  const findings: DecisionFinding[] = [];
  const about = { decisionId: null, void: false, payloadSha256: null, acknowledged: false };
  const add = (what: string) =>
    findings.push({ kind: 'status', ...about, what: `version ${version.version}: ${what}` });
  if (status !== version.status) add(`it is ${version.status}, but signed decisions lead to ${status ?? 'draft'}`);
  if (deciders?.reviewedBy !== version.reviewedBy) add('its reviewer is not the one who signed');
  if (deciders?.approvedBy !== version.approvedBy) add('its approver is not the one who signed');
  return findings;
}

function hashText(text: string): string {
  return createHash('sha256').update(text, 'utf8').digest('hex');
}
