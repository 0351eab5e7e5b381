/** What persons sign besides decisions: waivers and attestations (docs/spec/decision-v1.md). Text and its check are pure. */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { canonicalJson } from '../canonical-json.ts';
import { checkSshsig, NAMESPACES, type Namespace } from '../keys/sshsig.ts';
import { hasRole, isWithin, type Register } from './register.ts';
import type { Role } from './roles.ts';

const instant = z.string().regex(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/);
const words = z
  .string()
  .trim()
  .min(1)
  .max(2000)
  .regex(/^\P{Cc}+$/u);

const signedBy = {
  installation_id: z.uuid(),
  incarnation: z.int().positive(),
  id: z.uuid(),
  person: z.string(),
  person_name: z.string().min(1),
  key_fingerprint: z.string(),
  time: instant,
};

const waived = {
  ...signedBy,
  control: z.string().regex(/^[a-z]{2}-\d{2}$/),
  reason: words,
  valid_from: instant,
  expires_at: instant,
};
/** Covers every exception of its control. Read only: new ones are of v2. */
const wholeWaiverSchema = z.strictObject({ format: z.literal('auditkeep-waiver/v1'), ...waived });

export const waiverSchema = z.strictObject({
  format: z.literal('auditkeep-waiver/v2'),
  ...waived,
  /** Columns of the exceptions and what they have to be; none: every exception of the control. */
  scope: z.array(z.strictObject({ column: z.string().regex(/^[a-z][a-z0-9_]*$/), value: words })).max(8),
});

/** The second signature of a waiver, by another policy owner. */
export const waiverApprovalSchema = z.strictObject({
  format: z.literal('auditkeep-waiver-approval/v1'),
  ...signedBy,
  waiver: z.uuid(),
  waiver_sha256: z.string().regex(/^[0-9a-f]{64}$/),
});

export const attestationSchema = z.strictObject({
  format: z.literal('auditkeep-attestation/v1'),
  ...signedBy,
  framework: z.string().min(1).max(64),
  requirement: z.string().min(1).max(64),
  period_start: z.iso.date(),
  period_end: z.iso.date(),
  outcome: z.enum(['met', 'not-met', 'not-applicable']),
  statement: words,
});

const statementSchema = z.discriminatedUnion('format', [
  wholeWaiverSchema,
  waiverSchema,
  waiverApprovalSchema,
  attestationSchema,
]);
export type Waiver = z.infer<typeof waiverSchema>;
export type WaiverApproval = z.infer<typeof waiverApprovalSchema>;
type AnyWaiver = Waiver | z.infer<typeof wholeWaiverSchema>;
export type Attestation = z.infer<typeof attestationSchema>;
export type Statement = z.infer<typeof statementSchema>;

/** The namespace that a statement is signed in, and who may. */
export const STATEMENT_RULES: Readonly<
  Record<Statement['format'], { readonly namespace: Namespace; readonly roles: readonly Role[] }>
> = {
  'auditkeep-waiver/v1': { namespace: NAMESPACES.waiver, roles: ['policy_owner'] },
  'auditkeep-waiver/v2': { namespace: NAMESPACES.waiver, roles: ['policy_owner'] },
  'auditkeep-waiver-approval/v1': { namespace: NAMESPACES.waiver, roles: ['policy_owner'] },
  'auditkeep-attestation/v1': {
    namespace: NAMESPACES.attestation,
    roles: ['preparer', 'reviewer', 'approver', 'policy_owner'],
  },
};

export interface StoredStatement {
  readonly payload: string;
  readonly signature: string;
}

/** A statement, or why its row counts for nothing. */
export type CheckedStatement =
  | { readonly statement: Statement; readonly sha256: string; readonly problem: null }
  | { readonly statement: Statement | null; readonly sha256: string; readonly problem: string };

/** Checks a stored statement against the signed register. */
export function checkStatement(
  stored: StoredStatement,
  { installationId, register }: { readonly installationId: string; readonly register: Register },
): CheckedStatement {
  const sha256 = createHash('sha256').update(stored.payload, 'utf8').digest('hex');
  const statement = parseStatement(stored.payload);
  if (statement === null) return { statement, sha256, problem: 'it is no canonical text of the known shape' };
  const { namespace, roles } = STATEMENT_RULES[statement.format];
  const { person, key_fingerprint: fingerprint, time } = statement;
  const refuse = (problem: string) => ({ statement, sha256, problem });
  if (statement.installation_id !== installationId) return refuse('it belongs to another installation');
  const check = checkSshsig(stored.signature, namespace, Buffer.from(stored.payload, 'utf8'));
  if (!check.valid || check.publicKey.fingerprint !== fingerprint) return refuse('its signature does not verify');
  const key = register.keys.get(fingerprint);
  if (key?.email !== person || !isWithin(key, time)) return refuse('its key was not a valid key of its person');
  if (register.persons.get(person) !== statement.person_name) return refuse('its person has another name');
  if (!roles.some((role) => hasRole(register, person, role, time))) return refuse('its person had no role for it');
  return { statement, sha256, problem: null };
}

/** A statement of its canonical text, or null. */
export function parseStatement(text: string): Statement | null {
  try {
    const statement = statementSchema.parse(JSON.parse(text));
    return canonicalJson(statement) === text ? statement : null;
  } catch {
    return null; // not JSON or of another shape
  }
}

/** Whether a waiver that two persons signed counts at an instant, ISO 8601 in UTC with milliseconds. */
export function waiverState(
  { valid_from, expires_at }: Pick<Waiver, 'valid_from' | 'expires_at'>,
  at: string,
): 'active' | 'expired' | 'not yet' {
  if (at < valid_from) return 'not yet';
  return at < expires_at ? 'active' : 'expired';
}

/** A waiver as it counts, with the person who signed second. */
export interface SignedWaiver {
  readonly waiver: AnyWaiver;
  readonly sha256: string;
  /** E-mail; null while nobody but its own person signed. */
  readonly approvedBy: string | null;
  /** SHA-256 of the approval's text; null as above. */
  readonly approvalSha256: string | null;
}

/** The waivers among checked statements that hold, each with the approval that holds and is another person's. */
export function signedWaivers(
  waivers: readonly CheckedStatement[],
  approvals: readonly CheckedStatement[],
): SignedWaiver[] {
  return waivers.flatMap(({ statement: waiver, problem, sha256 }) => {
    const isWaiver = waiver?.format === 'auditkeep-waiver/v1' || waiver?.format === 'auditkeep-waiver/v2';
    if (problem !== null || !isWaiver) return [];
    const approval = approvals.find(({ statement: other, problem: wrong }) => {
      if (wrong !== null || other?.format !== 'auditkeep-waiver-approval/v1') return false;
      return other.waiver === waiver.id && other.waiver_sha256 === sha256 && other.person !== waiver.person;
    });
    const approvedBy = approval?.statement?.person ?? null;
    return [{ waiver, sha256, approvedBy, approvalSha256: approval?.sha256 ?? null }];
  });
}
