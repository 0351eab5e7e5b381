/**
 * The Merkle tree of RFC 6962 section 2.1: a frontier that grows leaf by leaf, and proofs of inclusion and of
 * consistency. Sizes and indexes are bigint: a tree outlives 2^53 in no practice, but seq is bigint everywhere.
 */
import { DIGEST_BYTES, type Digest, nodeHash, nodeHashes, sha256 } from './hash.ts';

/**
 * The roots of the perfect subtrees that a tree of this size falls into, the largest (leftmost) first: as many as its
 * size has one bits. It is all that appending and the root need.
 */
export interface Frontier {
  readonly size: bigint;
  readonly nodes: readonly Digest[];
}

export const EMPTY_FRONTIER: Frontier = { size: 0n, nodes: [] };

/** The frontier after further leaves (leaf hashes, in order). */
export function appendLeaves(frontier: Frontier, leaves: Iterable<Digest>): Frontier {
  return appendPackedLeaves(frontier, Buffer.concat([...leaves]));
}

/**
 * The frontier after further leaves, 32 bytes each, one after the other. Level by level: one pass over each.
 * @param hashNodes does what nodeHashes() of hash.ts does
 */
export function appendPackedLeaves(frontier: Frontier, leaves: Buffer, hashNodes = nodeHashes): Frontier {
  const older = [...frontier.nodes];
  const grown: Digest[] = [];
  let nodes = leaves;
  for (let size = frontier.size; nodes.length > 0 || size > 0n; size >>= 1n) {
    // The last of the older nodes is that of the lowest level whose bit is set in size.
    if ((size & 1n) === 1n) nodes = Buffer.concat([popNode(older), nodes]);
    const paired = nodes.length - (nodes.length % (2 * DIGEST_BYTES));
    if (paired < nodes.length) grown.unshift(Buffer.from(nodes.subarray(paired)));
    nodes = hashNodes(nodes.subarray(0, paired));
  }
  return { size: frontier.size + BigInt(leaves.length / DIGEST_BYTES), nodes: grown };
}

function popNode(nodes: Digest[]): Digest {
  const node = nodes.pop();
  if (node === undefined) throw new RangeError('the frontier has fewer nodes than its size has one bits');
  return node;
}

/** The root of the tree; of the empty one SHA-256 of nothing. */
export function rootOf(frontier: Frontier): Digest {
  const [last, ...rest] = [...frontier.nodes].reverse();
  if (last === undefined) return sha256(Buffer.alloc(0));
  return rest.reduce((right, left) => nodeHash(left, right), last);
}

/** The frontier as bytes, the nodes one after the other. */
export function encodeFrontier(frontier: Frontier): Buffer {
  return Buffer.concat([...frontier.nodes]);
}

/** Reads a frontier back. @throws RangeError when the bytes do not fit the size. */
export function decodeFrontier(size: bigint, bytes: Buffer): Frontier {
  const ones = [...size.toString(2)].filter((bit) => bit === '1').length;
  if (size < 0n || bytes.length !== ones * DIGEST_BYTES) throw new RangeError(`not the frontier of ${size} leaves`);
  const nodes = Array.from({ length: ones }, (_, at) => bytes.subarray(at * DIGEST_BYTES, (at + 1) * DIGEST_BYTES));
  return { size, nodes };
}

/** The Merkle tree hash of a list of leaf hashes. */
export function treeHash(leaves: readonly Digest[]): Digest {
  return rootOf(appendLeaves(EMPTY_FRONTIER, leaves));
}

/** PATH(index, leaves), RFC 6962 section 2.1.1. @throws RangeError when the index is outside the tree. */
export function inclusionProof(leaves: readonly Digest[], index: number): Digest[] {
  if (!Number.isInteger(index) || index < 0 || index >= leaves.length) throw new RangeError('no such leaf');
  if (leaves.length === 1) return [];
  const split = splitPoint(leaves.length);
  const [left, right] = [leaves.slice(0, split), leaves.slice(split)];
  return index < split
    ? [...inclusionProof(left, index), treeHash(right)]
    : [...inclusionProof(right, index - split), treeHash(left)];
}

/** PROOF(size, leaves), RFC 6962 section 2.1.2. @throws RangeError unless 0 < size <= the number of leaves. */
export function consistencyProof(leaves: readonly Digest[], size: number): Digest[] {
  if (!Number.isInteger(size) || size <= 0 || size > leaves.length) throw new RangeError('no such tree size');
  return subproof(leaves, size, true);
}

function subproof(leaves: readonly Digest[], size: number, whole: boolean): Digest[] {
  if (size === leaves.length) return whole ? [] : [treeHash(leaves)];
  const split = splitPoint(leaves.length);
  const [left, right] = [leaves.slice(0, split), leaves.slice(split)];
  return size <= split
    ? [...subproof(left, size, whole), treeHash(right)]
    : [...subproof(right, size - split, false), treeHash(left)];
}

/** The largest power of two below n. */
function splitPoint(n: number): number {
  let power = 1;
  while (power * 2 < n) power *= 2;
  return power;
}

export interface InclusionClaim {
  readonly index: bigint;
  readonly size: bigint;
  readonly leaf: Uint8Array;
  readonly root: Uint8Array;
  readonly proof: readonly Uint8Array[];
}

/** Whether a leaf is in the tree of that size and root (RFC 9162 section 2.1.3.2, the same tree). Never throws. */
export function verifyInclusion(claim: InclusionClaim): boolean {
  const { index, size, proof } = claim;
  if (index < 0n || index >= size || !areDigests([claim.leaf, claim.root, ...proof])) return false;
  let [fn, sn] = [index, size - 1n];
  let hash: Digest = Buffer.from(claim.leaf);
  for (const sibling of proof) {
    if (sn === 0n) return false;
    if ((fn & 1n) === 1n || fn === sn) {
      hash = nodeHash(sibling, hash);
      [fn, sn] = skipRightEdge(fn, sn);
    } else {
      hash = nodeHash(hash, sibling);
    }
    [fn, sn] = [fn >> 1n, sn >> 1n];
  }
  return sn === 0n && hash.equals(claim.root);
}

export interface ConsistencyClaim {
  readonly size1: bigint;
  readonly size2: bigint;
  readonly root1: Uint8Array;
  readonly root2: Uint8Array;
  readonly proof: readonly Uint8Array[];
}

/**
 * Whether the second tree begins with the first (RFC 9162 section 2.1.4.2). An empty first tree proves nothing about
 * the second and is refused. Never throws.
 */
export function verifyConsistency(claim: ConsistencyClaim): boolean {
  const { size1, size2, root1, root2 } = claim;
  if (size1 <= 0n || size1 > size2) return false;
  // Trees of one size need no hashing: they are the same tree or not.
  if (size1 === size2) return claim.proof.length === 0 && Buffer.from(root1).equals(root2);
  if (!areDigests([root1, root2, ...claim.proof])) return false;
  // A first tree of a power of two is itself the first node, so the proof leaves it out.
  const proof = (size1 & (size1 - 1n)) === 0n ? [root1, ...claim.proof] : claim.proof;
  const [seed, ...siblings] = proof;
  if (seed === undefined) return false;
  let [fn, sn] = skipOnes(size1 - 1n, size2 - 1n);
  let first: Digest = Buffer.from(seed);
  let second: Digest = first;
  for (const sibling of siblings) {
    if (sn === 0n) return false;
    if ((fn & 1n) === 1n || fn === sn) {
      first = nodeHash(sibling, first);
      second = nodeHash(sibling, second);
      [fn, sn] = skipRightEdge(fn, sn);
    } else {
      second = nodeHash(second, sibling);
    }
    [fn, sn] = [fn >> 1n, sn >> 1n];
  }
  return sn === 0n && first.equals(root1) && second.equals(root2);
}

function skipRightEdge(fn: bigint, sn: bigint): [bigint, bigint] {
  let [a, b] = [fn, sn];
  while ((a & 1n) === 0n && a !== 0n) [a, b] = [a >> 1n, b >> 1n];
  return [a, b];
}

function skipOnes(fn: bigint, sn: bigint): [bigint, bigint] {
  let [a, b] = [fn, sn];
  while ((a & 1n) === 1n) [a, b] = [a >> 1n, b >> 1n];
  return [a, b];
}

function areDigests(values: readonly Uint8Array[]): boolean {
  return values.every((value) => value.length === DIGEST_BYTES);
}
