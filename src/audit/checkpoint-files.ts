/** The directory of checkpoints as verification reads it: what the signer published, whatever the database still has. */
import { readFile } from 'node:fs/promises';
import type { StoredCheckpoint } from './chain-store.ts';
import { decodeBase64 } from './checkpoint.ts';
import { listCheckpointFiles } from './signer-store.ts';

/**
 * The published checkpoints of a home that are not among the ones known from the database. What is no note counts as one
 * of `origin`, so that opening it makes it a finding.
 * @throws CHAIN_SIGNER_STORE
 */
export async function readCheckpointFiles(
  home: string,
  { origin, incarnation }: { readonly origin: string; readonly incarnation: number },
  known: readonly StoredCheckpoint[],
): Promise<StoredCheckpoint[]> {
  const sizes = new Set(known.filter((row) => row.origin === origin).map((row) => row.size));
  const files = (await listCheckpointFiles(home, incarnation)).filter(({ size }) => !sizes.has(size));
  const read: StoredCheckpoint[] = [];
  for (const { size, file } of files) {
    const note = await readFile(file, 'utf8');
    const [named, , root] = note.split('\n');
    const hash = root === undefined ? null : decodeBase64(root);
    read.push({ origin: hash === null ? origin : (named ?? origin), size, root: hash ?? Buffer.alloc(0), note });
  }
  return read;
}
