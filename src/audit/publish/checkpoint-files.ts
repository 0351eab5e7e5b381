/** The directory of checkpoints as verification reads it: what the signer published, whatever the database has. */
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { checkpointFile, damagedStore, listCheckpointFiles } from '../signer/signer-store.ts';
import { decodeBase64 } from '../tree/checkpoint.ts';
import type { KeptCheckpoint } from './checkpoint-check.ts';

/** Which files: all from a size on, or those of some sizes. */
type Which = { readonly from: bigint } | { readonly sizes: readonly bigint[] };

/**
 * The published checkpoints of a home. What is no note counts as one of `origin`, so that opening it makes it a finding.
 * @throws CHAIN_SIGNER_STORE
 */
export async function readCheckpointFiles(
  home: string,
  { origin, incarnation, ...which }: { readonly origin: string; readonly incarnation: number } & Which,
): Promise<KeptCheckpoint[]> {
  const files =
    'sizes' in which
      ? [...new Set(which.sizes)].map((size) => ({ size, file: checkpointFile(home, incarnation, size) }))
      : await listCheckpointFiles(home, incarnation, which.from);
  const read: KeptCheckpoint[] = [];
  for (const { size, file } of files) {
    const note = await readFile(file, 'utf8').catch((error: unknown) => {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
      throw damagedStore(`${file} cannot be read`, error);
    });
    if (note === null) continue;
    const [named, , root] = note.split('\n');
    const hash = root === undefined ? null : decodeBase64(root);
    const stated = hash === null ? origin : (named ?? origin);
    read.push({ origin: stated, size, root: hash ?? Buffer.alloc(0), note, place: basename(file) });
  }
  return read;
}
