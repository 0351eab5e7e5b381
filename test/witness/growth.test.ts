/** Consistency proofs from a stream against RFC 6962's recursion over the whole list, for every pair of small sizes. */
import { describe, expect, it } from 'vitest';
import type { Digest } from '../../src/audit/tree/hash.ts';
import { appendLeaves, consistencyProof, EMPTY_FRONTIER } from '../../src/audit/tree/merkle.ts';
import { proveGrowth } from '../../src/audit/witness/growth.ts';
import { leavesOf } from './fixtures.ts';

const all = leavesOf(70);

async function* slabs(leaves: readonly Digest[], width: number): AsyncGenerator<Digest[]> {
  for (let at = 0; at < leaves.length; at += width) {
    await Promise.resolve();
    yield leaves.slice(at, at + width);
  }
}

function prove(from: number, to: number, width = 3, leaves = all.slice(from, to)): Promise<Digest[]> {
  return proveGrowth(appendLeaves(EMPTY_FRONTIER, all.slice(0, from)), BigInt(to), slabs(leaves, width));
}

describe('a proof from a stream', () => {
  it('is that of the RFC, for every two sizes up to 70 and slabs of 1, 3 and 64', async () => {
    let compared = 0;
    for (let to = 1; to <= all.length; to += 1) {
      const tree = all.slice(0, to);
      for (let from = 1; from <= to; from += 1) {
        const expected = consistencyProof(tree, from);
        expect(await prove(from, to, [1, 3, 64][from % 3])).toEqual(expected);
        compared += 1;
      }
    }
    expect(compared).toBe(2485);
  });

  it('from nothing, and from the same size, is empty', async () => {
    expect(await prove(0, 9)).toEqual([]);
    expect(await prove(9, 9)).toEqual([]);
  });

  it.each([
    ['fewer leaves', all.slice(5, 11)],
    ['more leaves', all.slice(5, 13)],
    ['no leaves', []],
  ])('refuses %s than the sizes say', async (_, leaves) => {
    await expect(prove(5, 12, 3, leaves)).rejects.toThrow(RangeError);
  });

  it('refuses a tree that would shrink', async () => {
    await expect(prove(7, 6)).rejects.toThrow(RangeError);
  });
});
