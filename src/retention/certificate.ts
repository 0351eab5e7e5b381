/** A certificate of destruction: canonical JSON signed with the log's key (docs/spec/certificate-v1.md). Pure. */
import { type KeyObject, sign, verify } from 'node:crypto';
import { z } from 'zod';
import { canonicalJson } from '../canonical-json.ts';

const FORMAT = 'auditkeep-certificate/v1';
/** Keeps a signature of the log's key over a certificate from being one over anything else. */
const CONTEXT = Buffer.from(`${FORMAT}\n`, 'utf8');

const hashSchema = z.string().regex(/^[0-9a-f]{64}$/);
const instantSchema = z.string().regex(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/);

const certificateSchema = z.strictObject({
  format: z.literal(FORMAT),
  certificate_id: z.uuid(),
  installation_id: z.uuid(),
  /** The name of the log whose key signs. */
  origin: z.string().min(1),
  /** What was destroyed. */
  unit: z.strictObject({
    id: z.int().positive(),
    table: z.string(),
    category: z.string().nullable(),
    partition: z.string(),
    from: instantSchema.nullable(),
    to: instantSchema,
    generation: z.int().positive(),
    rows: z.int().min(0),
    /** SHA-256 over what its rows were when it was sealed. */
    fingerprint: hashSchema,
    fingerprint_method: z.string(),
  }),
  plan: z.strictObject({ id: z.uuid(), hash: hashSchema }),
  /** Why it was due. */
  policy: z.strictObject({ version: z.int(), sha256: hashSchema, whole: z.string(), citation: z.string() }),
  method: z.literal('drop-table'),
  verification: z.string(),
  /** What requester and approver signed, with their SSH signatures. */
  decisions: z.array(z.strictObject({ payload: z.string(), signature: z.string() })).length(2),
  /** Places in the chain, [from, to); empty where the table is not the audit log. */
  seqs: z.array(z.tuple([z.int().min(0), z.int().positive()])),
  /** RFC 6962 root over the destroyed events' leaves, in the order of seqs; null where there are none. */
  merkle_root: hashSchema.nullable(),
  purged_at: instantSchema,
  /** When the last backup that holds it is gone; null: the installation does not say how long backups are kept. */
  backups_age_out_at: instantSchema.nullable(),
});
export type Certificate = z.infer<typeof certificateSchema>;

/** The canonical text of a certificate. */
export function certificateText(facts: Omit<Certificate, 'format' | 'method'>): string {
  return canonicalJson({ format: FORMAT, method: 'drop-table', ...facts });
}

/** Reads a certificate; null unless it is canonical and of exactly these fields. */
export function parseCertificate(text: string): Certificate | null {
  try {
    const certificate = certificateSchema.parse(JSON.parse(text));
    return canonicalJson(certificate) === text ? certificate : null;
  } catch {
    return null; // not JSON or of another shape
  }
}

/** Ed25519 over the format's name, a line end and the text; base64. */
export function signCertificate(text: string, key: KeyObject): string {
  return sign(null, Buffer.concat([CONTEXT, Buffer.from(text, 'utf8')]), key).toString('base64');
}

/** Whether the log's key signed this text. Never throws. */
export function isCertificateSigned(text: string, signature: string, key: KeyObject): boolean {
  try {
    return verify(null, Buffer.concat([CONTEXT, Buffer.from(text, 'utf8')]), key, Buffer.from(signature, 'base64'));
  } catch {
    return false; // a key of another type
  }
}
