/**
 * Leaves and commitments of the events of a slab, hashed four at a time (sha-lanes.ts). Gives what hashTuple() gives
 * (event-digest.ts), which takes the events that are too long for it.
 *
 * Of each event the memory holds the messages of both commitments' inner hashes and of the leaf, one after the other,
 * and those of the outer hashes in a place of their own; each hash writes its digest into the message that needs it.
 */

import type { Tuple } from '../copy/tuples.ts';
import { framedDigest, MESSAGE_STARTS, SALT_BYTES } from '../event/canonical.ts';
import { hashTuple } from '../event/event-digest.ts';
import { ACTOR_SALT, PAYLOAD_SALT, TXID } from '../event/event-source.ts';
import { BLOCK_BYTES, MOST_BLOCKS, type ShaLanes, WORK } from '../lanes/sha-lanes.ts';
import { DIGEST_BYTES } from '../tree/hash.ts';
import type { EventSums } from './event-sums.ts';

/** Events whose messages lie in the memory at once. */
const ROWS = 96;
/** Of an outer message: the first block of the HMAC, then the inner digest and the padding. */
const OUTER_BYTES = 2 * BLOCK_BYTES;

/** Where what stands for all events lies: both commitments framed, as they are when they are there and when not. */
const FRAMES = [true, false].flatMap((actor) =>
  [true, false].map((payload) =>
    Buffer.concat([actor, payload].flatMap((there) => framedDigest(there ? Buffer.alloc(DIGEST_BYTES) : null))),
  ),
);
const FIXED_BYTES = 96;
const FIXED = {
  leaf: WORK.events.from,
  actor: WORK.events.from + FIXED_BYTES,
  payload: WORK.events.from + 2 * FIXED_BYTES,
} as const;
const FRAMES_AT = WORK.events.from + 3 * FIXED_BYTES;
const OUTERS_AT = Math.ceil((FRAMES_AT + FRAMES.length * FIXED_BYTES) / BLOCK_BYTES) * BLOCK_BYTES;
const MESSAGES_AT = OUTERS_AT + (2 * ROWS + 1) * OUTER_BYTES;
const FRAME_BYTES = 4;
/** Bytes of the fields of one event that is hashed here, so that none of its messages has too many blocks. */
const MOST_BYTES = (MOST_BLOCKS - 1) * BLOCK_BYTES - FIXED_BYTES * 2;

/** What is noted of a row: where its parts lie, where its commitments go or NONE, its leaf's message and blocks. */
const [ID, TIME, TRANSACTION, ACTOR, PAYLOAD, LEAF, BLOCKS, PLACES] = [0, 1, 2, 3, 4, 5, 6, 8];
const NONE = 0;

type Group = 'actor' | 'payload';

export class EventLanes {
  readonly #lanes: ShaLanes;
  readonly #sums: EventSums;
  #rows = 0;
  /** Where the next message goes. */
  #next = MESSAGES_AT;
  readonly #places = new Int32Array(ROWS * PLACES);

  constructor(lanes: ShaLanes, sums: EventSums) {
    this.#lanes = lanes;
    this.#sums = sums;
    const { memory, run } = lanes;
    for (const group of ['leaf', 'actor', 'payload'] as const) memory.set(MESSAGE_STARTS[group], FIXED[group]);
    for (const [at, frame] of FRAMES.entries()) memory.set(frame, FRAMES_AT + at * FIXED_BYTES);
    for (let outer = 0; outer < 2 * ROWS; outer += 1) {
      run.pad(OUTERS_AT + outer * OUTER_BYTES, BLOCK_BYTES + DIGEST_BYTES);
    }
  }

  /** Takes an event whose tuple lies in the memory of the lanes; it is summed up by flush() at the latest. */
  add(tuple: Tuple): void {
    if (!fits(tuple)) {
      this.#sums.addEvent(tuple, hashTuple(tuple));
      return;
    }
    const row = this.#rows;
    const bare = tuple.framedStart(0);
    const length = tuple.end(ACTOR_SALT - 1) - bare;
    const { copy, pad } = this.#lanes.run;
    const leaf = this.#next;
    const frames = leaf + MESSAGE_STARTS.leaf.length + length;
    const [noActor, noPayload] = [tuple.isNull(ACTOR_SALT), tuple.isNull(PAYLOAD_SALT)];
    const frame = (noActor ? 2 : 0) + (noPayload ? 1 : 0);
    copy(leaf, FIXED.leaf, MESSAGE_STARTS.leaf.length);
    copy(leaf + MESSAGE_STARTS.leaf.length, bare, length);
    const frameBytes = FRAMES[frame]?.length ?? 0;
    copy(frames, FRAMES_AT + frame * FIXED_BYTES, frameBytes);
    const blocks = pad(leaf, frames - leaf + frameBytes);
    this.#next += blocks * BLOCK_BYTES;
    if (!noActor) this.#addInner('actor', tuple, ACTOR_SALT, PAYLOAD_SALT);
    if (!noPayload) this.#addInner('payload', tuple, PAYLOAD_SALT, TXID);
    this.#places[row * PLACES + ID] = tuple.start(0);
    this.#places[row * PLACES + TIME] = tuple.start(1);
    this.#places[row * PLACES + TRANSACTION] = tuple.start(TXID);
    this.#places[row * PLACES + ACTOR] = noActor ? NONE : frames + FRAME_BYTES;
    this.#places[row * PLACES + PAYLOAD] = noPayload ? NONE : frames + frameBytes - DIGEST_BYTES;
    this.#places[row * PLACES + LEAF] = leaf;
    this.#places[row * PLACES + BLOCKS] = blocks;
    this.#rows += 1;
    if (this.#rows === ROWS || this.#next + 4 * MOST_BLOCKS * BLOCK_BYTES > WORK.events.to) this.flush();
  }

  /** Hashes and sums up what was added. Before the memory is loaded with anything else. */
  flush(): void {
    const [lanes, places, rows] = [this.#lanes, this.#places, this.#rows];
    lanes.flush();
    for (let row = 0; row < rows; row += 1) {
      const [actor, payload] = [places[row * PLACES + ACTOR] ?? NONE, places[row * PLACES + PAYLOAD] ?? NONE];
      if (actor !== NONE) lanes.add(outerAt(row, 0), 2, actor);
      if (payload !== NONE) lanes.add(outerAt(row, 1), 2, payload);
    }
    lanes.flush();
    for (let row = 0; row < rows; row += 1) {
      lanes.add(places[row * PLACES + LEAF] ?? 0, places[row * PLACES + BLOCKS] ?? 0, leafAt(row));
    }
    lanes.flush();
    for (let row = 0; row < rows; row += 1) this.#sum(row);
    this.#rows = 0;
    this.#next = MESSAGES_AT;
  }

  #sum(row: number): void {
    const [{ memory, view }, places] = [this.#lanes, this.#places];
    const [actor, payload] = [places[row * PLACES + ACTOR] ?? NONE, places[row * PLACES + PAYLOAD] ?? NONE];
    this.#sums.addPlaced(memory, view, {
      id: places[row * PLACES + ID] ?? 0,
      time: places[row * PLACES + TIME] ?? 0,
      txid: places[row * PLACES + TRANSACTION] ?? 0,
      leaf: leafAt(row),
      actor: actor === NONE ? null : actor,
      payload: payload === NONE ? null : payload,
    });
  }

  /** @param until the field after the group's last */
  #addInner(group: Group, tuple: Tuple, salt: number, until: number): void {
    const { copy, key, pad } = this.#lanes.run;
    const [at, outer] = [this.#next, outerAt(this.#rows, group === 'actor' ? 0 : 1)];
    const start = MESSAGE_STARTS[group].length;
    const from = tuple.framedStart(salt + 1);
    const length = tuple.end(until - 1) - from;
    key(tuple.start(salt), at, outer);
    copy(at + BLOCK_BYTES, FIXED[group], start);
    copy(at + BLOCK_BYTES + start, from, length);
    const blocks = pad(at, BLOCK_BYTES + start + length);
    this.#next += blocks * BLOCK_BYTES;
    this.#lanes.add(at, blocks, outer + BLOCK_BYTES);
  }
}

function outerAt(row: number, group: number): number {
  return OUTERS_AT + (2 * row + group) * OUTER_BYTES;
}

/** Where the digest of a leaf goes: into an outer message that is hashed by then. */
function leafAt(row: number): number {
  return outerAt(row, 0) + BLOCK_BYTES;
}

/** Whether an event is hashed in lanes: it is short enough and its fields have the lengths that the table's types and CHECKs give them. */
export function fits(tuple: Tuple): boolean {
  const isOf = (field: number, bytes: number) => tuple.end(field) - tuple.start(field) === bytes;
  const isSalt = (field: number) => tuple.isNull(field) || isOf(field, SALT_BYTES);
  return (
    tuple.end(ACTOR_SALT - 1) - tuple.start(0) <= MOST_BYTES &&
    tuple.end(PAYLOAD_SALT - 1) - tuple.end(ACTOR_SALT) <= MOST_BYTES &&
    tuple.end(TXID - 1) - tuple.end(PAYLOAD_SALT) <= MOST_BYTES &&
    isSalt(ACTOR_SALT) &&
    isSalt(PAYLOAD_SALT) &&
    isOf(0, 16) &&
    isOf(1, 8) &&
    isOf(TXID, 8)
  );
}
