/** SHA-256 and the domain separation bytes of the audit chain (docs/spec/audit-event-v1.md, section 5). */
import { hash } from 'node:crypto';

/** A 32-byte SHA-256 value. */
export type Digest = Buffer;

export const DIGEST_BYTES = 32;

/** SHA-256's block, and the pads of HMAC. */
const BLOCK_BYTES = 64;
const INNER_PAD = 0x36;
const OUTER_PAD = 0x5c;

/** What a leaf's message begins with. */
export const LEAF = Buffer.from([0x00]);
const NODE = Buffer.from([0x01]);
const LINK = Buffer.from([0x02]);

/** Ends of messages whose views are kept: most messages are shorter. */
const KEPT_VIEWS = 2048;

/**
 * A message that is put together in place, again and again, and hashed in one shot: where a million are hashed, an
 * allocation or a stream object a hash costs more than the hash. Begins with the same bytes each time.
 *
 * crypto.hash gives a latin1 string and not a buffer: Node makes its buffers for hashes three times slower, and a
 * string can be written anywhere or compared as it is.
 */
export class Message {
  #bytes: Buffer;
  readonly #start: number;
  #end: number;
  #views: (Uint8Array | undefined)[] = [];

  constructor(start: Uint8Array = Buffer.alloc(0)) {
    this.#bytes = Buffer.allocUnsafeSlow(1024 + start.length);
    this.#bytes.set(start);
    this.#start = start.length;
    this.#end = start.length;
  }

  /** The bytes put together so far; invalid after the next add. */
  get bytes(): Buffer {
    return this.#bytes;
  }

  /** Drops everything after the beginning. */
  restart(): this {
    this.#end = this.#start;
    return this;
  }

  /** Appends source[from, to). */
  add(source: Uint8Array, from = 0, to = source.length): this {
    const at = this.#reserve(to - from);
    if (source instanceof Buffer) source.copy(this.#bytes, at, from, to);
    else this.#bytes.set(source.subarray(from, to), at);
    return this;
  }

  /** Appends an int64, big-endian. */
  addInt64(value: bigint): this {
    this.#bytes.writeBigInt64BE(value, this.#reserve(8));
    return this;
  }

  /** Appends a digest that hash() gave. */
  addDigest(digest: string): this {
    const at = this.#reserve(DIGEST_BYTES);
    this.#bytes.write(digest, at, DIGEST_BYTES, 'latin1');
    return this;
  }

  /** SHA-256 of the message as a latin1 string of 32 characters. */
  hash(): string {
    return hash('sha256', this.#view(this.#end), 'binary');
  }

  #view(end: number): Uint8Array {
    if (end >= KEPT_VIEWS) return this.#bytes.subarray(0, end);
    const known = this.#views[end];
    if (known !== undefined) return known;
    const view = this.#bytes.subarray(0, end);
    this.#views[end] = view;
    return view;
  }

  /** Room for further bytes; where they begin. */
  #reserve(count: number): number {
    const at = this.#end;
    this.#end = at + count;
    if (this.#end > this.#bytes.length) {
      this.#bytes = Buffer.concat([this.#bytes.subarray(0, at)], 2 * this.#end);
      this.#views = [];
    }
    return at;
  }
}

/** HMAC-SHA-256 (RFC 2104) of messages that begin alike, for keys of at most one block, which salts are. */
export class KeyedMessage {
  readonly #inner: Message;
  readonly #outer = new Message(Buffer.alloc(BLOCK_BYTES, OUTER_PAD));
  #keyLength = 0;

  constructor(start: Uint8Array = Buffer.alloc(0)) {
    this.#inner = new Message(Buffer.concat([Buffer.alloc(BLOCK_BYTES, INNER_PAD), start]));
  }

  /** Begins a message under key[from, to). @throws RangeError for a key of more than 64 bytes */
  restart(key: Uint8Array, from = 0, to = key.length): this {
    const length = to - from;
    if (length > BLOCK_BYTES) throw new RangeError(`an HMAC key of ${length} bytes`);
    const inner = this.#inner.restart().bytes;
    const outer = this.#outer.restart().bytes;
    // Beyond the key the pads stand since the last time, unless that key was longer.
    for (let at = 0; at < Math.max(length, this.#keyLength); at += 1) {
      const byte = at < length ? (key[from + at] ?? 0) : 0;
      inner[at] = byte ^ INNER_PAD;
      outer[at] = byte ^ OUTER_PAD;
    }
    this.#keyLength = length;
    return this;
  }

  /** Appends source[from, to). */
  add(source: Uint8Array, from = 0, to = source.length): this {
    this.#inner.add(source, from, to);
    return this;
  }

  /** The HMAC of the message as a latin1 string of 32 characters. */
  hash(): string {
    return this.#outer.addDigest(this.#inner.hash()).hash();
  }
}

/** The bytes of a digest that hash() gave. */
export function digestBytes(digest: string): Digest {
  return Buffer.from(digest, 'latin1');
}

const anyMessage = new Message();
const anyKeyedMessage = new KeyedMessage();
const nodeMessage = new Message(NODE);
const chainMessage = new Message(LINK);

/** SHA-256 of the parts one after the other. */
export function sha256(...parts: readonly Uint8Array[]): Digest {
  anyMessage.restart();
  for (const part of parts) anyMessage.add(part);
  return digestBytes(anyMessage.hash());
}

/** HMAC-SHA-256 (RFC 2104) for keys of at most one block. @throws RangeError for a longer one */
export function hmacSha256(key: Uint8Array, ...parts: readonly Uint8Array[]): Digest {
  anyKeyedMessage.restart(key);
  for (const part of parts) anyKeyedMessage.add(part);
  return digestBytes(anyKeyedMessage.hash());
}

/** The hash of a leaf: SHA-256(0x00 || entry), RFC 6962 section 2.1. */
export function leafHash(...entry: readonly Uint8Array[]): Digest {
  return sha256(LEAF, ...entry);
}

/** The hash of an inner node: SHA-256(0x01 || left || right), RFC 6962 section 2.1. */
export function nodeHash(left: Uint8Array, right: Uint8Array): Digest {
  return digestBytes(nodeMessage.restart().add(left).add(right).hash());
}

/**
 * The hashes of the inner nodes over neighbours: of 64 bytes each in `children`, the first two, the next two and so on.
 * Gives 32 bytes a node.
 */
export function nodeHashes(children: Buffer): Buffer {
  const nodes = Buffer.allocUnsafe(Math.floor(children.length / (2 * DIGEST_BYTES)) * DIGEST_BYTES);
  for (let at = 0; at < nodes.length; at += DIGEST_BYTES) {
    const node = nodeMessage
      .restart()
      .add(children, 2 * at, 2 * at + 2 * DIGEST_BYTES)
      .hash();
    nodes.write(node, at, DIGEST_BYTES, 'latin1');
  }
  return nodes;
}

/**
 * Begins the message whose hash links a leaf to the digest at previous[at]: int64 seq and leaf are still to be added.
 * One at a time: the next call takes it away.
 */
export function linkMessage(previous: Uint8Array, at = 0): Message {
  return chainMessage.restart().add(previous, at, at + DIGEST_BYTES);
}

/** The hash that links a leaf to its predecessor: SHA-256(0x02 || previous || int64 seq || leaf). */
export function linkHash(previous: Uint8Array, seq: bigint, leaf: Uint8Array): Digest {
  return digestBytes(linkMessage(previous).addInt64(seq).add(leaf).hash());
}
