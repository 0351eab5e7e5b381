/**
 * Consistency proofs from a stream of leaves (RFC 6962 section 2.1.2), in memory of O(log n): every node of a proof
 * either is a node of the old tree's frontier or covers only leaves that came later. So the work is O(new leaves).
 */
import type { Digest } from '../tree/hash.ts';
import { appendLeaves, EMPTY_FRONTIER, type Frontier, rootOf } from '../tree/merkle.ts';

/** The leaves [start, end) below one node. */
interface Range {
  readonly start: bigint;
  readonly end: bigint;
}

/**
 * The proof that the tree of `size` leaves begins with that of the frontier, from the leaves that follow the frontier.
 * Empty when the trees are of one size or the old one is empty.
 * @throws RangeError when the leaves are not exactly those between the two sizes
 */
export async function proveGrowth(
  old: Frontier,
  size: bigint,
  leaves: AsyncIterable<readonly Digest[]>,
): Promise<Digest[]> {
  if (old.size > size) throw new RangeError(`a tree of ${size} leaves does not begin with one of ${old.size}`);
  const ranges = old.size === 0n || old.size === size ? [] : proofRanges(old.size, { start: 0n, end: size }, true);
  const later = ranges.filter(({ start }) => start >= old.size).sort((a, b) => (a.start < b.start ? -1 : 1));
  const nodes = frontierNodes(old);
  if (later.length > 0) for (const [start, node] of await hashRanges(later, leaves)) nodes.set(start, node);
  return ranges.map(({ start }) => {
    const node = nodes.get(start);
    // Fewer leaves than the tree has.
    if (node === undefined) throw new RangeError(`the proof needs a node at ${start} that is not there`);
    return node;
  });
}

/** SUBPROOF(m, D[n], b) as ranges of leaves instead of hashes, in the order of the proof. */
function proofRanges(size: bigint, { start, end }: Range, whole: boolean): Range[] {
  const width = end - start;
  if (size === width) return whole ? [] : [{ start, end }];
  let split = 1n;
  while (split * 2n < width) split *= 2n;
  const middle = start + split;
  return size <= split
    ? [...proofRanges(size, { start, end: middle }, whole), { start: middle, end }]
    : [...proofRanges(size - split, { start: middle, end }, false), { start, end: middle }];
}

/** The frontier's nodes by the leaf that they begin at. */
function frontierNodes({ size, nodes }: Frontier): Map<bigint, Digest> {
  const placed = new Map<bigint, Digest>();
  let start = 0n;
  let at = 0;
  for (let width = 1n << BigInt(size.toString(2).length); width > 0n; width >>= 1n) {
    const node = nodes[at];
    if ((size & width) === 0n || node === undefined) continue;
    placed.set(start, node);
    start += width;
    at += 1;
  }
  return placed;
}

/** The nodes above neighbouring ranges, leaf by leaf as they arrive. */
async function hashRanges(ranges: readonly Range[], leaves: AsyncIterable<readonly Digest[]>) {
  const nodes = new Map<bigint, Digest>();
  let at = 0;
  let part = EMPTY_FRONTIER;
  for await (const slab of leaves) {
    for (let from = 0; from < slab.length; ) {
      const range = ranges[at];
      if (range === undefined) throw new RangeError('there are more leaves than the tree has');
      const missing = range.end - range.start - part.size;
      const until = Math.min(slab.length, from + Number(missing));
      part = appendLeaves(part, slab.slice(from, until));
      from = until;
      if (part.size < range.end - range.start) continue;
      nodes.set(range.start, rootOf(part));
      part = EMPTY_FRONTIER;
      at += 1;
    }
  }
  return nodes;
}
