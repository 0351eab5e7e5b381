/**
 * Compares the events with the links without joining them: per slice of time, the multisets of (id, time, transaction,
 * leaf, commitments) on both sides by count and by a sum of keyed hashes. The key is drawn for the run, so nobody can prepare rows whose sums
 * agree. Only slices that differ are joined, to name rows. Memory is one sum per slice.
 *
 * Events of transactions that the sealer may not have come to are a slice of their own on both sides, whatever their
 * time: one that waits does not make millions of its time differ.
 */
import { randomBytes } from 'node:crypto';
import type { Tuple } from '../copy/tuples.ts';
import { commitEvent, eventLeaf } from '../event/canonical.ts';
import type { EventHashes } from '../event/event-digest.ts';
import { type EventRow, TXID } from '../event/event-source.ts';
import { LINK, type LinkRow } from '../links/link-source.ts';
import { DIGEST_BYTES } from '../tree/hash.ts';
import { ELEMENT_BYTES, FixedMac, MAC_WORDS } from './fixed-mac.ts';
import { rangesOf, sliceAt, type TimeRange } from './time-slice.ts';

const WORD_BYTES = 4;
const DIGEST_WORDS = DIGEST_BYTES / WORD_BYTES;
/** Elements that are hashed at once. */
const BATCH = 2048;

/** Where an element's parts begin: what an event and its link say alike. Only the leaf is proven by the chain. */
const PLACE = { id: 0, time: 16, txid: 24, leaf: 32, actor: 64, payload: 96 } as const;

type Side = 'event' | 'link';

/** What an event and its link say alike. */
export interface SummedEvent {
  /** 16 bytes. */
  readonly id: Buffer;
  /** int64 big-endian microseconds since 2000-01-01 UTC. */
  readonly timestamp: Buffer;
  readonly txid: bigint;
  readonly leaf: Buffer;
  readonly actor: Buffer | null;
  readonly payload: Buffer | null;
}

/** Where the parts of an event begin; null for a commitment that there is not. */
export interface PlacedEvent {
  readonly id: number;
  readonly time: number;
  readonly txid: number;
  readonly leaf: number;
  readonly actor: number | null;
  readonly payload: number | null;
}

const ABSENT = Buffer.alloc(DIGEST_BYTES);
const ABSENT_TEXT = ABSENT.toString('latin1');

/** The slice of young transactions; no time has it. */
const YOUNG = 2 ** 31 - 1;

/** What one thread has summed up; survives a structured clone. */
export interface PartialSums {
  readonly slices: ReadonlyMap<number, Int32Array>;
  readonly suspect: ReadonlySet<number>;
  /** Slices of time that events of young transactions lie in. */
  readonly young: ReadonlySet<number>;
  /** No link of a young transaction has a lower seq; null when there is none. */
  readonly youngSeq: bigint | null;
}

/** Where events and links differ. */
export interface Differing {
  /** [from, to) of microseconds since 2000-01-01 UTC, neighbours joined. */
  readonly ranges: readonly TimeRange[];
  /** Null when young events and links are the same. */
  readonly young: YoungEvents | null;
}

/** Events of transactions from one on, within some ranges of time, and links of those from a seq on. */
export interface YoungEvents {
  readonly since: bigint;
  readonly ranges: readonly TimeRange[];
  readonly seq: bigint | null;
}

export class EventSums {
  /** Parts of one run share both: the key, and the transaction from which on they are young. */
  readonly key: Uint8Array;
  readonly since: bigint;
  readonly #mac: FixedMac;
  readonly #elements = Buffer.alloc(BATCH * ELEMENT_BYTES);
  readonly #words = new Int32Array(this.#elements.buffer, this.#elements.byteOffset, this.#elements.length / 4);
  readonly #slicesOf = new Int32Array(BATCH);
  readonly #signs = new Int32Array(BATCH);
  #waiting = 0;
  readonly #slices = new Map<number, Int32Array>();
  readonly #suspect = new Set<number>();
  readonly #young = new Set<number>();
  #youngSeq: bigint | null = null;
  /** As a double: ids beyond 2^53 are compared a little wrongly, on both sides alike. */
  readonly #since: number;

  /** @param since transactions from this one on are young */
  constructor(key: Uint8Array = randomBytes(32), since: bigint = 2n ** 63n) {
    this.key = key;
    this.since = since;
    this.#since = Number(since);
    this.#mac = new FixedMac(key);
  }

  /** Adds an event or a link made by hand. */
  add(side: Side, { id, timestamp, txid, leaf, actor, payload }: SummedEvent): void {
    const at = this.#begin(side, sliceAt(timestamp, 0), Number(txid));
    const elements = this.#elements;
    id.copy(elements, at + PLACE.id);
    timestamp.copy(elements, at + PLACE.time);
    elements.writeBigInt64BE(txid, at + PLACE.txid);
    leaf.copy(elements, at + PLACE.leaf);
    elements.set(actor ?? ABSENT, at + PLACE.actor);
    elements.set(payload ?? ABSENT, at + PLACE.payload);
    this.#end();
  }

  /** Adds a tuple of eventTuples. */
  addEvent(tuple: Tuple, { leaf, actor, payload }: EventHashes): void {
    const { data } = tuple;
    const at = this.#begin(
      'event',
      sliceAt(data, tuple.start(1)),
      tuple.isNull(TXID) ? 0 : idAt(data, tuple.start(TXID)),
    );
    this.#copy(tuple, 0, at + PLACE.id, 16);
    this.#copy(tuple, 1, at + PLACE.time, 8);
    this.#copy(tuple, TXID, at + PLACE.txid, 8);
    const elements = this.#elements;
    elements.write(leaf, at + PLACE.leaf, DIGEST_BYTES, 'latin1');
    elements.write(actor ?? ABSENT_TEXT, at + PLACE.actor, DIGEST_BYTES, 'latin1');
    elements.write(payload ?? ABSENT_TEXT, at + PLACE.payload, DIGEST_BYTES, 'latin1');
    this.#end();
  }

  /** Adds a tuple of linkTuples. @param view of the bytes that it lies in */
  addLink(tuple: Tuple, view: DataView): void {
    const time = tuple.start(LINK.time);
    const { data } = tuple;
    const txid = tuple.isNull(LINK.txid) ? 0 : idAt(data, tuple.start(LINK.txid));
    const at = this.#begin('link', sliceAt(data, time), txid) / WORD_BYTES;
    if (txid >= this.#since) this.#sawYoungLink(data.readBigInt64BE(tuple.start(LINK.seq)));
    const field = (number: number, place: number, words: number) => {
      const from = tuple.isNull(number) ? null : tuple.start(number);
      if (from !== null && tuple.end(number) !== from + words * WORD_BYTES) {
        throw new RangeError(`field ${number} is not of ${words * WORD_BYTES} bytes`);
      }
      this.#copyWords(view, from, at + place / WORD_BYTES, words);
    };
    field(LINK.id, PLACE.id, 4);
    field(LINK.time, PLACE.time, 2);
    field(LINK.txid, PLACE.txid, 2);
    field(LINK.leaf, PLACE.leaf, DIGEST_WORDS);
    field(LINK.actor, PLACE.actor, DIGEST_WORDS);
    field(LINK.payload, PLACE.payload, DIGEST_WORDS);
    this.#end();
  }

  /** Adds an event whose parts lie at some places of one memory. */
  addPlaced(memory: Buffer, view: DataView, placed: PlacedEvent): void {
    const at = this.#begin('event', sliceAt(memory, placed.time), idAt(memory, placed.txid)) / WORD_BYTES;
    this.#copyWords(view, placed.id, at + PLACE.id / WORD_BYTES, 4);
    this.#copyWords(view, placed.time, at + PLACE.time / WORD_BYTES, 2);
    this.#copyWords(view, placed.txid, at + PLACE.txid / WORD_BYTES, 2);
    this.#copyWords(view, placed.leaf, at + PLACE.leaf / WORD_BYTES, DIGEST_WORDS);
    this.#copyWords(view, placed.actor, at + PLACE.actor / WORD_BYTES, DIGEST_WORDS);
    this.#copyWords(view, placed.payload, at + PLACE.payload / WORD_BYTES, DIGEST_WORDS);
    this.#end();
  }

  /** Has the slice of a time joined whatever its sums say. */
  suspect(bytes: Buffer, timeAt: number): void {
    this.#slice(sliceAt(bytes, timeAt));
    this.#suspect.add(sliceAt(bytes, timeAt));
  }

  /** Everything summed up so far. */
  get parts(): PartialSums {
    this.#addWaiting();
    return { slices: this.#slices, suspect: this.#suspect, young: this.#young, youngSeq: this.#youngSeq };
  }

  /** Everything summed up since the last call; begins anew. */
  take(): PartialSums {
    const { slices, suspect, young, youngSeq } = this.parts;
    const taken = { slices: new Map(slices), suspect: new Set(suspect), young: new Set(young), youngSeq };
    for (const kept of [this.#slices, this.#suspect, this.#young]) kept.clear();
    this.#youngSeq = null;
    return taken;
  }

  /** Adds what another thread has summed up under the same key. */
  merge({ slices, suspect, young, youngSeq }: PartialSums): void {
    for (const [at, part] of slices) {
      const slice = this.#slice(at);
      for (const [lane, value] of part.entries()) slice[lane] = ((slice[lane] ?? 0) + value) | 0;
    }
    for (const at of suspect) this.#suspect.add(at);
    for (const at of young) this.#young.add(at);
    if (youngSeq !== null) this.#sawYoungLink(youngSeq);
  }

  /** What differs. @param also slices of these times, whatever their sums say */
  differing(also: readonly Buffer[] = []): Differing {
    this.#addWaiting();
    const wanted = new Set(also.map((timestamp) => sliceAt(timestamp, 0)));
    const differing = [...this.#slices]
      .filter(([at, sums]) => this.#suspect.has(at) || sums.some((lane) => lane !== 0))
      .map(([at]) => at);
    const slices = new Set([...differing.filter((at) => at !== YOUNG), ...wanted]);
    const young = { since: this.since, ranges: rangesOf(this.#young), seq: this.#youngSeq };
    return { ranges: rangesOf(slices), young: differing.includes(YOUNG) ? young : null };
  }

  #sawYoungLink(seq: bigint): void {
    if (this.#youngSeq === null || seq < this.#youngSeq) this.#youngSeq = seq;
  }

  /** Room for an element of a slice of time; where it begins. */
  #begin(side: Side, slice: number, txid: number): number {
    const isYoung = txid >= this.#since;
    if (isYoung && side === 'event') this.#young.add(slice);
    this.#slicesOf[this.#waiting] = isYoung ? YOUNG : slice;
    this.#signs[this.#waiting] = side === 'event' ? 1 : -1;
    return this.#waiting * ELEMENT_BYTES;
  }

  /** Words from an address on, zeros for null. A call of copy() for each part would cost more than all of these. */
  #copyWords(view: DataView, from: number | null, to: number, count: number): void {
    const words = this.#words;
    if (from === null) words.fill(0, to, to + count);
    else for (let word = 0; word < count; word += 1) words[to + word] = view.getInt32(from + WORD_BYTES * word, true);
  }

  #end(): void {
    this.#waiting += 1;
    if (this.#waiting === BATCH) this.#addWaiting();
  }

  /** A field of a fixed length that the table's types and CHECKs give it; zeros for NULL. */
  #copy(tuple: Tuple, field: number, to: number, length: number): void {
    if (tuple.isNull(field)) {
      this.#elements.fill(0, to, to + length);
      return;
    }
    const from = tuple.start(field);
    if (tuple.end(field) !== from + length) throw new RangeError(`field ${field} is not of ${length} bytes`);
    tuple.data.copy(this.#elements, to, from, from + length);
  }

  /** Lane-wise addition modulo 2^32 of a secret function of each element; the last lane counts. */
  #addWaiting(): void {
    const macs = this.#mac.compute(this.#elements, this.#waiting);
    for (let at = 0; at < this.#waiting; at += 1) {
      const slice = this.#slice(this.#slicesOf[at] ?? 0);
      const sign = this.#signs[at] ?? 0;
      for (let lane = 0; lane < MAC_WORDS; lane += 1) {
        slice[lane] = ((slice[lane] ?? 0) + sign * (macs[at * MAC_WORDS + lane] ?? 0)) | 0;
      }
      slice[MAC_WORDS] = (slice[MAC_WORDS] ?? 0) + sign;
    }
    this.#waiting = 0;
  }

  #slice(at: number): Int32Array {
    const known = this.#slices.get(at);
    if (known !== undefined) return known;
    const fresh = new Int32Array(MAC_WORDS + 1);
    this.#slices.set(at, fresh);
    return fresh;
  }
}

/** A transaction id, as a double. */
function idAt(bytes: Buffer, at: number): number {
  return bytes.readInt32BE(at) * 2 ** 32 + bytes.readUInt32BE(at + 4);
}

/** An event as its sums have it. */
export function summedEvent(row: EventRow): SummedEvent {
  const commitments = commitEvent(row);
  const { id, timestamp, txid } = row;
  return { id, timestamp, txid, leaf: eventLeaf(row.bare, commitments), ...commitments };
}

/** A link as its sums have it. */
export function summedLink(link: Omit<LinkRow, 'seq' | 'chainHash'>): SummedEvent {
  const { eventId: id, timestamp, txid, leaf, actorCommitment: actor, payloadCommitment: payload } = link;
  return { id, timestamp, txid, leaf, actor, payload };
}
