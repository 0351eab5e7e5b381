/**
 * The life of a report: draft -> pending_review (submit) -> reviewed -> approved -> archived. Every step is a decision
 * that a person signs; the database enforces order and separation of duties, and every reader checks the signatures again.
 */
import { createHash } from 'node:crypto';
import { recordEvent } from '../../audit/record/record.ts';
import type { Context } from '../../context.ts';
import type { SqlClient } from '../../db/database.ts';
import { inTransaction } from '../../db/transaction.ts';
import { AuditkeepError } from '../../errors.ts';
import { readSshKeyFile } from '../../keys/ssh-key.ts';
import { checkSshsig, NAMESPACES, signSshsig } from '../../keys/sshsig.ts';
import { decisionText, type Meaning } from '../../persons/decision.ts';
import { readRegister } from '../../persons/read-register.ts';
import { translateRefusals } from '../../persons/refusal.ts';
import { hasRole, isWithin, type Register } from '../../persons/register.ts';
import { type ControlComment, commentText } from '../model/control-comment.ts';
import { findReport, readReport } from '../model/read.ts';
import {
  type CheckedDecisions,
  checkDecisions,
  type ReportVersion,
  type SignerBook,
  type StoredDecision,
} from './decision-check.ts';
import { notifyDecision } from './notification.ts';
import {
  beginDecision,
  findStoredDecision,
  insertDecision,
  readAnchors,
  readReportRoot,
  readStoredDecisions,
  readVersions,
} from './store-workflow.ts';

type DecisionContext = Pick<Context, 'db' | 'clock' | 'actor' | 'keys'>;

export interface DecisionInput {
  /** The report's id, or its first digits. */
  readonly reportId: string;
  /** Why; a rejection demands it, or comments on controls. */
  readonly comment?: string | undefined;
  /** Comments on single controls of the report. */
  readonly controlComments?: readonly ControlComment[] | undefined;
}

export interface DecisionMade {
  readonly reportId: string;
  readonly decisionId: string;
  readonly meaning: Meaning;
  readonly status: ReportVersion['status'];
  readonly payloadSha256: string;
}

/** The preparer hands a draft in for review. @throws as decide */
export const submitReport = (ctx: DecisionContext, input: DecisionInput) => decide(ctx, 'submit', input);
/** A reviewer confirms the content. @throws as decide */
export const reviewReport = (ctx: DecisionContext, input: DecisionInput) => decide(ctx, 'review', input);
/** A reviewer or an approver sends the report back to draft, with the reason. @throws as decide, DECISION_COMMENT */
export const rejectReport = (ctx: DecisionContext, input: DecisionInput) => decide(ctx, 'reject', input);
/** The reviewer takes the review back before approval. @throws as decide */
export const recallReport = (ctx: DecisionContext, input: DecisionInput) => decide(ctx, 'recall', input);
/** An approver approves. @throws as decide, REPORT_INTERIM */
export const approveReport = (ctx: DecisionContext, input: DecisionInput) => decide(ctx, 'approve', input);

export type ArchiveReason = 'distributed' | 'superseded' | 'withdrawn';

/** A records manager closes the report, with the reason. @throws as decide */
export function archiveReport(
  ctx: DecisionContext,
  input: DecisionInput & { readonly reason: ArchiveReason },
): Promise<DecisionMade> {
  return decide(ctx, `archive-${input.reason}`, input);
}

/**
 * One signed decision: nonce, signature, check, transition and audit event. Nothing changes unless all of it holds;
 * durable when it returns. Of two who decide at once one wins, the other gets DECISION_CONFLICT.
 * @throws USAGE without a person and key, REPORT_NOT_FOUND, PERSON_UNKNOWN, ROLE_MISSING, DUTY_SEPARATION,
 * REPORT_TRANSITION, REPORT_SUPERSEDED, PERSON_KEY_INVALID, DECISION_INVALID when an earlier decision does not hold,
 * DECISION_CONFLICT, DECISION_EXPIRED, REPORT_TAMPERED, INPUT_INVALID for a comment on what is no control, and those of
 * readSshKeyFile and signSshsig
 */
async function decide(ctx: DecisionContext, meaning: Meaning, input: DecisionInput): Promise<DecisionMade> {
  const { email, keyFile } = signingPerson(ctx);
  const comment = await readComment(ctx, input);
  if (meaning === 'reject' && comment === null) {
    throw new AuditkeepError('DECISION_COMMENT', {
      message: 'a rejection needs a comment',
      hint: 'say why with --comment or, of a control, with --control',
    });
  }
  const key = await readSshKeyFile(keyFile);
  const reportId = await openForDecision(ctx, meaning, input.reportId);
  const previous = await readHead(ctx, reportId);
  const request = await translateRefusals(() =>
    inTransaction(ctx.db, (client) => beginDecision(client, reportId, meaning, { email, previous })),
  );
  const payload = decisionText(request, key.publicKey.fingerprint, comment);
  const bytes = Buffer.from(payload, 'utf8');
  const signature = await signSshsig(key, NAMESPACES.reportDecision, bytes);
  // ssh-keygen or an agent may have signed; nothing is stored that a reader would refuse.
  if (!checkSshsig(signature, NAMESPACES.reportDecision, bytes).valid) throw unsignedDecision();
  const payloadSha256 = createHash('sha256').update(bytes).digest('hex');
  const decisionId = request.decision_id;
  const status = await translateRefusals(() =>
    inTransaction(ctx.db, async (client) => {
      const newStatus = await insertDecision(client, { payload, signature, comment });
      await recordEvent(ctx, client, {
        type: `report.${meaning}`,
        category: 'authorization',
        action: 'DECIDE',
        resourceType: 'compliance_report',
        resourceId: reportId,
        details: {
          decisionId,
          payloadSha256,
          version: request.version,
          reportHash: request.report_hash,
          status: newStatus,
        },
      });
      // As every reader will check it, with its audit event.
      const checked = await verifyDecisions(client, reportId);
      if (checked.head !== payloadSha256) throw refusedDecision(checked, decisionId, previous);
      if (!checked.valid) throw invalidDecision(checked);
      const submitted = checked.decisions.findLast((made) => made.meaning === 'submit' && made.reportId === reportId);
      const told = { id: decisionId, meaning, reportId, submitter: submitted?.person ?? null };
      // An approval short of the quorum changes nothing that anybody waits for.
      if (meaning !== 'approve' || newStatus === 'approved') await notifyDecision(client, ctx.clock.now(), told);
      return newStatus;
    }),
  );
  return { reportId, decisionId, meaning, status, payloadSha256 };
}

/** The comment as it is signed; comments on controls need the model. */
async function readComment(ctx: DecisionContext, input: DecisionInput): Promise<string | null> {
  const whole = input.comment?.trim() || null;
  const comments = input.controlComments ?? [];
  if (comments.length === 0) return whole;
  const { model } = await readReport(ctx, input.reportId);
  return commentText(
    whole,
    comments,
    model.controls.map(({ id }) => id),
  );
}

/** The report's id. Nobody signs the hash of a model that does not open or is another one; archiving judges nothing. */
async function openForDecision(ctx: DecisionContext, meaning: Meaning, id: string): Promise<string> {
  const judges = meaning === 'submit' || meaning === 'review' || meaning === 'approve';
  return judges ? (await readReport(ctx, id)).row.id : (await findReport(ctx, id)).id;
}

function signingPerson(ctx: Pick<Context, 'actor'>): { email: string; keyFile: string } {
  const { actor } = ctx;
  if (actor.kind !== 'person' || actor.keyFile === null) {
    throw new AuditkeepError('USAGE', {
      message: 'a decision is made by a person who signs',
      hint: 'give --as EMAIL and --key FILE',
    });
  }
  return { email: actor.email.toLowerCase(), keyFile: actor.keyFile };
}

/**
 * What the next decision follows. A status that a void decision led to is put right by the next one; nobody builds on
 * anything else that does not hold.
 */
async function readHead(ctx: Pick<Context, 'db'>, reportId: string): Promise<string | null> {
  const checked = await readDecisions(ctx, reportId);
  const voided = checked.findings.some((finding) => finding.void && finding.decisionId !== null);
  const repairable = checked.findings.every((finding) => finding.void || (voided && finding.kind === 'status'));
  if (!repairable) throw invalidDecision(checked);
  return checked.head;
}

/** All that readers need in one snapshot. @throws REPORT_NOT_FOUND */
export function readDecisions(ctx: Pick<Context, 'db'>, reportId: string): Promise<CheckedDecisions> {
  return inTransaction(ctx.db, (client) => verifyDecisions(client, reportId), 'repeatable read, read only');
}

/**
 * Checks all decisions on a report and its versions against the signed register. A row that the owner of the database
 * forged, changed or removed makes the report invalid and is named in the findings.
 * @throws REPORT_NOT_FOUND
 */
export async function verifyDecisions(client: SqlClient, reportId: string): Promise<CheckedDecisions> {
  const root = await readReportRoot(client, reportId);
  if (root === null) {
    throw new AuditkeepError('REPORT_NOT_FOUND', {
      message: `no report has the id ${reportId}`,
      hint: 'list the reports with `auditkeep report list`',
    });
  }
  const checked = (await verifyRoots(client, [root])).get(root);
  if (checked === undefined) throw new Error('a root was asked for and not checked');
  return checked;
}

/**
 * The decisions of many reports in one snapshot, by report root: the register and the audit trail are read once, however
 * many reports there are.
 */
export function readDecisionsOf(
  ctx: Pick<Context, 'db'>,
  reports: readonly { readonly root: string }[],
): Promise<ReadonlyMap<string, CheckedDecisions>> {
  const roots = [...new Set(reports.map(({ root }) => root))];
  return inTransaction(ctx.db, (client) => verifyRoots(client, roots), 'repeatable read, read only');
}

async function verifyRoots(client: SqlClient, roots: readonly string[]): Promise<Map<string, CheckedDecisions>> {
  const { register, installationId, findings: found } = await readRegister(client);
  const anchors = await readAnchors(client, roots);
  const registerFindings = found.map(({ kind, what, acknowledged }) => ({
    kind: 'register' as const,
    decisionId: null,
    what: `register of persons: ${kind} (${what})`,
    void: kind === 'act-void',
    payloadSha256: null,
    acknowledged,
  }));
  const isRegisterValid = registerFindings.every((finding) => finding.void);
  const results = new Map<string, CheckedDecisions>();
  for (const root of roots) {
    const checked = checkDecisions({
      installationId,
      versions: await readVersions(client, root),
      stored: await readStoredDecisions(client, root),
      signers: signersOf(register),
      anchors,
      acknowledged: register.acknowledged,
    });
    const findings = [...checked.findings, ...registerFindings];
    results.set(root, { ...checked, valid: checked.valid && isRegisterValid, findings });
  }
  return results;
}

/** One stored decision by its id, as it was signed. @throws DECISION_NOT_FOUND */
export async function readDecision(ctx: Pick<Context, 'db'>, id: string): Promise<StoredDecision & { id: string }> {
  const isId = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(id);
  const decision = isId ? await ctx.db.withClient((client) => findStoredDecision(client, id)) : null;
  if (decision !== null) return { id: id.toLowerCase(), ...decision };
  throw new AuditkeepError('DECISION_NOT_FOUND', {
    message: `no decision has the id ${id}`,
    hint: 'list them with `auditkeep decision list`',
  });
}

/** The signed register as the book that decisions are checked with. */
function signersOf(register: Register): SignerBook {
  return {
    signerOf(fingerprint, at) {
      const key = register.keys.get(fingerprint);
      if (key === undefined || !isWithin(key, at)) return null;
      return { email: key.email, compromised: key.endReason === 'compromised', endedBy: key.endedBy };
    },
    hasRole: (email, role, at) => hasRole(register, email, role, at),
    nameOf: (email) => register.persons.get(email) ?? null,
  };
}

function invalidDecision({ findings }: CheckedDecisions): AuditkeepError {
  const what = (findings.find((finding) => !finding.void) ?? findings[0])?.what ?? '';
  return new AuditkeepError('DECISION_INVALID', {
    message: `the decisions of this report do not hold: ${what}${findings.length > 1 ? ` (and ${findings.length - 1} more)` : ''}`,
    hint: 'see all findings with `auditkeep decision verify`; find out who changed the database',
    details: { findings: findings.length },
  });
}

/** The decision just made is void: somebody decided on the same state first, or a reader would refuse it. */
function refusedDecision(checked: CheckedDecisions, decisionId: string, previous: string | null): AuditkeepError {
  if (checked.head === previous) {
    const finding = checked.findings.find((entry) => entry.decisionId === decisionId);
    return invalidDecision({ ...checked, findings: finding === undefined ? checked.findings : [finding] });
  }
  return new AuditkeepError('DECISION_CONFLICT', {
    message: 'somebody else decided on this report first',
    hint: 'look at what was decided and decide again',
  });
}

function unsignedDecision(): AuditkeepError {
  return new AuditkeepError('DECISION_INVALID', {
    message: 'the signature that was made just now does not verify',
    hint: 'sign with another key, or without the agent',
  });
}
