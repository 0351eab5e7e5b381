/**
 * Where signed checkpoints go besides the signer's own store and the database. One kind exists: the directory. Storage
 * that locks what it holds (S3 Object Lock) and time stamps (RFC 3161) would be further ones; there is no
 * configuration for them, because there is nothing behind it yet.
 */
import { readFile } from 'node:fs/promises';
import { checkpointFile, damagedStore, writeDurably } from './signer-store.ts';

/** A checkpoint as it was signed. */
interface SignedCheckpoint {
  readonly note: string;
  readonly size: bigint;
  readonly incarnation: number;
}

/** What a sink says about a checkpoint that it holds. */
interface Receipt {
  readonly sink: string;
  /** Where it lies there: a path, a key, a serial number. */
  readonly place: string;
}

export interface CheckpointSink {
  readonly name: string;
  /**
   * Keeps a checkpoint; durable when it resolves. The same one again changes nothing, another one of the same log and
   * size is refused: a sink is called again after a crash.
   */
  put(checkpoint: SignedCheckpoint): Promise<Receipt>;
}

/**
 * The directory `<home>/checkpoints`: one file a checkpoint, fsynced, never rewritten; one that was cut off by a crash is
 * completed. put throws CHAIN_SIGNER_STORE when another checkpoint of this log and size is there.
 */
export function directorySink(home: string): CheckpointSink {
  return {
    name: 'directory',
    async put({ note, size, incarnation }) {
      const file = checkpointFile(home, incarnation, size);
      const receipt = { sink: 'directory', place: file };
      await writeDurably(file, note, 'keep');
      const kept = await readFile(file, 'utf8');
      if (kept === note) return receipt;
      if (!note.startsWith(kept)) throw damagedStore(`${file} is another checkpoint than the one that was signed`);
      await writeDurably(file, note, 'replace');
      return receipt;
    },
  };
}
