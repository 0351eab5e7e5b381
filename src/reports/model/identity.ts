/**
 * Who a pseudonym of a report is, and what the model says of it: a salted commitment each, whose Merkle root is in the model, so that
 * one person can be named and proven without the others, and a person who was erased leaves the rest provable. Pure. The format is
 * docs/spec/report-bundle-v1.md, section 9.
 */
import { createHmac } from 'node:crypto';
import { z } from 'zod';
import { type Digest, leafHash } from '../../audit/tree/hash.ts';
import { appendLeaves, EMPTY_FRONTIER, rootOf } from '../../audit/tree/merkle.ts';
import { canonicalJson } from '../../canonical-json.ts';

/** Where identities are: beside the model, and in a full bundle. */
export const IDENTITIES_PART = 'identities.ndjson';
export const SALT_BYTES = 32;
const LABEL = 'auditkeep-identity/v1\n';

const hash = z.string().regex(/^[0-9a-f]{64}$/);
const pseudonym = z.string().regex(/^P-[0-9A-HJKMNP-TV-Z]{16}$/);

export const identitySchema = z.strictObject({
  /** What the pseudonym stands for, as controls read it. */
  value: z.string(),
  /** What the value is; a login is one of the database, and what belongs to nobody that is known is `other`. */
  kind: z.enum(['account', 'address', 'token', 'session', 'grant', 'transaction', 'login', 'other']),
  /** Id of the account that it is, or belongs to. */
  account: z.string().nullable(),
  /** Its user name, or the name that a register or an event had. */
  name: z.string().nullable(),
  email: z.string().nullable(),
});
export type Identity = z.infer<typeof identitySchema>;

/** What the model says: how many pseudonyms there are, and the root over their commitments (RFC 6962). */
export const identitiesModelSchema = z.object({ count: z.int().nonnegative(), root: hash });
export type IdentitiesModel = z.infer<typeof identitiesModelSchema>;

/** A line of a full bundle. Of a person who was erased, or must not be read any more, only the commitment is left. */
export const identityLineSchema = z.union([
  z.strictObject({ pseudonym, commitment: hash, salt: hash, identity: identitySchema }),
  z.strictObject({ pseudonym, commitment: hash, erased: z.literal(true) }),
]);
export type IdentityLine = z.infer<typeof identityLineSchema>;

/** HMAC-SHA256 of the identity's canonical JSON under its salt, in hex. @param salt 32 random bytes */
export function commitmentOf(identity: Identity, salt: Uint8Array): string {
  return createHmac('sha256', salt)
    .update(LABEL + canonicalJson(identity))
    .digest('hex');
}

/** The root over pseudonyms and their commitments, in the order of the pseudonyms. Memory is flat. */
export interface IdentityTree {
  add(entries: readonly Pick<IdentityLine, 'pseudonym' | 'commitment'>[]): void;
  model(): IdentitiesModel;
}

export function openIdentityTree(): IdentityTree {
  let frontier = EMPTY_FRONTIER;
  return {
    add(entries) {
      frontier = appendLeaves(frontier, entries.map(identityLeaf));
    },
    model: () => ({ count: Number(frontier.size), root: rootOf(frontier).toString('hex') }),
  };
}

/** The leaf of a pseudonym: it binds the commitment to it. */
export function identityLeaf({ pseudonym, commitment }: Pick<IdentityLine, 'pseudonym' | 'commitment'>): Digest {
  return leafHash(Buffer.from(canonicalJson({ commitment, pseudonym }), 'utf8'));
}
