/** Inclusion proofs out of a tree that is read node by node, so that a proof costs O(log n) tiles and not every leaf. */
import { type Digest, nodeHash } from './hash.ts';
import { treeHash } from './merkle.ts';

/** The hashes [from, to) of a tile level: the roots of the full subtrees of 256 ** level leaves each. */
export type NodeReader = (level: number, from: bigint, to: bigint) => Promise<Digest[]>;

/** Binary levels in one tile level. */
const TILE_HEIGHT = 8n;

/** Leaves [from, to) of the tree. */
interface Span {
  readonly from: bigint;
  readonly to: bigint;
}

/** The root of the tree over the first `size` leaves, at least one. */
export function readRoot(read: NodeReader, size: bigint): Promise<Digest> {
  return readSpan(read, { from: 0n, to: size });
}

/** PATH(index, D[size]), RFC 6962 section 2.1.1: from the leaf's sibling up. @throws RangeError for no such leaf. */
export async function readInclusionPath(read: NodeReader, index: bigint, size: bigint): Promise<Digest[]> {
  if (index < 0n || index >= size) throw new RangeError('no such leaf');
  const path: Digest[] = [];
  for (const span of siblingSpans(index, size)) path.push(await readSpan(read, span));
  return path;
}

function siblingSpans(index: bigint, size: bigint): Span[] {
  const spans: Span[] = [];
  let [from, to] = [0n, size];
  while (to - from > 1n) {
    const split = from + largestPowerBelow(to - from);
    spans.push(index < split ? { from: split, to } : { from, to: split });
    [from, to] = index < split ? [from, split] : [split, to];
  }
  return spans.reverse();
}

/** The root of a span that begins where a full subtree of its size may begin. */
async function readSpan(read: NodeReader, { from, to }: Span): Promise<Digest> {
  const width = to - from;
  const height = BigInt(width.toString(2).length - 1);
  if (width !== 1n << height) {
    const split = from + largestPowerBelow(width);
    return nodeHash(await readSpan(read, { from, to: split }), await readSpan(read, { from: split, to }));
  }
  const level = height / TILE_HEIGHT;
  const shift = level * TILE_HEIGHT;
  return treeHash(await read(Number(level), from >> shift, to >> shift));
}

/** The largest power of two below n, n at least 2. */
function largestPowerBelow(n: bigint): bigint {
  return 1n << BigInt((n - 1n).toString(2).length - 1);
}
