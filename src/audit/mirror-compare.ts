/** Compares the leaves of the chain with their mirror outside the database. */
import type { SqlClient } from '../db/database.ts';
import type { TreeHead } from './checkpoint.ts';
import type { Digest } from './hash.ts';
import { type MirrorPlace, readMirror } from './leaf-mirror.ts';
import { leafSource } from './link-source.ts';
import { appendLeaves, EMPTY_FRONTIER, rootOf } from './merkle.ts';
import { readTuples } from './tuples.ts';

export interface LeafDifference {
  readonly seq: bigint;
  readonly mirrored: Digest;
  readonly linked: Digest;
}

/** Whether the mirror gives a signed root itself; only then does it say anything. @throws CHAIN_SIGNER_STORE */
export async function isMirrorOf(place: MirrorPlace, signed: Pick<TreeHead, 'size' | 'root'>): Promise<boolean> {
  let frontier = EMPTY_FRONTIER;
  for await (const leaves of readMirror(place, 0n, signed.size)) frontier = appendLeaves(frontier, leaves);
  return frontier.size === signed.size && rootOf(frontier).equals(signed.root);
}

/** The first leaf [0, end) that the chain has and the mirror has otherwise, or null. @throws CHAIN_SIGNER_STORE */
export async function firstDifference(
  client: SqlClient,
  place: MirrorPlace,
  end: bigint,
): Promise<LeafDifference | null> {
  let seq = 0n;
  for await (const linked of readTuples(client, leafSource(0n, end))) {
    const mirrored: Digest[] = [];
    for await (const part of readMirror(place, seq, seq + BigInt(linked.length))) mirrored.push(...part);
    for (const [at, leaf] of linked.entries()) {
      const known = mirrored[at];
      if (known === undefined || known.equals(leaf)) continue;
      return { seq: seq + BigInt(at), mirrored: known, linked: Buffer.from(leaf) };
    }
    seq += BigInt(linked.length);
  }
  return null;
}
