/**
 * What a person signs about something under retention (a plan, a hold, its release, a policy, a restore), and whether what is stored
 * holds: RFC 8785 JSON in a namespace of each kind (docs/spec/decision-v1.md, section 3). Pure.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { canonicalJson } from '../canonical-json.ts';
import { checkSshsig, NAMESPACES, type Namespace } from '../keys/sshsig.ts';
import { hasRole, isWithin, type Register } from './register.ts';
import type { Role } from './roles.ts';

const OBJECT_KINDS = ['plan', 'hold', 'release', 'policy', 'restore'] as const;
export type ObjectKind = (typeof OBJECT_KINDS)[number];
export type ObjectMeaning = 'request' | 'approve';

/** The namespace that each kind is signed under, and the role of both persons. */
export const OBJECT_RULES: Readonly<Record<ObjectKind, { readonly namespace: Namespace; readonly role: Role }>> = {
  plan: { namespace: NAMESPACES.planApproval, role: 'records_manager' },
  hold: { namespace: NAMESPACES.hold, role: 'legal' },
  release: { namespace: NAMESPACES.hold, role: 'legal' },
  policy: { namespace: NAMESPACES.policy, role: 'policy_owner' },
  restore: { namespace: NAMESPACES.restore, role: 'records_manager' },
};

const hashSchema = z.string().regex(/^[0-9a-f]{64}$/);

/** What the database gives to sign; the signer adds their key. */
export const objectRequestSchema = z.strictObject({
  format: z.literal('auditkeep-object-decision/v1'),
  installation_id: z.uuid(),
  incarnation: z.int().positive(),
  /** Nonce of the database, used once, for 15 minutes. */
  decision_id: z.uuid(),
  object: z.strictObject({ kind: z.enum(OBJECT_KINDS), id: z.uuid() }),
  /** Hash of the plan's, hold's, release's or policy's canonical text. */
  object_hash: hashSchema,
  meaning: z.enum(['request', 'approve']),
  /** E-mail. */
  person: z.string(),
  person_name: z.string().min(1),
  /** Hash of the request's text; null in a request. */
  previous_decision_sha256: hashSchema.nullable(),
  time: z.string().regex(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/),
});
export type ObjectRequest = z.infer<typeof objectRequestSchema>;
const payloadSchema = objectRequestSchema.extend({
  key_fingerprint: z.string().regex(/^SHA256:[A-Za-z0-9+/]{43}$/),
});
type ObjectPayload = z.infer<typeof payloadSchema>;

/** The bytes to sign, as text. */
export function objectDecisionText(request: ObjectRequest, keyFingerprint: string): string {
  return canonicalJson({ ...request, key_fingerprint: keyFingerprint });
}

/** Reads signed text; null unless it is a canonical payload of exactly these fields. */
function parseObjectDecision(text: string): ObjectPayload | null {
  try {
    const payload = payloadSchema.parse(JSON.parse(text));
    return canonicalJson(payload) === text ? payload : null;
  } catch {
    return null; // not JSON or of another shape
  }
}

export interface StoredObjectDecision {
  readonly payload: string;
  readonly signature: string;
}

/** The object that decisions have to be about. */
export interface DecidedObject {
  readonly installationId: string;
  readonly kind: ObjectKind;
  readonly id: string;
  readonly hash: string;
}

export interface CheckedObject {
  readonly request: ObjectPayload | null;
  readonly approval: ObjectPayload | null;
  /** Why a decision that is stored does not hold. */
  readonly findings: readonly string[];
}

/**
 * Which decisions on an object hold: signed by the key that they name, a person's then and not reported compromised since,
 * with the role, about this very object, an approval after its request and by somebody else.
 */
export function checkObjectDecisions(
  object: DecidedObject,
  stored: readonly StoredObjectDecision[],
  register: Register,
): CheckedObject {
  const findings: string[] = [];
  const held = stored.flatMap((entry) => {
    const payload = parseObjectDecision(entry.payload);
    const problem = payload === null ? 'it is no canonical text' : problemOf(object, entry, payload, register);
    if (problem === null && payload !== null) return [{ payload, sha256: sha256Of(entry.payload) }];
    findings.push(`${payload?.meaning ?? 'a decision'} of the ${object.kind}: ${problem ?? ''}`);
    return [];
  });
  const request = held.find(({ payload }) => payload.meaning === 'request') ?? null;
  const approval = held.find(({ payload }) => payload.meaning === 'approve') ?? null;
  const out = approval === null || request === null ? null : separationOf(request, approval.payload);
  if (approval !== null && request === null) findings.push(`approve of the ${object.kind}: nobody requested it`);
  if (out !== null) findings.push(`approve of the ${object.kind}: ${out}`);
  const stands = request !== null && out === null ? (approval?.payload ?? null) : null;
  return { request: request?.payload ?? null, approval: stands, findings };
}

function problemOf(
  object: DecidedObject,
  entry: StoredObjectDecision,
  payload: ObjectPayload,
  register: Register,
): string | null {
  const { namespace, role } = OBJECT_RULES[object.kind];
  const check = checkSshsig(entry.signature, namespace, Buffer.from(entry.payload, 'utf8'));
  if (!check.valid) return `its signature does not verify (${check.reason})`;
  if (check.publicKey.fingerprint !== payload.key_fingerprint) return 'it is signed by another key than it names';
  if (payload.installation_id !== object.installationId) return 'it belongs to another installation';
  if (payload.object.kind !== object.kind || payload.object.id !== object.id) return 'it is about something else';
  if (payload.object_hash !== object.hash) return 'it was signed for another content';
  const key = register.keys.get(payload.key_fingerprint);
  if (key?.email !== payload.person || !isWithin(key, payload.time)) return 'its key was not a valid key of its person';
  if (key.endReason === 'compromised') return 'its key was reported compromised';
  if (register.persons.get(payload.person) !== payload.person_name) return 'its person has another name';
  return hasRole(register, payload.person, role, payload.time) ? null : `its person was no ${role}`;
}

function separationOf(request: { payload: ObjectPayload; sha256: string }, approval: ObjectPayload): string | null {
  if (approval.person === request.payload.person) return 'it is by the person who requested';
  if (approval.previous_decision_sha256 !== request.sha256) return 'it does not follow the request';
  return approval.time < request.payload.time ? 'it is dated before the request' : null;
}

function sha256Of(text: string): string {
  return createHash('sha256').update(text, 'utf8').digest('hex');
}
