/**
 * What a person signs to decide: RFC 8785 JSON in the namespace report-decision@auditkeep.v1
 * (docs/spec/decision-v1.md). Pure.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { canonicalJson } from '../canonical-json.ts';

const hashSchema = z.string().regex(/^[0-9a-f]{64}$/);

const MEANINGS = [
  'submit',
  'review',
  'reject',
  'recall',
  'approve',
  'archive-distributed',
  'archive-superseded',
  'archive-withdrawn',
] as const;
export type Meaning = (typeof MEANINGS)[number];

/** What the database gives to sign; the signer adds their key and the hash of their comment. */
export const decisionRequestSchema = z.strictObject({
  format: z.literal('auditkeep-decision/v1'),
  installation_id: z.uuid(),
  incarnation: z.int().positive(),
  /** Nonce of the database, used once, for 15 minutes. */
  decision_id: z.uuid(),
  object: z.strictObject({ kind: z.literal('report'), id: z.uuid() }),
  version: z.int().positive(),
  /** H, the hash of the report's model. */
  report_hash: hashSchema,
  /** P0, the hash of the PDF that reviewers open. */
  review_pdf_sha256: hashSchema,
  /** Whether the period still ran when the report was generated. */
  interim: z.boolean(),
  /** E-mail of who generated the version; engine@auditkeep.invalid for the service person. */
  generated_by: z.string(),
  meaning: z.enum(MEANINGS),
  /** E-mail. */
  person: z.string(),
  /** As printed in final.pdf. */
  person_name: z.string().min(1),
  previous_decision_sha256: hashSchema.nullable(),
  time: z.string().regex(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/),
});
export type DecisionRequest = z.infer<typeof decisionRequestSchema>;

const decisionPayloadSchema = decisionRequestSchema.extend({
  key_fingerprint: z.string().regex(/^SHA256:[A-Za-z0-9+/]{43}$/),
  comment_sha256: hashSchema.nullable(),
});
export type DecisionPayload = z.infer<typeof decisionPayloadSchema>;

/** The bytes to sign, as text. */
export function decisionText(request: DecisionRequest, keyFingerprint: string, comment: string | null): string {
  return canonicalJson({ ...request, key_fingerprint: keyFingerprint, comment_sha256: hashComment(comment) });
}

/** Reads signed text; null unless it is a canonical payload of exactly these fields. */
export function parseDecisionText(text: string): DecisionPayload | null {
  try {
    const payload = decisionPayloadSchema.parse(JSON.parse(text));
    return canonicalJson(payload) === text ? payload : null;
  } catch {
    return null; // not JSON or of another shape
  }
}

/** SHA-256 of a comment's UTF-8 bytes, hex; null for no comment. */
export function hashComment(comment: string | null): string | null {
  return comment === null ? null : createHash('sha256').update(comment, 'utf8').digest('hex');
}
