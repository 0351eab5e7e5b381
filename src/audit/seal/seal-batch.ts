/** From rows to links: what the sealer computes. Pure. */

import { hashEvent } from '../event/event-digest.ts';
import type { EventRow } from '../event/event-source.ts';
import type { NewLinks } from '../links/chain-store.ts';
import type { ChainEnd } from '../tree/chain.ts';
import { DIGEST_BYTES, linkMessage } from '../tree/hash.ts';
import { appendPackedLeaves, type Frontier } from '../tree/merkle.ts';

/** Where chain and tree end. */
export interface TreeEnd extends ChainEnd {
  readonly frontier: Frontier;
}

/** Links of further rows, in order, and where chain and tree end with them. */
export function linkRows(from: TreeEnd, rows: readonly EventRow[]): { links: NewLinks; end: TreeEnd } {
  const links = {
    timestamps: Buffer.alloc(8 * rows.length),
    ids: Buffer.alloc(16 * rows.length),
    txids: Buffer.alloc(8 * rows.length),
    leaves: Buffer.alloc(DIGEST_BYTES * rows.length),
    commitments: Buffer.alloc(2 * DIGEST_BYTES * rows.length),
    chainHashes: Buffer.alloc(DIGEST_BYTES * rows.length),
  };
  let previous: Buffer = from.chainHash;
  for (const [at, row] of rows.entries()) {
    row.timestamp.copy(links.timestamps, 8 * at);
    row.id.copy(links.ids, 16 * at);
    links.txids.writeBigInt64BE(row.txid, 8 * at);
    const { leaf, actor, payload } = hashEvent(row);
    const place = DIGEST_BYTES * at;
    // An absent commitment stays zero.
    links.commitments.write(actor ?? '', 2 * place, 'latin1');
    links.commitments.write(payload ?? '', 2 * place + DIGEST_BYTES, 'latin1');
    links.leaves.write(leaf, place, 'latin1');
    const link = linkMessage(previous)
      .addInt64(from.size + BigInt(at))
      .addDigest(leaf);
    links.chainHashes.write(link.hash(), place, 'latin1');
    previous = links.chainHashes.subarray(place, place + DIGEST_BYTES);
  }
  const frontier = appendPackedLeaves(from.frontier, links.leaves);
  return { links, end: { size: frontier.size, chainHash: Buffer.from(previous), frontier } };
}
