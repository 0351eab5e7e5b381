/** The chain of links: each leaf's chain_hash takes in the one before it (docs/spec/audit-event-v1.md, section 5). */
import { DIGEST_BYTES, type Digest, linkHash } from './hash.ts';

/** What the first link's predecessor counts as: 32 zero bytes. */
export const GENESIS: Digest = Buffer.alloc(DIGEST_BYTES);

/** Where a chain ends: how many links it has and the last one's hash. */
export interface ChainEnd {
  readonly size: bigint;
  readonly chainHash: Digest;
}

export const EMPTY_CHAIN: ChainEnd = { size: 0n, chainHash: GENESIS };

/** The chain hashes of further leaves, in order; the first leaf gets seq = end.size. */
export function chainLeaves(end: ChainEnd, leaves: readonly Digest[]): Digest[] {
  const hashes: Digest[] = [];
  let previous = end.chainHash;
  let seq = end.size;
  for (const leaf of leaves) {
    previous = linkHash(previous, seq, leaf);
    seq += 1n;
    hashes.push(previous);
  }
  return hashes;
}
