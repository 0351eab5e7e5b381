/** Events of slabs into sums: in lanes where there are any and the slab has room there, otherwise one by one. */

import { bytesOf, type Slab } from '../copy/slabs.ts';
import { eachTuple, type Tuple } from '../copy/tuples.ts';
import { hashTuple } from '../event/event-digest.ts';
import { eventTuples } from '../event/event-source.ts';
import type { ShaLanes } from '../lanes/sha-lanes.ts';
import { EventLanes } from './event-lanes.ts';
import type { EventSums } from './event-sums.ts';

export class SlabHasher {
  readonly #sums: EventSums;
  readonly #lanes: { readonly memory: ShaLanes; readonly events: EventLanes } | null;

  constructor(lanes: ShaLanes | null, sums: EventSums) {
    this.#sums = sums;
    this.#lanes = lanes === null ? null : { memory: lanes, events: new EventLanes(lanes, sums) };
  }

  /** Sums up every event of a slab, and shows each tuple. */
  push(slab: Slab, visit: (tuple: Tuple) => void): void {
    const loaded = this.#lanes?.memory.load(slab) ?? null;
    const lanes = loaded === null ? null : this.#lanes;
    const { bytes, from } = loaded ?? { bytes: bytesOf(slab), from: 0 };
    const take = (tuple: Tuple) => {
      if (lanes === null) this.#sums.addEvent(tuple, hashTuple(tuple));
      else lanes.events.add(tuple);
      visit(tuple);
    };
    eachTuple(bytes, eventTuples, take, from);
    lanes?.events.flush();
  }
}
