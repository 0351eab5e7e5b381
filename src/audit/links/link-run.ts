/** Links that follow one from the other, checked in the bytes of a COPY ... BINARY: nearly all of them, in every run. */

import { bytesOf, type Slab } from '../copy/slabs.ts';
import { eachTuple, type Tuple } from '../copy/tuples.ts';
import { DIGEST_BYTES, type Digest, linkMessage } from '../tree/hash.ts';
import { LINK, linkSource } from './link-source.ts';

/** A slab of links that follow from the ones before. */
export interface LinkRun {
  readonly count: number;
  /** 32 bytes a link. */
  readonly leaves: Buffer;
  readonly chainHash: Digest;
}

/**
 * The links of a slab when each has the seq and the chain hash that follow from its predecessor; null when one does
 * not: LinkWalk finds out which and why.
 */
export function soundRun(slab: Slab, from: { readonly size: bigint; readonly chainHash: Digest }): LinkRun | null {
  const bytes = bytesOf(slab);
  const leaves = Buffer.allocUnsafe(slab.byteLength);
  let filled = 0;
  let next = from.size;
  let sound = true;
  let [previous, previousAt] = [from.chainHash, 0];
  const visit = (tuple: Tuple) => {
    const [seq, leaf, chained] = [tuple.start(LINK.seq), tuple.start(LINK.leaf), tuple.start(LINK.chainHash)];
    // The table's CHECKs keep both at 32 bytes; a tampered one that is not ends the run.
    const whole = tuple.end(LINK.leaf) === leaf + DIGEST_BYTES && tuple.end(LINK.chainHash) === chained + DIGEST_BYTES;
    if (!sound || !whole || bytes.readBigInt64BE(seq) !== next) {
      sound = false;
      return;
    }
    const message = linkMessage(previous, previousAt)
      .add(bytes, seq, seq + 8)
      .add(bytes, leaf, leaf + DIGEST_BYTES);
    sound = message.hash() === bytes.toString('latin1', chained, chained + DIGEST_BYTES);
    filled += bytes.copy(leaves, filled, leaf, leaf + DIGEST_BYTES);
    [previous, previousAt] = [bytes, chained];
    next += 1n;
  };
  eachTuple(bytes, linkSource, visit);
  if (!sound) return null;
  const chainHash = Buffer.from(previous.subarray(previousAt, previousAt + DIGEST_BYTES));
  return { count: Number(next - from.size), leaves: leaves.subarray(0, filled), chainHash };
}
