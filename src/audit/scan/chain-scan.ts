/** What a thread of full verification computes from slabs: the walk over the links and the sums of events and links. Pure. */

import { bytesOf, type Slab } from '../copy/slabs.ts';
import { eachTuple } from '../copy/tuples.ts';
import { hasMisfitSalt } from '../event/event-digest.ts';
import { eventTuples, HASH_VERSION, OWN_HASH } from '../event/event-source.ts';
import { ShaLanes } from '../lanes/sha-lanes.ts';
import type { Finding } from '../links/finding.ts';
import { LinkLanes } from '../links/link-lanes.ts';
import { LINK, linkSource } from '../links/link-source.ts';
import { LinkWalk, type WalkedHead } from '../links/link-walk.ts';
import type { Digest } from '../tree/hash.ts';
import { decodeFrontier } from '../tree/merkle.ts';
import { checkCanary, silent } from './canary.ts';
import { EventSums, type PartialSums } from './event-sums.ts';
import { RepeatFilter } from './repeat-filter.ts';
import { checkSlabCanary } from './slab-canary.ts';
import { SlabHasher } from './slab-hasher.ts';

/** What every thread of a run is given; survives a structured clone. */
export interface ScanInput {
  /** The key of the sums, drawn for the run. */
  readonly key: Uint8Array;
  /** Transactions from this one on are young. */
  readonly since: bigint;
  /** Tree sizes whose roots are wanted. */
  readonly sizes: readonly bigint[];
  readonly head: { readonly size: bigint; readonly chainHash: Uint8Array; readonly frontier: Uint8Array };
}

/** What a thread has found; survives a structured clone. */
export interface ScanResult {
  readonly sums: PartialSums;
  readonly walked: number;
  readonly end: bigint;
  /** Every link followed from the one before. */
  readonly clean: boolean;
  readonly roots: ReadonlyMap<bigint, Uint8Array>;
  /** Of the links, the head included; empty for a thread that saw no links. */
  readonly findings: readonly Finding[];
  /** Ids of links that may have come before; null when they are too many to be kept. */
  readonly repeated: readonly Uint8Array[] | null;
}

export class ChainScan {
  /** Of the links, and of everything in the end. */
  readonly #sums: EventSums;
  /** Of the events since the last cut. */
  readonly #events: EventSums;
  readonly #walk: LinkWalk;
  readonly #input: ScanInput;
  readonly #lanes = createLanes();
  readonly #hasher: SlabHasher;
  #repeats: RepeatFilter | null = null;
  #sawEvent = false;
  /** The canary went through the lanes, where there are any. */
  #tried = false;

  constructor(input: ScanInput) {
    this.#input = input;
    this.#sums = new EventSums(input.key, input.since);
    this.#events = new EventSums(input.key, input.since);
    this.#hasher = new SlabHasher(this.#lanes, this.#events);
    this.#walk = new LinkWalk(input.sizes, undefined, this.#lanes === null ? null : new LinkLanes(this.#lanes));
  }

  /** Links in seq order; gives how many. */
  pushLinks(slab: Slab): number {
    const before = this.#walk.walked;
    this.#walk.pushSlab(slab);
    this.#repeats ??= new RepeatFilter(Number(this.#input.head.size));
    const repeats = this.#repeats;
    const view = new DataView(slab.buffer, slab.byteOffset, slab.byteLength);
    eachTuple(bytesOf(slab), linkSource, (tuple) => {
      this.#sums.addLink(tuple, view);
      repeats.add(view, tuple.start(LINK.id));
    });
    return this.#walk.walked - before;
  }

  /** Events in any order; gives how many. The first one is also the canary. @throws CHAIN_CANARY */
  pushEvents(slab: Slab): number {
    let rows = 0;
    this.#tried ||= checkSlabCanary(slab, this.#lanes, this.#sawEvent);
    this.#hasher.push(slab, (tuple) => {
      const { data } = tuple;
      if (!this.#sawEvent) checkCanary(eventTuples.decode(tuple));
      this.#sawEvent = true;
      const ownHash = data[tuple.start(OWN_HASH)] === 1;
      const otherVersion = data.readInt16BE(tuple.start(HASH_VERSION)) !== 1;
      if (ownHash || otherVersion || hasMisfitSalt(tuple)) this.#events.suspect(data, tuple.start(1));
      rows += 1;
    });
    return rows;
  }

  /** What the events since the last cut sum up to: they are not in the result of finish(). */
  cut(): PartialSums {
    return this.#events.take();
  }

  /** Call once, after the last slab. */
  finish(withLinks: boolean): ScanResult {
    const { clean, walked, end } = this.#walk;
    const roots = new Map<bigint, Digest>();
    for (const size of this.#input.sizes) {
      const root = this.#walk.rootAt(size);
      if (root !== undefined) roots.set(size, root);
    }
    const findings = withLinks ? this.#walk.finish(this.#head()) : [];
    this.#sums.merge(this.#events.take());
    const repeated = this.#repeats === null ? [] : this.#repeats.repeated;
    return { sums: this.#sums.parts, walked, end, clean, roots, findings, repeated };
  }

  #head(): WalkedHead {
    const { size, chainHash, frontier } = this.#input.head;
    return { size, chainHash: Buffer.from(chainHash), frontier: decodeFrontier(size, Buffer.from(frontier)) };
  }
}

/** @throws CHAIN_CANARY where they hash wrongly */
function createLanes(): ShaLanes | null {
  try {
    return ShaLanes.create();
  } catch (error) {
    if (error instanceof RangeError) throw silent('SHA-256 in lanes');
    throw error;
  }
}
