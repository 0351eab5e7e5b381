/** SHA-256 and the domain separation bytes of the audit chain (docs/spec/audit-event-v1.md, section 5). */
import { hash } from 'node:crypto';

/** A 32-byte SHA-256 value. */
export type Digest = Buffer;

export const DIGEST_BYTES = 32;

/** SHA-256's block, and the pads of HMAC. */
const BLOCK_BYTES = 64;
const INNER_PAD = 0x36;
const OUTER_PAD = 0x5c;

const LEAF = Buffer.from([0x00]);
const NODE = Buffer.from([0x01]);
const LINK = Buffer.from([0x02]);

/** Where the parts of a message are put together: an allocation a hash would cost more than the copy. */
let scratch = Buffer.allocUnsafeSlow(1 << 16);

/** Puts parts together from an offset on; gives the end. */
function gather(parts: readonly Uint8Array[], offset: number): number {
  let end = offset;
  for (const part of parts) end += part.length;
  if (end > scratch.length) scratch = Buffer.concat([scratch.subarray(0, offset)], 2 * end);
  let at = offset;
  for (const part of parts) {
    scratch.set(part, at);
    at += part.length;
  }
  return end;
}

/**
 * SHA-256 in one shot: crypto.hash makes no stream object per call, which bulk hashing feels. As a latin1 string and not
 * as a buffer: Node makes its buffers for hashes three times slower than we make one out of the string.
 */
function hashScratch(end: number): string {
  return hash('sha256', scratch.subarray(0, end), 'binary');
}

/** SHA-256 of the parts one after the other. */
export function sha256(...parts: readonly Uint8Array[]): Digest {
  return Buffer.from(hashScratch(gather(parts, 0)), 'latin1');
}

/**
 * HMAC-SHA-256 (RFC 2104) for keys of at most one block, which salts are. Two one-shot hashes: createHmac makes a stream
 * object per call, twice an event.
 */
export function hmacSha256(key: Uint8Array, ...parts: readonly Uint8Array[]): Digest {
  if (key.length > BLOCK_BYTES) throw new RangeError(`an HMAC key of ${key.length} bytes`);
  const end = gather(parts, BLOCK_BYTES);
  pad(key, INNER_PAD);
  const inner = hashScratch(end);
  pad(key, OUTER_PAD);
  scratch.write(inner, BLOCK_BYTES, 'latin1');
  return Buffer.from(hashScratch(BLOCK_BYTES + DIGEST_BYTES), 'latin1');
}

function pad(key: Uint8Array, byte: number): void {
  scratch.fill(byte, 0, BLOCK_BYTES);
  for (let at = 0; at < key.length; at += 1) scratch[at] = (key[at] ?? 0) ^ byte;
}

/** The hash of a leaf: SHA-256(0x00 || entry), RFC 6962 section 2.1. */
export function leafHash(...entry: readonly Uint8Array[]): Digest {
  return sha256(LEAF, ...entry);
}

/** The hash of an inner node: SHA-256(0x01 || left || right), RFC 6962 section 2.1. */
export function nodeHash(left: Uint8Array, right: Uint8Array): Digest {
  return sha256(NODE, left, right);
}

/** The hash that links a leaf to its predecessor: SHA-256(0x02 || previous || int64 seq || leaf). */
export function linkHash(previous: Uint8Array, seq: bigint, leaf: Uint8Array): Digest {
  const position = Buffer.alloc(8);
  position.writeBigInt64BE(seq);
  return sha256(LINK, previous, position, leaf);
}
