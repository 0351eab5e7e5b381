/**
 * Links that were taken out of the chain, and which events they were of. An event without a link was linked once if its
 * leaf, put into a gap, gives the chain hash that follows the gap: nobody can prepare an event for which that is so, and
 * a count of both says nothing, since one may have been taken out and another put in. Pure.
 */
import { type Finding, type FindingClass, finding } from './finding.ts';
import { type Digest, linkHash } from './hash.ts';
import { uuidText } from './pg-time.ts';

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
  /** The link after it; its leaf is null where the chain ends, and the hash then is the head's. */
  readonly after: { readonly leaf: Digest | null; readonly chainHash: Digest };
}

/** Hashes spent on one gap: enough for a batch of links and a handful of strangers among its events. */
const HASH_BUDGET = 2_000_000;

/** What is said of unlinked events and of gaps: an event that fills a gap is named as the one whose link is missing. */
export function explainGaps(
  gaps: readonly Gap[],
  unlinked: readonly UnlinkedEvent[],
  size: bigint,
): { readonly findings: readonly Finding[]; readonly filled: ReadonlySet<number> } {
  let rest = [...unlinked].sort(bySealing);
  const findings: Finding[] = [];
  const filled = new Set<number>();
  for (const gap of gaps) {
    const events = fillGap(gap, rest);
    if (events === null) continue;
    filled.add(Number(gap.from));
    const named = new Set(events);
    rest = rest.filter((event) => !named.has(event));
    const kind: FindingClass = gap.to === size ? 'truncated' : gap.from === 0n ? 'head-cut' : 'deleted';
    for (const [at, { id, finding: known }] of events.entries()) {
      const place = { seq: Number(gap.from) + at, eventId: uuidText(id), partition: known.partition };
      findings.push(finding(kind, { ...place, expected: 'a link', actual: 'none' }));
    }
  }
  return { findings: [...findings, ...rest.map((event) => event.finding)], filled };
}

/** The events of a gap in their order, or null: tried are runs in the order of sealing, with up to one stranger each. */
function fillGap(gap: Gap, events: readonly UnlinkedEvent[]): readonly UnlinkedEvent[] | null {
  const length = Number(gap.to - gap.from);
  let budget = HASH_BUDGET;
  const fits = (run: readonly UnlinkedEvent[]) => {
    budget -= run.length + 1;
    return endsRightly(gap, run);
  };
  for (let start = 0; start + length <= events.length && budget > 0; start += 1) {
    const run = events.slice(start, start + length);
    if (fits(run)) return run;
  }
  for (let start = 0; start + length < events.length && budget > 0; start += 1) {
    const wider = events.slice(start, start + length + 1);
    for (let left = 1; left < length && budget > 0; left += 1) {
      const run = wider.toSpliced(left, 1);
      if (fits(run)) return run;
    }
  }
  return null;
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
