/**
 * Leaves straight from the bytes of a COPY ... BINARY: the fields are hashed where they lie, without an object a row or
 * a buffer a field. Gives what commitEvent() and eventLeaf() give (canonical.ts), as a property test requires.
 */

import type { Tuple } from '../copy/tuples.ts';
import {
  addCommitment,
  commitmentMessage,
  type EventFields,
  type EventGroup,
  leafMessage,
  SALT_BYTES,
} from './canonical.ts';
import { ACTOR_SALT, PAYLOAD_SALT, TXID } from './event-source.ts';

/** Digests as latin1 strings of 32 characters, as crypto.hash gives them. */
export interface EventHashes {
  readonly leaf: string;
  /** Null for a group without a salt. */
  readonly actor: string | null;
  readonly payload: string | null;
}

/** The hashes of a tuple of eventTuples. */
export function hashTuple(tuple: Tuple): EventHashes {
  const actor = commit('actor', tuple, ACTOR_SALT, PAYLOAD_SALT);
  const payload = commit('payload', tuple, PAYLOAD_SALT, TXID);
  const message = leafMessage().add(tuple.data, tuple.framedStart(0), tuple.end(ACTOR_SALT - 1));
  return { leaf: addCommitment(addCommitment(message, actor), payload).hash(), actor, payload };
}

/** The hashes of a row. */
export function hashEvent({ bare, actorSalt, actor, payloadSalt, payload }: EventFields): EventHashes {
  const of = (group: EventGroup, salt: Uint8Array | null, framed: Uint8Array) =>
    salt === null ? null : commitmentMessage(group, salt).add(framed).hash();
  const hashes = { actor: of('actor', actorSalt, actor), payload: of('payload', payloadSalt, payload) };
  const message = leafMessage().add(bare);
  return { leaf: addCommitment(addCommitment(message, hashes.actor), hashes.payload).hash(), ...hashes };
}

/** Whether a group breaks the rule of salts (breaksSaltRule, canonical.ts): nobody but the table's owner can write such a row. */
export function hasMisfitSalt(tuple: Tuple): boolean {
  return isMisfit(tuple, ACTOR_SALT, PAYLOAD_SALT) || isMisfit(tuple, PAYLOAD_SALT, TXID);
}

function isMisfit(tuple: Tuple, salt: number, until: number): boolean {
  if (!tuple.isNull(salt)) return tuple.end(salt) - tuple.start(salt) !== SALT_BYTES;
  for (let field = salt + 1; field < until; field += 1) if (!tuple.isNull(field)) return true;
  return false;
}

/** @param until the field after the group's last */
function commit(group: EventGroup, tuple: Tuple, salt: number, until: number): string | null {
  if (tuple.isNull(salt)) return null;
  return commitmentMessage(group, tuple.data, tuple.start(salt), tuple.end(salt))
    .add(tuple.data, tuple.framedStart(salt + 1), tuple.end(until - 1))
    .hash();
}
