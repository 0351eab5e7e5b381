/** Compares the walked chain with every signed checkpoint: those kept in the database and the signer's own last one. */
import { AuditkeepError } from '../../errors.ts';
import type { StoredCheckpoint } from '../links/chain-store.ts';
import { type Finding, finding } from '../links/finding.ts';
import type { LinkWalk } from '../links/link-walk.ts';
import { openCheckpoint, type TreeHead, type VerifierKey } from '../tree/checkpoint.ts';

/** What is known about the log's signatures, and from where. */
export interface SignedHeads {
  /** From the signer's store; null when this home never signed, so that no signature can be judged. */
  readonly key: VerifierKey | null;
  /**
   * How much is kept of what was signed under a name that the log had before this incarnation, under the same key: what
   * lies beyond was abandoned. Undefined for any other name.
   */
  readonly keptOf: (origin: string) => bigint | undefined;
  /** The last note in the signer's store. */
  readonly ownNote: string | null;
  /** What witnesses cosigned, opened by witness/anchor.ts: outside the database too. */
  readonly cosigned: readonly TreeHead[];
  /** Copies in the database and in the directory of checkpoints. */
  readonly stored: readonly KeptCheckpoint[];
}

/** A checkpoint that is kept where others can write. */
export interface KeptCheckpoint extends StoredCheckpoint {
  /** `audit.checkpoint`, or the file's name in the directory of checkpoints. */
  readonly place: string;
}

export interface OpenedHeads {
  readonly heads: readonly TreeHead[];
  /** The signer's own last head: outside the database. */
  readonly own: TreeHead | null;
  readonly findings: readonly Finding[];
}

/**
 * Opens the checkpoints of this log; one that does not verify, or whose row says something else, is a finding, whatever
 * its root: nobody but the signer publishes. Of earlier incarnations the signatures are judged, and the roots as far as
 * the log kept their leaves.
 */
export function openHeads({ key, keptOf, ownNote, cosigned, stored }: SignedHeads): OpenedHeads {
  if (key === null) return { heads: [], own: null, findings: [] };
  const heads: TreeHead[] = [...cosigned];
  const findings: Finding[] = [];
  const own = ownNote === null ? null : openCheckpoint(ownNote, key);
  for (const row of stored) {
    const kept = keptOf(row.origin);
    const name = kept === undefined ? key.name : row.origin;
    const opened = openStored(row, { ...key, name });
    if ('code' in opened) {
      const facts = { expected: `a checkpoint of ${name} in ${row.place}`, actual: opened.code };
      findings.push(finding('checkpoint-invalid', { ...facts, checkpointTo: Number(row.size) }));
    } else if (kept === undefined || row.size <= kept) heads.push(opened.head);
  }
  if (own !== null) heads.push(own);
  return { heads: heads.sort((a, b) => (a.size < b.size ? -1 : 1)), own, findings };
}

function openStored(row: KeptCheckpoint, key: VerifierKey): { head: TreeHead } | { code: string } {
  try {
    const head = openCheckpoint(row.note, key);
    const same = head.origin === row.origin && head.size === row.size && head.root.equals(row.root);
    return same ? { head } : { code: 'row differs from its note' };
  } catch (error) {
    if (error instanceof AuditkeepError) return { code: error.code };
    throw error;
  }
}

/**
 * Signed heads beyond the size that the chain claims are rolled-back (links missing below it are a finding of the walk);
 * the first whose root differs is rewritten, if the links themselves
 * are clean: otherwise a more exact finding already says where.
 */
export function compareHeads(
  walk: Pick<LinkWalk, 'clean' | 'rootAt'>,
  { heads }: OpenedHeads,
  size: bigint,
): Finding[] {
  let fits: bigint | null = null;
  for (const head of heads) {
    const around = { checkpointFrom: fits === null ? null : Number(fits), checkpointTo: Number(head.size) };
    if (head.size > size) {
      return [finding('rolled-back', { ...around, expected: String(head.size), actual: String(size) })];
    }
    const root = walk.rootAt(head.size);
    if (root === undefined) continue;
    if (!root.equals(head.root)) {
      const roots = { expected: head.root.toString('hex'), actual: root.toString('hex') };
      return walk.clean ? [finding('rewritten', { ...around, ...roots, seq: fits === null ? 0 : Number(fits) })] : [];
    }
    fits = head.size;
  }
  return [];
}
