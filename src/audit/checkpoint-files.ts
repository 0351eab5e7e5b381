/** The directory of checkpoints as verification reads it: what the signer published, whatever the database has. */
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { decodeBase64 } from './checkpoint.ts';
import type { KeptCheckpoint } from './checkpoint-check.ts';
import { listCheckpointFiles } from './signer-store.ts';

/**
 * The published checkpoints of a home from a size on. What is no note counts as one of `origin`, so that opening it makes
 * it a finding.
 * @throws CHAIN_SIGNER_STORE
 */
export async function readCheckpointFiles(
  home: string,
  { origin, incarnation, from }: { readonly origin: string; readonly incarnation: number; readonly from: bigint },
): Promise<KeptCheckpoint[]> {
  const files = (await listCheckpointFiles(home, incarnation)).filter(({ size }) => size >= from);
  const read: KeptCheckpoint[] = [];
  for (const { size, file } of files) {
    const note = await readFile(file, 'utf8');
    const [named, , root] = note.split('\n');
    const hash = root === undefined ? null : decodeBase64(root);
    const stated = hash === null ? origin : (named ?? origin);
    read.push({ origin: stated, size, root: hash ?? Buffer.alloc(0), note, place: basename(file) });
  }
  return read;
}
