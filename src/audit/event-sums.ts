/**
 * Compares the events with the links without joining them: per slice of time, the multisets of (id, time, leaf) on both
 * sides by count and by a sum of keyed hashes. The key is drawn for the run, so nobody can prepare rows whose sums
 * agree. Only slices that differ are joined, to name rows. Memory is one sum per slice.
 */
import { randomBytes } from 'node:crypto';
import { sha256 } from './hash.ts';

const LANES = 8;
/** The high word of int64 microseconds, without its lowest 7 bits: a slice is 2^39 us, about 6.4 days. */
const SLICE_SHIFT = 7;

type Side = 'event' | 'link';

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

  /** Adds one event or link: 16 bytes of id, 8 bytes of time, 32 bytes of leaf. */
  add(side: Side, id: Buffer, timestamp: Buffer, leaf: Buffer): void {
    const slice = this.#slice(sliceOf(timestamp));
    const digest = sha256(this.key, id, timestamp, leaf);
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
