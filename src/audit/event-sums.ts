/**
 * Compares the events with the links without joining them: per slice of time, the multisets of (id, time, leaf) on both
 * sides by count and by a sum of keyed hashes. The key is drawn for the run, so nobody can prepare rows whose sums
 * agree. Only slices that differ are joined, to name rows. Memory is one sum per slice.
 */
import { hash, randomBytes } from 'node:crypto';

const LANES = 8;
/** The high word of int64 microseconds, without its lowest 7 bits: a slice is 2^39 us, about 6.4 days. */
const SLICE_SHIFT = 7;

type Side = 'event' | 'link';

export class EventSums {
  readonly #key = randomBytes(32);
  readonly #slices = new Map<number, Int32Array>();
  readonly #suspect = new Set<number>();

  /** Adds one event or link: 16 bytes of id, 8 bytes of time, 32 bytes of leaf. */
  add(side: Side, id: Buffer, timestamp: Buffer, leaf: Buffer): void {
    const slice = this.#slice(timestamp);
    const digest = hash('sha256', Buffer.concat([this.#key, id, timestamp, leaf]), 'buffer');
    const sign = side === 'event' ? 1 : -1;
    // Lane-wise addition modulo 2^32 of a secret function of each element; the last lane counts.
    for (let lane = 0; lane < LANES; lane += 1) {
      slice[lane] = ((slice[lane] ?? 0) + sign * digest.readInt32BE(lane * 4)) | 0;
    }
    slice[LANES] = (slice[LANES] ?? 0) + sign;
  }

  /** Has a slice joined whatever its sums say. */
  suspect(timestamp: Buffer): void {
    this.#slice(timestamp);
    this.#suspect.add(sliceOf(timestamp));
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

  #slice(timestamp: Buffer): Int32Array {
    const at = sliceOf(timestamp);
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
