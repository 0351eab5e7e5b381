/**
 * The canary of what full verification does in place (canary.ts has that of objects): a slab of one event that was just
 * read and one of a link that fits it go through the very code that hashes every slab, unchanged and with a bit flipped.
 */
import { randomInt } from 'node:crypto';
import { bytesOf, type Slab } from '../copy/slabs.ts';
import { eachTuple, type Tuple } from '../copy/tuples.ts';
import { frameFields } from '../event/canonical.ts';
import { ACTOR_SALT, type EventRow, eventTuples } from '../event/event-source.ts';
import type { ShaLanes } from '../lanes/sha-lanes.ts';
import type { Finding } from '../links/finding.ts';
import { LinkLanes } from '../links/link-lanes.ts';
import { linkTuples } from '../links/link-source.ts';
import { LinkWalk } from '../links/link-walk.ts';
import { EMPTY_CHAIN } from '../tree/chain.ts';
import { linkHash } from '../tree/hash.ts';
import { appendLeaves, EMPTY_FRONTIER } from '../tree/merkle.ts';
import { silent } from './canary.ts';
import { fits } from './event-lanes.ts';
import { EventSums, summedEvent } from './event-sums.ts';
import { SlabHasher } from './slab-hasher.ts';

/**
 * Tries an event of a slab: the first that lanes take, where there are lanes, otherwise the first.
 * @param again the first event of a slab was tried before: only one that lanes take is of interest
 * @returns whether everything that hashes was tried; where the slab has no event that lanes take, it was not
 * @throws CHAIN_CANARY
 */
export function checkSlabCanary(slab: Slab, lanes: ShaLanes | null, again = false): boolean {
  const inLanes = lanes === null || !lanes.holds(slab) ? null : firstEvent(slab, fits);
  const first = inLanes ?? (again ? null : firstEvent(slab, () => true));
  if (first === null) return false;
  const { row, event, bare } = first;
  if (eventDiffers(row, event, lanes)) throw silent('an unchanged event in place');
  if (!eventDiffers(row, withFlippedBit(event, bare), lanes)) throw silent('a changed event in place');
  const leaf = summedEvent(row).leaf;
  if (linkFindings(row, leaf, { leaf, lanes }).length > 0) throw silent('an unchanged link in place');
  const flipped = withFlippedBit(leaf, [[0, leaf.length]]);
  // The root, which differs too, must not be all that tells.
  const found = linkFindings(row, leaf, { leaf: flipped, lanes });
  if (!found.some((one) => one.class !== 'rewritten')) throw silent('a changed link in place');
  return lanes === null || inLanes !== null;
}

/** The bare fields but id and time, which are compared as they are: a change there is seen without any hash. */
const HASHED_FIELDS = Array.from({ length: ACTOR_SALT - 2 }, (_, at) => at + 2);

type Range = readonly [from: number, to: number];

/** The first such event of a slab as an object and as a slab of its own, and where its hashed bare fields lie there. */
function firstEvent(
  slab: Slab,
  isSuch: (tuple: Tuple) => boolean,
): { row: EventRow; event: Slab; bare: Range[] } | null {
  const bytes = bytesOf(slab);
  let [from, end, before] = [0, 0, 0];
  eachTuple(bytes, eventTuples, (tuple) => {
    const after = tuple.end(eventTuples.fieldCount - 1);
    if (end === 0 && isSuch(tuple)) [from, end] = [before, after];
    before = after;
  });
  if (end === 0) return null;
  const event = new Uint8Array(slab.subarray(from, end));
  const bare: Range[] = [];
  const rows: EventRow[] = [];
  eachTuple(bytesOf(event), eventTuples, (tuple: Tuple) => {
    rows.push(eventTuples.decode(tuple));
    for (const field of HASHED_FIELDS)
      if (tuple.end(field) > tuple.start(field)) bare.push([tuple.start(field), tuple.end(field)]);
  });
  const [row] = rows;
  return row === undefined ? null : { row, event, bare };
}

function eventDiffers(row: EventRow, event: Slab, lanes: ShaLanes | null): boolean {
  const sums = new EventSums();
  sums.add('link', summedEvent(row));
  new SlabHasher(lanes, sums).push(event, () => undefined);
  return sums.differing().ranges.length > 0;
}

/** A chain of one link, whose leaf is another than the chain hash and the tree say. */
function linkFindings(
  { timestamp, id, txid }: EventRow,
  chained: Buffer,
  { leaf, lanes }: { readonly leaf: Uint8Array; readonly lanes: ShaLanes | null },
): Finding[] {
  const chainHash = linkHash(EMPTY_CHAIN.chainHash, 0n, chained);
  const transaction = Buffer.alloc(8);
  transaction.writeBigInt64BE(txid);
  const fields = [Buffer.alloc(8), timestamp, id, transaction, leaf, chainHash, null, null];
  const slab = Buffer.concat([Buffer.from([0, linkTuples.fieldCount]), frameFields(fields)]);
  const walk = new LinkWalk([], undefined, lanes === null ? null : new LinkLanes(lanes));
  walk.pushSlab(new Uint8Array(slab));
  return walk.finish({ size: 1n, chainHash, frontier: appendLeaves(EMPTY_FRONTIER, [chained]) });
}

function withFlippedBit(bytes: Uint8Array, ranges: readonly Range[]): Uint8Array<ArrayBuffer> {
  const copy = new Uint8Array(bytes);
  const [from, to] = ranges[randomInt(ranges.length)] ?? [0, copy.length];
  const at = randomInt(from, to);
  copy[at] = (copy[at] ?? 0) ^ (1 << randomInt(8));
  return copy;
}
