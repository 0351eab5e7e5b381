/**
 * Links that were taken out of the chain, and which events they were of. An event without a link was linked once if its
 * leaf, put into a gap, gives the chain hash that follows the gap: nobody can prepare an event for which that is so, and
 * a count of both says nothing, since one may have been taken out and another put in. Pure.
 */

import { uuidText } from '../copy/pg-time.ts';
import { type Digest, linkHash } from '../tree/hash.ts';
import { type Finding, type FindingClass, finding } from './finding.ts';

/** An event that no link names. */
export interface UnlinkedEvent {
  readonly txid: bigint;
  /** int64 big-endian microseconds since 2000-01-01 UTC. */
  readonly timestamp: Buffer;
  /** 16 bytes. */
  readonly id: Buffer;
  readonly leaf: Digest;
  /** What is said of it when it was never linked. */
  readonly finding: Finding;
}

/** Missing links [from, to). */
export interface Gap {
  readonly from: bigint;
  readonly to: bigint;
  /** The chain hash before it. */
  readonly before: Digest;
  /** The transaction of the link before it: only a hint of where its events are in the order of sealing. */
  readonly txid: bigint;
  /** The link after it; its leaf is null where the chain ends, and the hash then is the head's. */
  readonly after: { readonly leaf: Digest | null; readonly chainHash: Digest };
}

/** Hashes spent on searching everywhere, for all gaps together: enough for a batch of links and a few strangers among them. */
const HASH_BUDGET = 2_000_000;
/** Hashes for each missing link, and the one after, before any gap may search everywhere. */
const NEAR_HASHES = 32;

export interface ExplainedGaps {
  readonly findings: readonly Finding[];
  /** Where the gaps begin that were filled. */
  readonly filled: ReadonlySet<number>;
  /** How many were spent. */
  readonly hashes: number;
}

/**
 * What is said of unlinked events and of gaps: an event that fills a gap is named as the one whose link is missing. Links
 * are in the order of their transactions nearly always, so each gap first tries the events from the transaction before it
 * on: about as many hashes as links are missing, however many gaps. What is left is searched as far as the budget goes.
 */
export function explainGaps(gaps: readonly Gap[], unlinked: readonly UnlinkedEvent[], size: bigint): ExplainedGaps {
  const events = new RemainingEvents([...unlinked].sort(bySealing));
  const search = { events, hashes: 0 };
  const found = new Map<Gap, readonly UnlinkedEvent[]>();
  for (const gap of gaps) {
    const run = fillGap(gap, search, { start: events.since(gap.txid), hashes: NEAR_HASHES * (lengthOf(gap) + 1) });
    if (run !== null) found.set(gap, take(events, run));
  }
  const end = search.hashes + HASH_BUDGET;
  for (const gap of gaps) {
    if (found.has(gap) || search.hashes >= end) continue;
    const run = fillGap(gap, search, { start: 0, hashes: end - search.hashes });
    if (run !== null) found.set(gap, take(events, run));
  }
  const findings = [...found].flatMap(([gap, run]) => missingLinks(gap, run, size));
  const filled = new Set([...found.keys()].map((gap) => Number(gap.from)));
  return { findings: [...findings, ...events.left.map((event) => event.finding)], filled, hashes: search.hashes };
}

function missingLinks(gap: Gap, run: readonly UnlinkedEvent[], size: bigint): Finding[] {
  const kind: FindingClass = gap.to === size ? 'truncated' : gap.from === 0n ? 'head-cut' : 'deleted';
  return run.map(({ id, finding: known }, at) => {
    const place = { seq: Number(gap.from) + at, eventId: uuidText(id), partition: known.partition };
    return finding(kind, { ...place, expected: 'a link', actual: 'none' });
  });
}

function take(events: RemainingEvents, run: readonly number[]): UnlinkedEvent[] {
  return run.map((at) => events.take(at));
}

/** Events in an order, of which some are taken; what is taken is skipped at once. */
class RemainingEvents {
  readonly #events: readonly UnlinkedEvent[];
  /** Of each place the next one that may not be taken; itself while it is not. */
  readonly #next: Int32Array;

  constructor(events: readonly UnlinkedEvent[]) {
    this.#events = events;
    this.#next = Int32Array.from({ length: events.length + 1 }, (_, at) => at);
  }

  get left(): UnlinkedEvent[] {
    return this.#events.filter((_, at) => this.#next[at] === at);
  }

  /** The place of the first event of a transaction or a later one. */
  since(txid: bigint): number {
    let [low, high] = [0, this.#events.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.at(middle).txid < txid) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The first place from one on that is not taken; null beyond the last. */
  from(place: number): number | null {
    let at = place;
    for (let next = this.#next[at] ?? at; next !== at; next = this.#next[at] ?? at) {
      this.#next[at] = this.#next[next] ?? next;
      at = next;
    }
    return at < this.#events.length ? at : null;
  }

  at(place: number): UnlinkedEvent {
    const event = this.#events[place];
    if (event === undefined) throw new RangeError(`no event at ${place}`);
    return event;
  }

  take(place: number): UnlinkedEvent {
    this.#next[place] = place + 1;
    return this.at(place);
  }

  /** So many places from one on that are not taken; fewer where the events end. */
  run(place: number, length: number): number[] {
    const places: number[] = [];
    for (let at = this.from(place); at !== null && places.length < length; at = this.from(at + 1)) places.push(at);
    return places;
  }
}

interface Search {
  readonly events: RemainingEvents;
  hashes: number;
}

/** The places of a gap's events in their order, or null: tried are runs in the order of sealing, with up to one stranger. */
function fillGap(
  gap: Gap,
  search: Search,
  { start, hashes }: { readonly start: number; readonly hashes: number },
): readonly number[] | null {
  const length = lengthOf(gap);
  const end = search.hashes + hashes;
  const fits = (run: readonly number[]) => {
    search.hashes += run.length + 1;
    return endsRightly(
      gap,
      run.map((at) => search.events.at(at)),
    );
  };
  for (const strangers of [0, 1]) {
    let first = search.events.from(start);
    while (first !== null && search.hashes < end) {
      const run = search.events.run(first, length + strangers);
      if (run.length < length + strangers) break;
      if (strangers === 0 && fits(run)) return run;
      for (let left = 1; strangers === 1 && left < length && search.hashes < end; left += 1) {
        const without = run.toSpliced(left, 1);
        if (fits(without)) return without;
      }
      first = search.events.from(first + 1);
    }
  }
  return null;
}

function lengthOf({ from, to }: Gap): number {
  return Number(to - from);
}

function endsRightly({ from, to, before, after }: Gap, run: readonly UnlinkedEvent[]): boolean {
  let hash = before;
  for (const [at, event] of run.entries()) hash = linkHash(hash, from + BigInt(at), event.leaf);
  return (after.leaf === null ? hash : linkHash(hash, to, after.leaf)).equals(after.chainHash);
}

/** The order in which the sealer links the events of a round. */
function bySealing(a: UnlinkedEvent, b: UnlinkedEvent): number {
  if (a.txid !== b.txid) return a.txid < b.txid ? -1 : 1;
  const [first, second] = [a.timestamp.readBigInt64BE(), b.timestamp.readBigInt64BE()];
  if (first !== second) return first < second ? -1 : 1;
  return a.id.compare(b.id);
}
