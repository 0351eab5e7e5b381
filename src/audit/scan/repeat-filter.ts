/**
 * Ids that may have come before, of a stream of any length: a Bloom filter (two probes). Every id that repeats is kept,
 * with a few that do not, which are then looked up; so nothing has to sort or group a billion ids to find that none
 * repeats. Pure.
 */
import { randomBytes } from 'node:crypto';

const ID_BYTES = 16;
const [FEWEST_BITS, MOST_BITS] = [1 << 16, 2 ** 29];
/** Bits an id: about one in a thousand is kept for nothing. */
const BITS_EACH = 32;
/** Ids that are kept; where more seem to repeat, the filter is full and says so. */
const MOST_KEPT = 1_000_000;

export class RepeatFilter {
  readonly #bits: Uint32Array;
  readonly #mask: number;
  /** Secret, so that nobody can choose ids that meet. */
  readonly #keys = new Int32Array(new Uint8Array(randomBytes(8 * 4)).buffer);
  readonly #kept: Buffer[] = [];
  #overflowed = false;

  /** @param expected how many ids will come, about */
  constructor(expected: number) {
    let bits = FEWEST_BITS;
    while (bits < expected * BITS_EACH && bits < MOST_BITS) bits *= 2;
    this.#bits = new Uint32Array(bits / 32);
    this.#mask = bits - 1;
  }

  /** Takes the 16 bytes of an id from a place on. */
  add(bytes: DataView, at: number): void {
    const [first, second] = [this.#probe(bytes, at, 0), this.#probe(bytes, at, 4)];
    const known = this.#set(first);
    if (!this.#set(second) || !known) return;
    if (this.#kept.length < MOST_KEPT) {
      this.#kept.push(Buffer.from(new Uint8Array(bytes.buffer, bytes.byteOffset + at, ID_BYTES)));
    } else this.#overflowed = true;
  }

  /** Every id that repeats, and some that do not; null when they are too many to be kept. */
  get repeated(): readonly Uint8Array[] | null {
    return this.#overflowed ? null : this.#kept;
  }

  #probe(bytes: DataView, at: number, seed: number): number {
    let hash = 0;
    for (let word = 0; word < 4; word += 1) {
      hash = Math.imul(hash ^ bytes.getInt32(at + 4 * word, true) ^ (this.#keys[seed + word] ?? 0), 0x9e3779b1);
      hash ^= hash >>> 15;
    }
    return hash & this.#mask;
  }

  /** Sets a bit; whether it was set. */
  #set(bit: number): boolean {
    const [word, flag] = [bit >>> 5, 1 << (bit & 31)];
    const before = this.#bits[word] ?? 0;
    this.#bits[word] = before | flag;
    return (before & flag) !== 0;
  }
}
