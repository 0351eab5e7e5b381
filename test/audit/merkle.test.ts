/** The tree against published cases (RFC 6962 proofs, negatives included) and against its own definition. */
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { leafHash, sha256 } from '../../src/audit/hash.ts';
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
} from '../../src/audit/merkle.ts';
import { isExpected } from '../support/shared-data.ts';

const CASES = join(import.meta.dirname, '../../../shared/data/merkle');
const base64 = z
  .string()
  .nullish()
  .transform((text) => Buffer.from(text ?? '', 'base64'));
const proof = z
  .array(base64)
  .nullish()
  .transform((list) => list ?? []);
const size = z.number().transform(BigInt);
const outcome = z.boolean().default(false);
const inclusionCase = z.object({
  leafIdx: size,
  treeSize: size,
  root: base64,
  leafHash: base64,
  proof,
  wantErr: outcome,
});
const consistencyCase = z.object({ size1: size, size2: size, root1: base64, root2: base64, proof, wantErr: outcome });

// The folder holds real data that the project does not copy; a user's machine does not have it.
describe.skipIf(!isExpected(CASES))('published cases (shared/data/merkle)', () => {
  const files = (kind: string) => globSync(`${kind}/**/*.json`, { cwd: CASES }).sort();
  const read = (file: string): unknown => JSON.parse(readFileSync(join(CASES, file), 'utf8'));

  it('has the cases', () => {
    expect(files('inclusion').length + files('consistency').length).toBeGreaterThan(190);
  });

  it.each(files('inclusion'))('%s', (file) => {
    const { leafIdx: index, treeSize, root, leafHash: leaf, proof: path, wantErr } = inclusionCase.parse(read(file));
    expect(verifyInclusion({ index, size: treeSize, leaf, root, proof: path })).toBe(!wantErr);
  });

  it.each(files('consistency'))('%s', (file) => {
    const { wantErr, ...claim } = consistencyCase.parse(read(file));
    expect(verifyConsistency(claim)).toBe(!wantErr);
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
