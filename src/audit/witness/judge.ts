/** What a witness answers to a checkpoint, by https://c2sp.org/tlog-witness: a decision over plain data. */
import { AuditkeepError } from '../../errors.ts';
import { openCheckpoint, type TreeHead, type VerifierKey } from '../tree/checkpoint.ts';
import { sha256 } from '../tree/hash.ts';
import { verifyConsistency } from '../tree/merkle.ts';
import type { AddCheckpoint } from './add-checkpoint.ts';

/** The largest tree of a log that the witness cosigned. */
export interface WitnessedHead {
  readonly origin: string;
  readonly size: bigint;
  readonly root: Buffer;
  readonly note: string;
  /** Seconds since 1970. */
  readonly time: bigint;
}

export type Verdict =
  | { readonly kind: 'cosign'; readonly head: TreeHead }
  /** 400. */
  | { readonly kind: 'malformed'; readonly reason: string }
  /** 403. */
  | { readonly kind: 'unsigned'; readonly reason: string }
  /** 409 with the size that the witness is at. */
  | { readonly kind: 'conflict'; readonly size: bigint }
  /** 409 as well: a second tree of the same size, which only a log that lies, or lost its tree, can sign. */
  | { readonly kind: 'forked'; readonly size: bigint }
  /** 422. */
  | { readonly kind: 'unproven' };

/** The log's name in a note that nobody has verified yet. */
export function originLine(note: string): string {
  return note.slice(0, Math.max(note.indexOf('\n'), 0));
}

/** Judges a request about the log of `key`, given what was cosigned last (null: nothing). */
export function judgeCheckpoint(request: AddCheckpoint, key: VerifierKey, last: WitnessedHead | null): Verdict {
  let head: TreeHead;
  try {
    // A log of others may have signed its empty tree.
    head = openCheckpoint(request.note, key, 0n);
  } catch (error) {
    if (!(error instanceof AuditkeepError)) throw error;
    return { kind: error.code === 'CHECKPOINT_FORMAT' ? 'malformed' : 'unsigned', reason: error.message };
  }
  const { oldSize, proof } = request;
  if (oldSize > head.size) return { kind: 'malformed', reason: 'the old size is beyond the checkpoint' };
  const size = last?.size ?? 0n;
  if (oldSize !== size) return { kind: 'conflict', size };
  if (last !== null && head.size === size && !head.root.equals(last.root)) return { kind: 'forked', size };
  return isProven(head, last, proof) ? { kind: 'cosign', head } : { kind: 'unproven' };
}

function isProven(head: TreeHead, last: WitnessedHead | null, proof: readonly Buffer[]): boolean {
  if (head.size === 0n && !head.root.equals(sha256(Buffer.alloc(0)))) return false;
  // Everything begins with the empty tree; a proof from it is empty.
  if (last === null || last.size === 0n) return proof.length === 0;
  return verifyConsistency({ size1: last.size, root1: last.root, size2: head.size, root2: head.root, proof });
}
