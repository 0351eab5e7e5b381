/**
 * One change of the register of persons as signed text: RFC 8785 JSON in the namespace person@auditkeep.v1
 * (docs/spec/decision-v1.md). Pure.
 */
import { z } from 'zod';
import { canonicalJson } from '../canonical-json.ts';
import { parseSshPublicKey } from '../keys/ssh-public-key.ts';
import { checkSshsig, NAMESPACES } from '../keys/sshsig.ts';
import { ROLES } from './roles.ts';

/** What acts are made as. */
export const ACT_FORMAT = 'auditkeep-person-act/v2';
/** As it was made before; read, never made: its proofs name no installation and it acknowledges nothing. */
const FIRST_ACT_FORMAT = 'auditkeep-person-act/v1';
const POSSESSION_FORMAT = 'auditkeep-key-possession/v2';
const FIRST_POSSESSION_FORMAT = 'auditkeep-key-possession/v1';

/**
 * Lower-case ASCII, so that one mailbox is one person, without the signs that are patterns or quotes in an
 * allowed_signers file.
 */
export const emailSchema = z
  .string()
  .max(254)
  .regex(/^[a-z0-9._%+'-]+@[a-z0-9.-]+$/, 'an e-mail address is written in lower case, in ASCII and without signs');
const instantSchema = z.string().regex(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/);
const hashSchema = z.string().regex(/^[0-9a-f]{64}$/);

const changeSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('person'),
    email: emailSchema,
    name: z
      .string()
      .trim()
      .min(1)
      .max(200)
      .regex(/^\P{Cc}+$/u),
  }),
  z.strictObject({ kind: z.literal('role'), email: emailSchema, role: z.enum(ROLES) }),
  z.strictObject({ kind: z.literal('role-end'), email: emailSchema, role: z.enum(ROLES) }),
  z.strictObject({
    kind: z.literal('key'),
    email: emailSchema,
    public_key: z.string().max(4096),
    /** The key's own signature over possessionText. */
    proof: z.string().max(16_384),
  }),
  z.strictObject({
    kind: z.literal('key-end'),
    email: emailSchema,
    fingerprint: z.string().regex(/^SHA256:[A-Za-z0-9+/]{43}$/),
    reason: z.enum(['replaced', 'left', 'compromised']),
  }),
  /** Officers have seen a row that counts for nothing. It stays a finding, and is told apart from new ones. */
  z.strictObject({
    kind: z.literal('acknowledge'),
    subject: z.enum(['act', 'decision']),
    /** The act's sequence, or the decision's id. */
    id: z.string().regex(/^[0-9a-f-]{1,36}$/),
    payload_sha256: hashSchema,
    reason: z
      .string()
      .trim()
      .min(1)
      .max(500)
      .regex(/^\P{Cc}+$/u),
  }),
]);
export type PersonChange = z.infer<typeof changeSchema>;

export const actSchema = z.strictObject({
  format: z.enum([FIRST_ACT_FORMAT, ACT_FORMAT]),
  installation_id: z.uuid(),
  incarnation: z.int().positive(),
  sequence: z.int().positive(),
  previous_act_sha256: hashSchema.nullable(),
  time: instantSchema,
  effective_at: instantSchema,
  changes: z.array(changeSchema).min(1).max(1000),
});
export type PersonAct = z.infer<typeof actSchema>;

/** Reads an act's text for its time and the keys that it brings, by fingerprint; null for what is no act. */
export function parseActText(text: string): { time: string; keys: [fingerprint: string, email: string][] } | null {
  try {
    const { time, changes } = actSchema.parse(JSON.parse(text));
    const keys = changes.flatMap((change): [string, string][] =>
      change.kind === 'key' ? [[parseSshPublicKey(change.public_key).fingerprint, change.email]] : [],
    );
    return { time, keys };
  } catch {
    return null; // not JSON, of another shape or with a malformed key: replaying names what is wrong
  }
}

/** What a key signs to prove that its person holds it, for one installation. */
export function possessionText(installationId: string, email: string, fingerprint: string): string {
  return canonicalJson({ format: POSSESSION_FORMAT, installation_id: installationId, email, fingerprint });
}

/** Whether an act may follow one of another format: never back to the first. */
export function isFormatAfter(act: PersonAct, after: PersonAct): boolean {
  return act.format === ACT_FORMAT || after.format === FIRST_ACT_FORMAT;
}

/** Whether the changes are some that the act's format knows. */
export function isOfItsFormat({ format, changes }: PersonAct): boolean {
  return format === ACT_FORMAT || changes.every((change) => change.kind !== 'acknowledge');
}

/** Whether a change adds authority; only such changes wait. */
export function isAddition({ kind }: PersonChange): boolean {
  return kind === 'person' || kind === 'role' || kind === 'key';
}

/** Whether every key of an act carries its own signature. Malformed keys do not. */
export function isPossessionProved({ format, installation_id, changes }: PersonAct): boolean {
  return changes.every((change) => {
    if (change.kind !== 'key') return true;
    try {
      const key = parseSshPublicKey(change.public_key);
      if (key.text !== change.public_key) return false;
      const text =
        format === ACT_FORMAT
          ? possessionText(installation_id, change.email, key.fingerprint)
          : canonicalJson({ format: FIRST_POSSESSION_FORMAT, email: change.email, fingerprint: key.fingerprint });
      const check = checkSshsig(change.proof, NAMESPACES.person, Buffer.from(text, 'utf8'));
      return check.valid && check.publicKey.fingerprint === key.fingerprint;
    } catch {
      return false; // a key that cannot be read proves nothing
    }
  });
}
