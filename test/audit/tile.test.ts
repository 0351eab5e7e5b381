/** Tiles: the layout of C2SP tlog-tiles, and the tree read through them. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DIGEST_BYTES, type Digest, sha256 } from '../../src/audit/tree/hash.ts';
import { inclusionProof, treeHash } from '../../src/audit/tree/merkle.ts';
import { type NodeReader, readInclusionPath, readRoot } from '../../src/audit/tree/proof-path.ts';
import { levelWidth, TileCutter, tilePath } from '../../src/audit/tree/tile.ts';

const leavesOf = (n: number) => Array.from({ length: n }, (_, at) => sha256(Buffer.from(String(at))));

function cut(leaves: readonly Digest[]): Map<string, readonly Digest[]> {
  const cutter = new TileCutter();
  const tiles = [...leaves.flatMap((leaf) => cutter.push(leaf)), ...cutter.finish()];
  return new Map(tiles.map(({ level, index, hashes }) => [`${level}/${tilePath(index, hashes.length)}`, hashes]));
}

describe('the layout', () => {
  it('is that of the specification for a tree of 70,000', () => {
    const tiles = cut(leavesOf(70_000));
    const names = [...tiles.keys()];
    expect(names.filter((name) => name.startsWith('0/') && !name.includes('.p'))).toHaveLength(273);
    expect(names.filter((name) => name.includes('.p')).sort()).toEqual(['0/273.p/112', '1/001.p/17', '2/000.p/1']);
    expect(tiles.get('1/000')).toHaveLength(256);
    expect(names).toHaveLength(273 + 1 + 3);
    expect(tiles.get('2/000.p/1')).toEqual([treeHash(leavesOf(65_536))]);
  });

  it('of a tree of 256 is a full tile and a partial one of width 1 above', () => {
    expect([...cut(leavesOf(256)).keys()]).toEqual(['0/000', '1/000.p/1']);
    expect([...cut(leavesOf(255)).keys()]).toEqual(['0/000.p/255']);
    expect([...cut([]).keys()]).toEqual([]);
  });

  it('names tiles in groups of three digits', () => {
    expect(tilePath(1_234_067n, 256)).toBe('x001/x234/067');
    expect(tilePath(0n, 7)).toBe('000.p/7');
    expect(tilePath(1000n, 256)).toBe('x001/000');
  });
});

describe('the tree read node by node', () => {
  const leaves = leavesOf(1500);
  const tree = (size: number): NodeReader => {
    const tiles = cut(leaves.slice(0, size));
    return (level, from, to) => {
      const width = Number(levelWidth(BigInt(size), level));
      if (to > width) throw new RangeError(`level ${level} has ${width} hashes`);
      const all = Array.from({ length: Math.ceil(width / 256) }, (_, at) => {
        const found = tiles.get(`${level}/${tilePath(BigInt(at), Math.min(256, width - at * 256))}`);
        if (found === undefined) throw new RangeError(`no tile ${at} of level ${level}`);
        return found;
      });
      return Promise.resolve(all.flat().slice(Number(from), Number(to)));
    };
  };

  it('has the root and the proofs of its definition', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 1500 }), fc.nat(), async (size, at) => {
        const index = at % size;
        const part = leaves.slice(0, size);
        expect(await readRoot(tree(size), BigInt(size))).toEqual(treeHash(part));
        const path = await readInclusionPath(tree(size), BigInt(index), BigInt(size));
        expect(path).toEqual(inclusionProof(part, index));
        expect(path.every((hash) => hash.length === DIGEST_BYTES)).toBe(true);
      }),
      { numRuns: 60 },
    );
  });

  it('has no proof of a leaf that it has not', async () => {
    await expect(readInclusionPath(tree(5), 5n, 5n)).rejects.toThrow(RangeError);
    await expect(readInclusionPath(tree(5), -1n, 5n)).rejects.toThrow(RangeError);
  });
});
