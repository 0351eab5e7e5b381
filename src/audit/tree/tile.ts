/**
 * Tiles of the tree as C2SP tlog-tiles lays them out (https://c2sp.org/tlog-tiles): level 0 holds leaf hashes, each hash
 * of a higher level is the root of a full tile below. Full tiles are 256 hashes wide; the last one of a level may be
 * partial and is never hashed into the level above.
 */
import type { Digest } from './hash.ts';
import { treeHash } from './merkle.ts';

export const TILE_WIDTH = 256;

const WIDTH = BigInt(TILE_WIDTH);

export interface Tile {
  readonly level: number;
  readonly index: bigint;
  /** 1 to 256. */
  readonly hashes: readonly Digest[];
}

/**
 * The path of a tile below its folder: `x001/x234/067`, and `.p/<width>` behind it when it is partial. Entry bundles,
 * chain hashes and openings are cut and named the same way.
 */
export function tilePath(index: bigint, width: number): string {
  const digits = index.toString();
  const groups = digits.padStart(Math.ceil(digits.length / 3) * 3, '0').match(/.../g) ?? [];
  const path = groups.map((group, at) => (at === groups.length - 1 ? group : `x${group}`)).join('/');
  return width === TILE_WIDTH ? path : `${path}.p/${width}`;
}

/** How many hashes level `level` of a tree of this size has: one for each full subtree of 256 ** level leaves. */
export function levelWidth(size: bigint, level: number): bigint {
  return size / WIDTH ** BigInt(level);
}

/** Cuts leaf hashes, in order, into the tiles of the tree: full ones as they fill up, the partial ones at the end. */
export class TileCutter {
  readonly #levels: { index: bigint; hashes: Digest[] }[] = [];

  /** Takes the next leaf and gives the tiles that it fills, the lowest level first. */
  push(leaf: Digest): Tile[] {
    const full: Tile[] = [];
    let hash = leaf;
    for (let level = 0; ; level += 1) {
      const open = this.#open(level);
      open.hashes.push(hash);
      if (open.hashes.length < TILE_WIDTH) return full;
      full.push({ level, index: open.index, hashes: open.hashes });
      hash = treeHash(open.hashes);
      this.#levels[level] = { index: open.index + 1n, hashes: [] };
    }
  }

  /** The partial tiles at the right edge, the lowest level first; empty ones do not exist. */
  finish(): Tile[] {
    return this.#levels
      .map(({ index, hashes }, level) => ({ level, index, hashes }))
      .filter(({ hashes }) => hashes.length > 0);
  }

  #open(level: number): { index: bigint; hashes: Digest[] } {
    const open = this.#levels[level] ?? { index: 0n, hashes: [] };
    this.#levels[level] = open;
    return open;
  }
}
