/**
 * Compares the events with the links without joining them: per slice of time, the multisets of (id, time, transaction,
 * leaf, commitments) on both sides by count and by a sum of keyed hashes. The key is drawn for the run, so nobody can prepare rows whose sums
 * agree. Only slices that differ are joined, to name rows. Memory is one sum per slice.
 */
import { randomBytes } from 'node:crypto';
import { commitEvent, eventLeaf } from './canonical.ts';
import type { EventRow } from './event-source.ts';
import { DIGEST_BYTES, sha256 } from './hash.ts';
import type { LinkRow } from './link-source.ts';

const LANES = 8;
/** The high word of int64 microseconds, without its lowest 7 bits: a slice is 2^39 us, about 6.4 days. */
const SLICE_SHIFT = 7;

type Side = 'event' | 'link';

/** What an event and its link say alike. Only the leaf is proven by the chain; the rest must fit it. */
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

const ABSENT = Buffer.alloc(DIGEST_BYTES);
const txidBytes = Buffer.alloc(8);

/** What one thread has summed up; survives a structured clone. */
export interface PartialSums {
  readonly slices: ReadonlyMap<number, Int32Array>;
  readonly suspect: ReadonlySet<number>;
}

export class EventSums {
  /** Parts of one run share it. */
  readonly key: Uint8Array;
  readonly #slices = new Map<number, Int32Array>();
  readonly #suspect = new Set<number>();

  constructor(key: Uint8Array = randomBytes(32)) {
    this.key = key;
  }

  /** Adds one event or link. */
  add(side: Side, { id, timestamp, txid, leaf, actor, payload }: SummedEvent): void {
    const slice = this.#slice(sliceOf(timestamp));
    txidBytes.writeBigInt64BE(txid);
    const digest = sha256(this.key, id, timestamp, txidBytes, leaf, actor ?? ABSENT, payload ?? ABSENT);
    const sign = side === 'event' ? 1 : -1;
    // Lane-wise addition modulo 2^32 of a secret function of each element; the last lane counts.
    for (let lane = 0; lane < LANES; lane += 1) {
      slice[lane] = ((slice[lane] ?? 0) + sign * digest.readInt32BE(lane * 4)) | 0;
    }
    slice[LANES] = (slice[LANES] ?? 0) + sign;
  }

  /** Has a slice joined whatever its sums say. */
  suspect(timestamp: Buffer): void {
    this.#slice(sliceOf(timestamp));
    this.#suspect.add(sliceOf(timestamp));
  }

  /** Everything summed up so far. */
  get parts(): PartialSums {
    return { slices: this.#slices, suspect: this.#suspect };
  }

  /** Adds what another thread has summed up under the same key. */
  merge({ slices, suspect }: PartialSums): void {
    for (const [at, part] of slices) {
      const slice = this.#slice(at);
      for (const [lane, value] of part.entries()) slice[lane] = ((slice[lane] ?? 0) + value) | 0;
    }
    for (const at of suspect) this.#suspect.add(at);
  }

  /** Slices that differ, as ranges [from, to) of microseconds since 2000-01-01 UTC, neighbours joined. */
  differing(): { from: bigint; to: bigint }[] {
    const differing = [...this.#slices]
      .filter(([at, sums]) => this.#suspect.has(at) || sums.some((lane) => lane !== 0))
      .map(([at]) => at)
      .sort((a, b) => a - b);
    const ranges: { from: bigint; to: bigint }[] = [];
    for (const at of differing) {
      const [from, to] = [startOf(at), startOf(at + 1)];
      const last = ranges.at(-1);
      if (last?.to === from) last.to = to;
      else ranges.push({ from, to });
    }
    return ranges;
  }

  #slice(at: number): Int32Array {
    const known = this.#slices.get(at);
    if (known !== undefined) return known;
    const fresh = new Int32Array(LANES + 1);
    this.#slices.set(at, fresh);
    return fresh;
  }
}

function sliceOf(timestamp: Buffer): number {
  return timestamp.readInt32BE(0) >> SLICE_SHIFT;
}

function startOf(slice: number): bigint {
  return BigInt(slice) << BigInt(32 + SLICE_SHIFT);
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
