/** Full tiles of level 1 and up in audit.tile, and the nodes of the tree read through them. */
import { z } from 'zod';
import type { SqlClient } from '../../db/database.ts';
import { queryMaybe, queryOne } from '../../db/query.ts';
import { AuditkeepError } from '../../errors.ts';
import { readTuples } from '../copy/tuples.ts';
import { DIGEST_BYTES, type Digest } from '../tree/hash.ts';
import { rootOf, treeHash } from '../tree/merkle.ts';
import { type NodeReader, readRoot } from '../tree/proof-path.ts';
import { levelWidth, TILE_WIDTH } from '../tree/tile.ts';
import { readHead } from './chain-store.ts';
import { leafSource } from './link-source.ts';

const WIDTH = BigInt(TILE_WIDTH);

/** The hashes of a stored full tile, or null. */
async function readTile(client: SqlClient, level: number, index: bigint): Promise<Digest[] | null> {
  const row = await queryMaybe(
    client,
    z.object({ hashes: z.instanceof(Buffer) }),
    'select hashes from audit.tile where level = $1::smallint and index = $2::bigint',
    [level, index],
  );
  if (row === null) return null;
  return Array.from({ length: TILE_WIDTH }, (_, at) => row.hashes.subarray(at * DIGEST_BYTES, (at + 1) * DIGEST_BYTES));
}

/** Stores a full tile; false when it was there. SQLSTATE AK023 when another one is. */
async function writeTile(client: SqlClient, level: number, index: bigint, hashes: readonly Digest[]): Promise<boolean> {
  const row = await queryOne(
    client,
    z.object({ stored: z.boolean() }),
    'select audit.store_tile($1::smallint, $2::bigint, $3::bytea) as stored',
    [level, index, Buffer.concat([...hashes])],
  );
  return row.stored;
}

/** How many full tiles of a level are stored: they are stored in order. */
async function countTiles(client: SqlClient, level: number): Promise<bigint> {
  const row = await queryOne(
    client,
    z.object({ n: z.bigint() }),
    'select coalesce(max(index) + 1, 0)::bigint as n from audit.tile where level = $1::smallint',
    [level],
  );
  return row.n;
}

/**
 * The hashes [from, to) of a level: leaves from audit.chain_link, higher ones from stored tiles, and where none is
 * stored from the level below. `stored: false` passes every stored tile by, for a tree whose tiles do not fit its links.
 */
export function nodeReader(client: SqlClient, { stored }: { readonly stored: boolean }): NodeReader {
  const read: NodeReader = async (level, from, to) => {
    if (level === 0) return readLeaves(client, from, to);
    const hashes: Digest[] = [];
    for (let at = from; at < to; ) {
      const index = at / WIDTH;
      const end = (index + 1n) * WIDTH < to ? (index + 1n) * WIDTH : to;
      const tile = stored ? await readTile(client, level, index) : null;
      if (tile !== null) hashes.push(...tile.slice(Number(at - index * WIDTH), Number(end - index * WIDTH)));
      else hashes.push(...foldTiles(await read(level - 1, at * WIDTH, end * WIDTH)));
      at = end;
    }
    return hashes;
  };
  return read;
}

async function readLeaves(client: SqlClient, from: bigint, to: bigint): Promise<Digest[]> {
  const leaves: Digest[] = [];
  for await (const slab of readTuples(client, leafSource(from, to)))
    leaves.push(...slab.map((leaf) => Buffer.from(leaf)));
  if (BigInt(leaves.length) === to - from) return leaves;
  throw new AuditkeepError('CHAIN_REWRITTEN', {
    message: `links are missing between seq ${from} and ${to}`,
    hint: 'run auditkeep chain verify: somebody changed the chain itself',
  });
}

function foldTiles(hashes: readonly Digest[]): Digest[] {
  return Array.from({ length: hashes.length / TILE_WIDTH }, (_, at) =>
    treeHash(hashes.slice(at * TILE_WIDTH, (at + 1) * TILE_WIDTH)),
  );
}

/**
 * Stores the tiles that filled up since they were last stored; gives how many. Call it in a transaction of its own: when
 * the tree of these tiles has not the root of the head it throws, and nothing is stored.
 * @throws CHAIN_REWRITTEN
 */
export async function storeTiles(client: SqlClient): Promise<number> {
  const head = await readHead(client);
  const read = nodeReader(client, { stored: true });
  let made = 0;
  for (let level = 1; levelWidth(head.size, level + 1) > 0n; level += 1) {
    const full = levelWidth(head.size, level + 1);
    for (let index = await countTiles(client, level); index < full; index += 1n) {
      const hashes = await read(level, index * WIDTH, (index + 1n) * WIDTH);
      made += (await writeTile(client, level, index, hashes)) ? 1 : 0;
    }
  }
  if (made > 0 && !(await readRoot(read, head.size)).equals(rootOf(head.frontier))) {
    throw new AuditkeepError('CHAIN_REWRITTEN', {
      message: `the tiles of the tree do not lead to the head of ${head.size} links`,
      hint: 'run auditkeep chain verify: somebody changed the chain itself',
    });
  }
  return made;
}
