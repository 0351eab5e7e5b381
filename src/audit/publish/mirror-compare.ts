/** Compares the leaves of the chain with their mirror outside the database. */
import type { SqlClient } from '../../db/database.ts';
import { readTuples } from '../copy/tuples.ts';
import { type Finding, finding } from '../links/finding.ts';
import { leafSource } from '../links/link-source.ts';
import { type MirrorPlace, readMirror } from '../signer/leaf-mirror.ts';
import type { TreeHead } from '../tree/checkpoint.ts';
import type { Digest } from '../tree/hash.ts';
import { appendLeaves, EMPTY_FRONTIER, rootOf } from '../tree/merkle.ts';

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

/** The first leaf [from, end) that the chain has and the mirror has otherwise, or null. @throws CHAIN_SIGNER_STORE */
export async function firstDifference(
  client: SqlClient,
  place: MirrorPlace,
  end: bigint,
  from = 0n,
): Promise<LeafDifference | null> {
  let seq = from;
  for await (const linked of readTuples(client, leafSource(from, end))) {
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

/**
 * What the mirror says of the leaves [from, to), whose links were found sound: where the two differ, the one that gives the
 * signed root is right. A mirror that is missing or short is filled by the signer's next checkpoint and says nothing.
 * @throws CHAIN_SIGNER_STORE
 */
export async function mirrorFindings(
  client: SqlClient,
  place: MirrorPlace,
  { from, to, own }: { readonly from: bigint; readonly to: bigint; readonly own: TreeHead | null },
): Promise<Finding[]> {
  if (own === null) return [];
  const first = await firstDifference(client, place, to < own.size ? to : own.size, from);
  if (first === null) return [];
  const seq = Number(first.seq);
  const leaves = { expected: first.mirrored.toString('hex'), actual: first.linked.toString('hex') };
  if (await isMirrorOf(place, own)) return [finding('rewritten', { seq, ...leaves, checkpointTo: Number(own.size) })];
  const expected = `the leaf ${first.linked.toString('hex')} in the mirror of leaves`;
  return [finding('checkpoint-invalid', { seq, expected, actual: leaves.expected })];
}
