/** The tree against published cases (RFC 6962 proofs, negatives included) and against its own definition. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { leafHash, sha256 } from '../../src/audit/tree/hash.ts';
import {
  appendLeaves,
  consistencyProof,
  decodeFrontier,
  EMPTY_FRONTIER,
  encodeFrontier,
  inclusionProof,
  rootOf,
  treeHash,
  verifyConsistency,
  verifyInclusion,
} from '../../src/audit/tree/merkle.ts';
import { consistencyCases, hasMerkleCases, inclusionCases } from '../support/merkle-cases.ts';

describe.skipIf(!hasMerkleCases)('published cases (shared/data/merkle)', () => {
  it('has the cases', () => {
    expect(inclusionCases.length + consistencyCases.length).toBeGreaterThan(190);
    expect(inclusionCases.filter(([, { refused }]) => refused).length).toBeGreaterThan(50);
  });

  it.each(inclusionCases)('%s', (_, { claim, refused }) => {
    expect(verifyInclusion(claim)).toBe(!refused);
  });

  it.each(consistencyCases)('%s', (_, { claim, refused }) => {
    expect(verifyConsistency(claim)).toBe(!refused);
  });
});

const leavesOf = (n: number) => Array.from({ length: n }, (_, at) => leafHash(Buffer.from(`leaf ${at}`)));

describe('the tree', () => {
  it('has the roots of RFC 6962: SHA-256 of nothing, the leaf, the node of two', () => {
    expect(treeHash([]).toString('hex')).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
    const [a, b] = leavesOf(2);
    expect(treeHash(leavesOf(1))).toEqual(a);
    expect(treeHash(leavesOf(2))).toEqual(sha256(Buffer.from([1]), a ?? Buffer.alloc(0), b ?? Buffer.alloc(0)));
  });

  it('grows the same in any number of steps, also through its bytes', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(9), { maxLength: 8 }), (steps) => {
        const total = steps.reduce((sum, n) => sum + n, 0);
        const leaves = leavesOf(total);
        let at = 0;
        let frontier = EMPTY_FRONTIER;
        for (const step of steps) {
          frontier = appendLeaves(frontier, leaves.slice(at, at + step));
          frontier = decodeFrontier(frontier.size, encodeFrontier(frontier));
          at += step;
        }
        expect(rootOf(frontier)).toEqual(treeHash(leaves));
        expect(frontier.size).toBe(BigInt(total));
      }),
    );
  });

  it('proves every leaf and every earlier size up to 40 leaves, and nothing else', () => {
    const leaves = leavesOf(40);
    for (let n = 1; n <= leaves.length; n += 1) {
      const tree = leaves.slice(0, n);
      const root = treeHash(tree);
      for (let k = 1; k <= n; k += 1) {
        const root1 = treeHash(tree.slice(0, k));
        const claim = { size1: BigInt(k), size2: BigInt(n), root1, root2: root, proof: consistencyProof(tree, k) };
        expect(verifyConsistency(claim)).toBe(true);
        expect(verifyConsistency({ ...claim, root1: leafHash(root1) })).toBe(false);
        const leaf = tree[k - 1] ?? Buffer.alloc(0);
        const member = { index: BigInt(k - 1), size: BigInt(n), leaf, root, proof: inclusionProof(tree, k - 1) };
        expect(verifyInclusion(member)).toBe(true);
        expect(verifyInclusion({ ...member, leaf: leafHash(leaf) })).toBe(false);
      }
    }
  });

  it('refuses a true proof under smaller sizes that share its low bits', () => {
    const leaves = leavesOf(8);
    const [root1, root2] = [treeHash(leaves.slice(0, 7)), treeHash(leaves)];
    const claim = { root1, root2, proof: consistencyProof(leaves, 7) };
    expect(verifyConsistency({ ...claim, size1: 7n, size2: 8n })).toBe(true);
    expect(verifyConsistency({ ...claim, size1: 3n, size2: 4n })).toBe(false);
  });

  it('refuses proofs from nothing, and frontiers that do not fit their size', () => {
    expect(() => consistencyProof(leavesOf(3), 0)).toThrow(RangeError);
    expect(() => inclusionProof(leavesOf(3), 3)).toThrow(RangeError);
    expect(() => decodeFrontier(3n, Buffer.alloc(32))).toThrow(RangeError);
  });
});
