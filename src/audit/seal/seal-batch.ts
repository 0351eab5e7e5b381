/** From events to links: what the sealer computes. Pure. */

import type { Tuple } from '../copy/tuples.ts';
import { type EventHashes, hashEvent, hashTuple } from '../event/event-digest.ts';
import { type EventRow, TXID } from '../event/event-source.ts';
import type { NewLinks } from '../links/chain-store.ts';
import type { ChainEnd } from '../tree/chain.ts';
import { DIGEST_BYTES, linkMessage } from '../tree/hash.ts';
import { appendPackedLeaves, type Frontier } from '../tree/merkle.ts';

const ID_BYTES = 16;
/** Of a time and of a transaction id. */
const INT64_BYTES = 8;

/** Where chain and tree end. */
export interface TreeEnd extends ChainEnd {
  readonly frontier: Frontier;
}

/** What a link says of its event. */
type PackedLinks = Omit<NewLinks, 'chainHashes'>;

/** Events in order, hashed as they are added, packed as audit.append_links() takes them: no object an event. */
export class EventBatch {
  readonly #links: PackedLinks;
  readonly #capacity: number;
  #count = 0;

  constructor(capacity: number) {
    this.#capacity = capacity;
    this.#links = {
      timestamps: Buffer.alloc(INT64_BYTES * capacity),
      ids: Buffer.alloc(ID_BYTES * capacity),
      txids: Buffer.alloc(INT64_BYTES * capacity),
      leaves: Buffer.alloc(DIGEST_BYTES * capacity),
      commitments: Buffer.alloc(2 * DIGEST_BYTES * capacity),
    };
  }

  get count(): number {
    return this.#count;
  }

  /** Nothing more can be added. */
  get full(): boolean {
    return this.#count === this.#capacity;
  }

  /** Adds a tuple of eventTuples. @throws RangeError when the batch is full */
  addTuple(tuple: Tuple): void {
    const { at, links } = this.#place();
    copyField(tuple, 0, { to: links.ids, at: ID_BYTES * at, bytes: ID_BYTES });
    copyField(tuple, 1, { to: links.timestamps, at: INT64_BYTES * at, bytes: INT64_BYTES });
    copyField(tuple, TXID, { to: links.txids, at: INT64_BYTES * at, bytes: INT64_BYTES });
    this.#add(hashTuple(tuple));
  }

  /** Adds a row. @throws RangeError when the batch is full */
  addRow(row: EventRow): void {
    const { at, links } = this.#place();
    row.id.copy(links.ids, ID_BYTES * at);
    row.timestamp.copy(links.timestamps, INT64_BYTES * at);
    links.txids.writeBigInt64BE(row.txid, INT64_BYTES * at);
    this.#add(hashEvent(row));
  }

  /** What was added, without memory for more. */
  get packed(): PackedLinks {
    const of = (bytes: Buffer, each: number) => bytes.subarray(0, each * this.#count);
    const { timestamps, ids, txids, leaves, commitments } = this.#links;
    return {
      timestamps: of(timestamps, INT64_BYTES),
      ids: of(ids, ID_BYTES),
      txids: of(txids, INT64_BYTES),
      leaves: of(leaves, DIGEST_BYTES),
      commitments: of(commitments, 2 * DIGEST_BYTES),
    };
  }

  /** The event that was added last; null before the first. */
  get last(): { readonly txid: bigint; readonly timestamp: Buffer; readonly id: Buffer } | null {
    const at = this.#count - 1;
    if (at < 0) return null;
    const { timestamps, ids, txids } = this.#links;
    return {
      txid: txids.readBigInt64BE(INT64_BYTES * at),
      timestamp: timestamps.subarray(INT64_BYTES * at, INT64_BYTES * (at + 1)),
      id: ids.subarray(ID_BYTES * at, ID_BYTES * (at + 1)),
    };
  }

  #place(): { readonly at: number; readonly links: PackedLinks } {
    if (this.full) throw new RangeError(`a batch of ${this.#capacity} events is full`);
    return { at: this.#count, links: this.#links };
  }

  #add({ leaf, actor, payload }: EventHashes): void {
    const [{ leaves, commitments }, at] = [this.#links, DIGEST_BYTES * this.#count];
    leaves.write(leaf, at, 'latin1');
    // An absent commitment stays zero.
    if (actor !== null) commitments.write(actor, 2 * at, 'latin1');
    if (payload !== null) commitments.write(payload, 2 * at + DIGEST_BYTES, 'latin1');
    this.#count += 1;
  }
}

/** Links of further events, in order, and where chain and tree end with them. */
export function linkBatch(from: TreeEnd, batch: EventBatch): { links: NewLinks; end: TreeEnd } {
  const { packed, count } = batch;
  const chainHashes = Buffer.alloc(DIGEST_BYTES * count);
  let [previous, before] = [from.chainHash, 0];
  for (let at = 0; at < count; at += 1) {
    const place = DIGEST_BYTES * at;
    const link = linkMessage(previous, before)
      .addInt64(from.size + BigInt(at))
      .add(packed.leaves, place, place + DIGEST_BYTES);
    chainHashes.write(link.hash(), place, 'latin1');
    [previous, before] = [chainHashes, place];
  }
  const frontier = appendPackedLeaves(from.frontier, packed.leaves);
  const chainHash = Buffer.from(previous.subarray(before, before + DIGEST_BYTES));
  return { links: { ...packed, chainHashes }, end: { size: frontier.size, chainHash, frontier } };
}

/** The same of rows. */
export function linkRows(from: TreeEnd, rows: readonly EventRow[]): { links: NewLinks; end: TreeEnd } {
  const batch = new EventBatch(rows.length);
  for (const row of rows) batch.addRow(row);
  return linkBatch(from, batch);
}

/** A field of a fixed length that the table's types give it. */
function copyField(
  tuple: Tuple,
  field: number,
  { to, at, bytes }: { readonly to: Buffer; readonly at: number; readonly bytes: number },
): void {
  const from = tuple.start(field);
  if (tuple.isNull(field) || tuple.end(field) !== from + bytes)
    throw new RangeError(`field ${field} is not of ${bytes} bytes`);
  tuple.data.copy(to, at, from, from + bytes);
}
