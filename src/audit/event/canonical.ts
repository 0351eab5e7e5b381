/**
 * audit-event/v1: the bytes of an event that its leaf is the hash of (docs/spec/audit-event-v1.md). Every field is an
 * int32 big-endian length and its bytes, -1 and nothing for NULL: exactly how PostgreSQL sends a field in COPY ...
 * BINARY, so the three runs of fields below are hashed as they arrive, without building objects.
 */
import { type Digest, digestBytes, KeyedMessage, LEAF, Message } from '../tree/hash.ts';

const ENTRY_PREFIX = Buffer.from('auditkeep-event/v1\n', 'utf8');
const ACTOR_PREFIX = Buffer.from('auditkeep-event/v1/actor\n', 'utf8');
const PAYLOAD_PREFIX = Buffer.from('auditkeep-event/v1/payload\n', 'utf8');
const NULL_FIELD = Buffer.from([0xff, 0xff, 0xff, 0xff]);
const DIGEST_LENGTH = Buffer.from([0, 0, 0, 32]);

/** The fields outside both groups, in the order of the entry. */
export const BARE_COLUMNS = [
  'id',
  'event_timestamp',
  'event_type',
  'event_category',
  'event_action',
  'request_id',
  'correlation_id',
  'resource_type',
  'security_classification',
  'data_sensitivity',
  'result',
  'server_name',
  'service_name',
  'version',
] as const;

/** Who acted: personal data, in the leaf only through a commitment. */
export const ACTOR_COLUMNS = [
  'user_id',
  'user_email',
  'user_roles',
  'session_id',
  'ip_address',
  'user_agent',
  'actor_envelope',
] as const;

/** What was acted on and how: may be personal data, in the leaf only through a commitment. */
export const PAYLOAD_COLUMNS = [
  'resource_id',
  'resource_path',
  'old_values',
  'new_values',
  'additional_data',
  'error_message',
  'payload_envelope',
] as const;

/** The two groups of columns that enter a leaf through a commitment and can be erased. */
export type EventGroup = 'actor' | 'payload';

/** The framed fields of one event, as PostgreSQL sends them. A NULL salt is null. */
export interface EventFields {
  readonly bare: Uint8Array;
  readonly actorSalt: Uint8Array | null;
  readonly actor: Uint8Array;
  readonly payloadSalt: Uint8Array | null;
  readonly payload: Uint8Array;
}

/** A group's commitment, or null for a group born empty, without a salt. */
export interface Commitments {
  readonly actor: Digest | null;
  readonly payload: Digest | null;
}

/** Frames values as the entry does: int32 big-endian length and bytes; null is the length -1 alone. */
export function frameFields(values: readonly (Uint8Array | null)[]): Buffer {
  return Buffer.concat(
    values.flatMap((value) => {
      if (value === null) return [NULL_FIELD];
      const length = Buffer.alloc(4);
      length.writeInt32BE(value.length);
      return [length, value];
    }),
  );
}

/** What the messages begin with whose hashes are a leaf and, after the first block of an HMAC, the commitments. */
export const MESSAGE_STARTS = {
  leaf: Buffer.concat([LEAF, ENTRY_PREFIX]),
  actor: ACTOR_PREFIX,
  payload: PAYLOAD_PREFIX,
} as const;

const groupMessages = { actor: new KeyedMessage(ACTOR_PREFIX), payload: new KeyedMessage(PAYLOAD_PREFIX) } as const;
const entryMessage = new Message(MESSAGE_STARTS.leaf);

/**
 * Begins the message whose hash is a group's commitment under its salt, salt[from, to): the group's framed columns are
 * still to be added. One at a time: the next call takes it away.
 */
export function commitmentMessage(group: EventGroup, salt: Uint8Array, from = 0, to = salt.length): KeyedMessage {
  return groupMessages[group].restart(salt, from, to);
}

/** Begins the message whose hash is a leaf: framed bare fields and both commitments are still to be added. */
export function leafMessage(): Message {
  return entryMessage.restart();
}

/** Adds a commitment to a leaf's message; null for a group born empty. */
export function addCommitment(message: Message, commitment: string | null): Message {
  return commitment === null ? message.add(NULL_FIELD) : message.add(DIGEST_LENGTH).addDigest(commitment);
}

/** HMAC-SHA-256 under the group's salt over its framed columns; null where the salt is NULL. */
export function commitGroup(group: EventGroup, salt: Uint8Array | null, framed: Uint8Array): Digest | null {
  return salt === null ? null : digestBytes(commitmentMessage(group, salt).add(framed).hash());
}

/** Bytes of a salt. */
export const SALT_BYTES = 16;

/** Whether a group has a salt that is none, or values and no salt: then its commitment is absent, and vouches for none of them. */
export function breaksSaltRule(salt: Uint8Array | null, framed: Uint8Array): boolean {
  // Of NULLs alone every byte is ff; the length of a value begins with another one.
  return salt === null ? framed.some((byte) => byte !== 0xff) : salt.length !== SALT_BYTES;
}

/** Both commitments of an event. */
export function commitEvent(event: EventFields): Commitments {
  return {
    actor: commitGroup('actor', event.actorSalt, event.actor),
    payload: commitGroup('payload', event.payloadSalt, event.payload),
  };
}

/** The entry: prefix, framed bare fields, both framed commitments. */
export function eventEntry(bare: Uint8Array, { actor, payload }: Commitments): Buffer {
  return Buffer.concat([ENTRY_PREFIX, bare, ...framedDigest(actor), ...framedDigest(payload)]);
}

/** The leaf of an event whose commitments are known: SHA-256(0x00 || entry). */
export function eventLeaf(bare: Uint8Array, { actor, payload }: Commitments): Digest {
  const message = leafMessage().add(bare);
  for (const part of [...framedDigest(actor), ...framedDigest(payload)]) message.add(part);
  return digestBytes(message.hash());
}

/** A commitment as the entry has it. */
export function framedDigest(digest: Digest | null): Uint8Array[] {
  return digest === null ? [NULL_FIELD] : [DIGEST_LENGTH, digest];
}
