/** What a thread of full verification computes from slabs: the walk over the links and the sums of events and links. Pure. */
import { checkCanary } from './canary.ts';
import { eventTuples } from './event-source.ts';
import { EventSums, type PartialSums, summedEvent, summedLink } from './event-sums.ts';
import type { Finding } from './finding.ts';
import type { Digest } from './hash.ts';
import { linkSource } from './link-source.ts';
import { LinkWalk, type WalkedHead } from './link-walk.ts';
import { decodeFrontier } from './merkle.ts';
import { type Slab, slabRows } from './slabs.ts';

/** What every thread of a run is given; survives a structured clone. */
export interface ScanInput {
  /** The key of the sums, drawn for the run. */
  readonly key: Uint8Array;
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
}

export class ChainScan {
  readonly #sums: EventSums;
  readonly #walk: LinkWalk;
  readonly #input: ScanInput;
  #sawEvent = false;

  constructor(input: ScanInput) {
    this.#input = input;
    this.#sums = new EventSums(input.key);
    this.#walk = new LinkWalk(input.sizes);
  }

  /** Links in seq order; gives how many. */
  pushLinks(slab: Slab): number {
    const links = slabRows(slab, linkSource);
    this.#walk.push(links);
    for (const link of links) this.#sums.add('link', summedLink(link));
    return links.length;
  }

  /** Events in any order; gives how many. The first one is also the canary. @throws CHAIN_CANARY */
  pushEvents(slab: Slab): number {
    const rows = slabRows(slab, eventTuples);
    const [first] = rows;
    if (!this.#sawEvent && first !== undefined) checkCanary(first);
    this.#sawEvent = true;
    for (const row of rows) {
      this.#sums.add('event', summedEvent(row));
      if (row.hasOwnHash || row.hashVersion !== 1) this.#sums.suspect(row.timestamp);
    }
    return rows.length;
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
    return { sums: this.#sums.parts, walked, end, clean, roots, findings };
  }

  #head(): WalkedHead {
    const { size, chainHash, frontier } = this.#input.head;
    return { size, chainHash: Buffer.from(chainHash), frontier: decodeFrontier(size, Buffer.from(frontier)) };
  }
}
