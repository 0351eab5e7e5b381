/** From rows to links: what the sealer computes. Pure. */
import { commitEvent, eventLeaf } from './canonical.ts';
import { type ChainEnd, chainLeaves } from './chain.ts';
import type { NewLinks } from './chain-store.ts';
import type { EventRow } from './event-source.ts';
import { DIGEST_BYTES, type Digest } from './hash.ts';
import { appendLeaves, type Frontier } from './merkle.ts';
import { timestampText, uuidText } from './pg-time.ts';

const NO_COMMITMENT = Buffer.alloc(DIGEST_BYTES);

/** Where chain and tree end. */
export interface TreeEnd extends ChainEnd {
  readonly frontier: Frontier;
}

/** Links of further rows, in order, and where chain and tree end with them. */
export function linkRows(from: TreeEnd, rows: readonly EventRow[]): { links: NewLinks; end: TreeEnd } {
  const commitments: Digest[] = [];
  const leaves = rows.map((row) => {
    const { actor, payload } = commitEvent(row);
    commitments.push(actor ?? NO_COMMITMENT, payload ?? NO_COMMITMENT);
    return eventLeaf(row.bare, { actor, payload });
  });
  const chainHashes = chainLeaves(from, leaves);
  const frontier = appendLeaves(from.frontier, leaves);
  return {
    links: {
      timestamps: rows.map((row) => timestampText(row.timestamp)),
      ids: rows.map((row) => uuidText(row.id)),
      txids: rows.map((row) => row.txid),
      leaves: Buffer.concat(leaves),
      commitments: Buffer.concat(commitments),
      chainHashes: Buffer.concat(chainHashes),
    },
    end: { size: frontier.size, chainHash: chainHashes.at(-1) ?? from.chainHash, frontier },
  };
}
