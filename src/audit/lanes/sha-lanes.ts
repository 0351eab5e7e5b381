/**
 * SHA-256 of many short messages, four at a time, in memory of its own: a slab is loaded into it, messages are put
 * together beside the slab, and digests are written where the next message needs them. For long messages crypto.hash
 * is faster.
 */
import { createHash, randomBytes } from 'node:crypto';
import type { Slab } from '../copy/slabs.ts';
import { DIGEST_BYTES } from '../tree/hash.ts';
import { RESERVED_BYTES, shaLanesModule } from './sha-lanes-code.ts';

/** Addresses in the memory, in bytes; digests are 32 bytes. */
interface LaneFunctions {
  /** Of four padded messages of equally many blocks, to four places. */
  hash: (...addresses: readonly [...MessagesAt, blocks: number, ...MessagesAt]) => void;
  /** Up to 15 bytes more than the length are written. */
  copy: (to: number, from: number, length: number) => void;
  /** Ends a message of less than 8 KB and gives its blocks; up to 81 bytes after it are written. */
  pad: (at: number, length: number) => number;
  /** The first blocks of an HMAC's messages under a key of 16 bytes. */
  key: (at: number, inner: number, outer: number) => void;
  /** 1 when two digests are equal. */
  same: (a: number, b: number) => number;
}
type MessagesAt = readonly [number, number, number, number];

/** The part of the WebAssembly JavaScript interface that is used here. */
declare const WebAssembly:
  | {
      readonly validate: (bytes: Uint8Array) => boolean;
      readonly Module: new (bytes: Uint8Array) => object;
      readonly Instance: new (module: object) => { readonly exports: LaneExports };
    }
  | undefined;
interface LaneExports extends LaneFunctions {
  readonly memory: { readonly buffer: ArrayBuffer };
}

const PAGE_BYTES = 1 << 16;
const PAGES = 12;
const LANES = 4;
export const BLOCK_BYTES = 64;
/** Longer messages are not for lanes. */
export const MOST_BLOCKS = 16;

/** Where digests of lanes without a message go. */
const NOWHERE = RESERVED_BYTES;
/** What copy() and pad() write beyond, and more. */
const MARGIN_BYTES = 4096;
/** Memory for messages, [from, to), of those who hash events and of those who hash links: both keep what lies there. */
export const WORK = {
  events: { from: NOWHERE + 4 * DIGEST_BYTES, to: 6 * PAGE_BYTES },
  links: { from: 6 * PAGE_BYTES + MARGIN_BYTES, to: 7 * PAGE_BYTES },
} as const;
const SLAB_AT = WORK.links.to + MARGIN_BYTES;
const SLAB_BYTES = PAGES * PAGE_BYTES - SLAB_AT - MARGIN_BYTES;

export class ShaLanes {
  /** All of it. */
  readonly memory: Buffer<ArrayBuffer>;
  readonly view: DataView;
  readonly run: LaneFunctions;
  /** Messages that wait for others of as many blocks: addresses, then where the digests go. */
  readonly #waiting = new Int32Array((MOST_BLOCKS + 1) * 2 * LANES);
  readonly #counts = new Int32Array(MOST_BLOCKS + 1);

  private constructor({ memory, ...run }: LaneExports) {
    this.memory = Buffer.from(memory.buffer);
    this.view = new DataView(memory.buffer);
    this.run = run;
  }

  /** Null where there is no WebAssembly (node --jitless), or none with vectors. @throws RangeError when it hashes wrongly */
  static create(): ShaLanes | null {
    if (typeof WebAssembly === 'undefined') return null;
    const code = shaLanesModule(PAGES);
    if (!WebAssembly.validate(code)) return null;
    const lanes = new ShaLanes(new WebAssembly.Instance(new WebAssembly.Module(code)).exports);
    lanes.#check();
    return lanes;
  }

  /** Whether there is room for a slab. */
  holds(slab: Slab): boolean {
    return slab.length <= SLAB_BYTES;
  }

  /** The slab's bytes, from `from` on, as positions that are addresses; null when it is too large. */
  load(slab: Slab): { readonly bytes: Buffer; readonly from: number } | null {
    if (!this.holds(slab)) return null;
    this.memory.set(slab, SLAB_AT);
    return { bytes: this.memory.subarray(0, SLAB_AT + slab.length), from: SLAB_AT };
  }

  /** Hashes a padded message of at most MOST_BLOCKS, now or with others until flush(). */
  add(at: number, blocks: number, to: number): void {
    const [waiting, count] = [this.#waiting, this.#counts[blocks] ?? 0];
    const first = blocks * 2 * LANES;
    waiting[first + count] = at;
    waiting[first + LANES + count] = to;
    this.#counts[blocks] = (count + 1) & (LANES - 1);
    if (count === LANES - 1) this.#hash(blocks);
  }

  /** Hashes what still waits. */
  flush(): void {
    for (let blocks = 1; blocks <= MOST_BLOCKS; blocks += 1) {
      const first = blocks * 2 * LANES;
      const count = this.#counts[blocks] ?? 0;
      if (count === 0) continue;
      for (let lane = count; lane < LANES; lane += 1) {
        this.#waiting[first + lane] = this.#waiting[first] ?? 0;
        this.#waiting[first + LANES + lane] = NOWHERE + lane * DIGEST_BYTES;
      }
      this.#counts[blocks] = 0;
      this.#hash(blocks);
    }
  }

  #hash(blocks: number): void {
    const [waiting, at] = [this.#waiting, blocks * 2 * LANES];
    const of = (lane: number) => waiting[at + lane] ?? 0;
    this.run.hash(of(0), of(1), of(2), of(3), blocks, of(4), of(5), of(6), of(7));
  }

  /** Hashes messages of every number of blocks, and compares. */
  #check(): void {
    const made = Array.from({ length: 2 * MOST_BLOCKS }, (_, at) => {
      const message = randomBytes(at * (BLOCK_BYTES / 2) + (at % 3) * 20);
      return { message, at: WORK.events.from + at * (MOST_BLOCKS + 2) * BLOCK_BYTES };
    });
    const digests = WORK.events.to - made.length * DIGEST_BYTES;
    for (const [order, { message, at }] of made.entries()) {
      this.memory.set(message, at);
      const blocks = this.run.pad(at, message.length);
      if (blocks <= MOST_BLOCKS) this.add(at, blocks, digests + order * DIGEST_BYTES);
    }
    this.flush();
    for (const [order, { message }] of made.entries()) {
      const at = digests + order * DIGEST_BYTES;
      const expected = createHash('sha256').update(message).digest();
      const short = message.length + 9 <= MOST_BLOCKS * BLOCK_BYTES;
      if (short && !expected.equals(this.memory.subarray(at, at + DIGEST_BYTES))) {
        throw new RangeError('SHA-256 in lanes gives another digest than node:crypto');
      }
    }
  }
}
