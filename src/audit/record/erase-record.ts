/**
 * The record of an erasure: what two persons sign and an audit event carries (docs/spec/audit-event-v1.md, section 8).
 * The groups enter it through a Merkle root, so that a record of a million groups is no larger than one of ten.
 */
import { z } from 'zod';
import { canonicalJson } from '../../canonical-json.ts';
import type { EventGroup } from '../event/canonical.ts';
import { type Digest, leafHash } from '../tree/hash.ts';
import { treeHash } from '../tree/merkle.ts';

const ERASURE_FORMAT = 'auditkeep-erasure/v1';
export const ERASURE_EVENT = 'chain.erasure';
/** Tells whether the old versions of the rows are gone from the disk too. */
export const VACUUM_EVENT = 'chain.erasure-vacuum';

/** One group of one event, with its commitment as the chain has it. */
export interface ErasedGroup {
  readonly eventId: string;
  readonly group: EventGroup;
  readonly commitment: Digest;
}

const payloadSchema = z.strictObject({
  format: z.literal(ERASURE_FORMAT),
  installation_id: z.uuid(),
  request_id: z.uuid(),
  groups: z.int().positive(),
  /** RFC 6962 root over erasureLeaf of every group, ordered by its text; hex. */
  root: z.string().regex(/^[0-9a-f]{64}$/),
  requester_key: z.string(),
  approver_key: z.string(),
  time: z.string(),
});
export type ErasurePayload = z.infer<typeof payloadSchema>;

/** The root that the record of these groups carries, in hex. */
export function erasureRoot(groups: readonly ErasedGroup[]): string {
  const lines = groups.map(({ eventId, group, commitment }) => `${eventId}/${group}/${commitment.toString('hex')}`);
  return treeHash(lines.sort().map((line) => leafHash(Buffer.from(line, 'utf8')))).toString('hex');
}

/** The text to sign. */
export function erasureText(facts: Omit<ErasurePayload, 'format'>): string {
  return canonicalJson({ format: ERASURE_FORMAT, ...facts });
}

/** Reads a signed text; null unless it is canonical and of exactly these fields. */
export function parseErasureText(text: string): ErasurePayload | null {
  try {
    const payload = payloadSchema.parse(JSON.parse(text));
    return canonicalJson(payload) === text ? payload : null;
  } catch {
    return null; // not JSON or of another shape
  }
}
