/** Joins events and links by id where their sums differ, and judges each id; both come as one stream in id order. */
import type { KeyObject } from 'node:crypto';
import type { SqlClient } from '../../db/database.ts';
import { readTuples } from '../copy/tuples.ts';
import type { EventGroup } from '../event/canonical.ts';
import type { EventRow } from '../event/event-source.ts';
import { type InlineJudgement, judgeInline } from '../inline/inline-judge.ts';
import { readInlineRows, readInlineSegments } from '../inline/inline-store.ts';
import type { ChainHead } from '../links/chain-store.ts';
import { type Finding, finding } from '../links/finding.ts';
import type { UnlinkedEvent } from '../links/gap.ts';
import type { Snapshot } from '../links/snapshot.ts';
import { erasureKey, readErasures } from '../record/erase-store.ts';
import type { Differing, EventSums } from '../scan/event-sums.ts';
import { joinedSource, readLinksElsewhere } from '../scan/joined-source.ts';
import { type Circumstances, type JudgedLink, type Judgement, judgeEvent } from '../scan/judge.ts';
import { readSweepable } from '../seal/sweep.ts';
import { readPurged } from './purged-places.ts';
import { readDoubledIds, readPartitionNames } from './verify-store.ts';

export interface Comparison {
  readonly findings: readonly Finding[];
  /** Events without a link: inserted, unless their link was taken out of the chain (gap.ts). */
  readonly unlinked: readonly UnlinkedEvent[];
  readonly counts: {
    readonly sealed: number;
    readonly erased: number;
    readonly purged: number;
    readonly pending: number;
  };
}

interface ComparisonInput {
  readonly publicKey: KeyObject | null;
  readonly sums: EventSums;
  readonly head: ChainHead;
  readonly overdue: boolean;
  /** Leaves below this lie under a checkpoint that counts. */
  readonly covered: bigint;
  readonly due: Snapshot | null;
  readonly now: Snapshot;
  readonly wentBack: boolean;
}

const GONE: ReadonlySet<string> = new Set(['deleted', 'truncated', 'head-cut']);

/** Names every event that differs from its link, has none, or has two. */
export async function compareEvents(
  client: SqlClient,
  input: ComparisonInput & { readonly repeated: readonly Buffer[] | null },
): Promise<Comparison> {
  const doubled = await readDoubledIds(client, input.repeated);
  const findings: Finding[] = [];
  const missing: { seq: bigint; eventId: string }[] = [];
  const unlinked: UnlinkedEvent[] = [];
  const counts = { sealed: 0, erased: 0, purged: 0, pending: 0 };
  const inline = await judgeInlineRows(client);
  const differing = await readDiffering(client, input.sums);
  if (differing !== null) {
    const known = await readCircumstances(client, input, inline.members);
    const explain = await readPurged(client, input.publicKey);
    for await (const judged of judgeJoined(client, differing, known)) {
      if (judged.kind === 'found') findings.push(judged.finding);
      else if (judged.kind === 'inserted') unlinked.push(judged.event);
      else if (judged.kind === 'erased' || judged.kind === 'pending') counts[judged.kind] += 1;
      else if (judged.kind === 'missing') {
        const destroyed = explain(judged);
        if (destroyed === null) missing.push(judged);
        else if (destroyed === 'purged') counts.purged += 1;
        else findings.push(destroyed);
      }
    }
  }
  const named = new Set(findings.filter((found) => found.class === 'doubled').map((found) => found.eventId));
  for (const { event_id: eventId, links, seq } of doubled.filter((row) => !named.has(row.event_id))) {
    findings.push(finding('doubled', { seq: Number(seq), eventId, expected: '1 link', actual: `${links} links` }));
  }
  findings.push(...judgeMissing(missing, input.head.size));
  return { findings: mergeInline(findings, inline.findings).sort(bySeq), unlinked, counts };
}

/** Only where a segment was declared: elsewhere filled hash columns are a finding by themselves. */
async function judgeInlineRows(client: SqlClient): Promise<InlineJudgement> {
  const segments = await readInlineSegments(client);
  return segments.length === 0
    ? { findings: [], members: new Set() }
    : judgeInline(await readInlineRows(client), segments);
}

/** One finding an event: what its link says is more exact, unless it only says that hash columns are filled. */
function mergeInline(sealed: readonly Finding[], inline: readonly Finding[]): Finding[] {
  const gone = sealed.some((found) => GONE.has(found.class));
  const exact = new Set(sealed.filter((found) => found.class !== 'rehashed').map((found) => found.eventId));
  const added = inline.filter((found) => !exact.has(found.eventId) && !(gone && GONE.has(found.class)));
  const named = new Set(added.map((found) => found.eventId));
  return [...sealed.filter((found) => found.class !== 'rehashed' || !named.has(found.eventId)), ...added];
}

/** Events missing from the end of the chain are truncated, from its beginning head-cut, elsewhere deleted. */
export function judgeMissing(missing: readonly { seq: bigint; eventId: string }[], size: bigint): Finding[] {
  const sorted = [...missing].sort((a, b) => (a.seq < b.seq ? -1 : 1));
  let tail = sorted.length;
  for (let end = size - 1n; tail > 0 && sorted[tail - 1]?.seq === end; end -= 1n) tail -= 1;
  return sorted.map(({ seq, eventId }, at) => {
    const kind = at >= tail ? 'truncated' : seq === BigInt(at) ? 'head-cut' : 'deleted';
    return finding(kind, { seq: Number(seq), eventId, expected: 'an event', actual: 'none' });
  });
}

/** What single events are judged by when not the whole chain is compared. */
export async function readRangeCircumstances(
  client: SqlClient,
  input: Omit<ComparisonInput, 'sums'>,
): Promise<Circumstances> {
  return readCircumstances(client, input, (await judgeInlineRows(client)).members);
}

async function readCircumstances(
  client: SqlClient,
  { head, overdue, covered, due, now, wentBack }: Omit<ComparisonInput, 'sums'>,
  members: ReadonlySet<string>,
): Promise<Circumstances> {
  const names = await readPartitionNames(client);
  const erasures = await readErasures(client, covered);
  const waiting = wentBack ? await readSweepable(client) : null;
  return {
    sealed: head.snapshot,
    now,
    isWaiting: waiting === null ? null : (eventId) => waiting.has(eventId),
    overdue,
    due,
    partitionName: (oid) => names.get(oid) ?? `oid ${oid}`,
    erasureOf: (eventId: string, group: EventGroup) => erasures.get(erasureKey(eventId, group)) ?? null,
    isInline: (eventId) => members.has(eventId),
  };
}

/** What has to be joined; null when nothing differs. */
async function readDiffering(client: SqlClient, sums: EventSums): Promise<Differing | null> {
  const differing = sums.differing();
  if (differing.young !== null) return sums.differing(await readLinksElsewhere(client, differing.young));
  return differing.ranges.length === 0 ? null : differing;
}

/** Judges id by id, as events and links come in the order of ids: memory is one id, however much differs. */
async function* judgeJoined(
  client: SqlClient,
  differing: Differing,
  known: Circumstances,
): AsyncGenerator<Judgement, void, undefined> {
  let id: Buffer | null = null;
  let event: { links: JudgedLink[]; rows: EventRow[] } = { links: [], rows: [] };
  for await (const slab of readTuples(client, joinedSource(differing))) {
    for (const { row, link } of slab) {
      const next = row === null ? link.eventId : row.id;
      if (id !== null && !next.equals(id)) {
        yield judgeEvent(event, known);
        event = { links: [], rows: [] };
      }
      id = next;
      if (row === null) event.links.push(link);
      else event.rows.push(row);
    }
  }
  if (id !== null) yield judgeEvent(event, known);
}

function bySeq(a: Finding, b: Finding): number {
  return (a.seq ?? Number.MAX_SAFE_INTEGER) - (b.seq ?? Number.MAX_SAFE_INTEGER);
}
