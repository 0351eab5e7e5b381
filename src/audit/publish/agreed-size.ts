/** Up to where a chain that was restored still is the one that was signed. */
import { readFile } from 'node:fs/promises';
import type { SqlClient } from '../../db/database.ts';
import { readTuples } from '../copy/tuples.ts';
import type { ChainHead } from '../links/chain-store.ts';
import { leafSource } from '../links/link-source.ts';
import { listCheckpointFiles, type SignerState } from '../signer/signer-store.ts';
import { openCheckpoint, type TreeHead, type VerifierKey } from '../tree/checkpoint.ts';
import { appendLeaves, EMPTY_FRONTIER, rootOf } from '../tree/merkle.ts';
import { firstDifference, isMirrorOf } from './mirror-compare.ts';

/**
 * How many leaves agree with what was signed in an incarnation: exactly, by the mirror of leaves; where none vouches for
 * them, up to the largest checkpoint that still fits.
 * @throws CHAIN_SIGNER_STORE, CHECKPOINT_*
 */
export async function readAgreedSize(
  client: SqlClient,
  head: Pick<ChainHead, 'size'>,
  signed: {
    readonly home: string;
    readonly incarnation: number;
    readonly state: SignerState;
    readonly key: VerifierKey;
  },
): Promise<bigint> {
  const { home, incarnation, state, key } = signed;
  const { size } = state.frontier;
  const end = head.size < size ? head.size : size;
  if (await isMirrorOf({ home, incarnation }, { size, root: rootOf(state.frontier) })) {
    return (await firstDifference(client, { home, incarnation }, end))?.seq ?? end;
  }
  const heads: TreeHead[] = [];
  for (const { file } of await listCheckpointFiles(home, incarnation)) {
    heads.push(openCheckpoint(await readFile(file, 'utf8'), key));
  }
  return largestFitting(
    client,
    heads.filter((signedHead) => signedHead.size <= end),
  );
}

async function largestFitting(client: SqlClient, heads: readonly TreeHead[]): Promise<bigint> {
  let [frontier, agreed] = [EMPTY_FRONTIER, 0n];
  for (const { size, root } of heads) {
    for await (const leaves of readTuples(client, leafSource(frontier.size, size))) {
      frontier = appendLeaves(frontier, leaves);
    }
    if (frontier.size !== size || !rootOf(frontier).equals(root)) return agreed;
    agreed = size;
  }
  return agreed;
}
