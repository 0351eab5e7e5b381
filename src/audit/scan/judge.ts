/**
 * What is wrong with one event: its links and its rows under one id, judged first match wins. Pure.
 *
 *   two links or two rows                      -> doubled
 *   a link without a row                       -> missing: deleted, truncated at the end, head-cut at the beginning
 *   a row without a link, seen by the sealer
 *     or of a transaction that cannot have been  -> inserted
 *   a row without a link, overdue              -> unsealed; not overdue: pending, no finding
 *   one of each, a group's salt is none        -> commitment-broken
 *   one of each, the leaf differs              -> rehashed, commitment-broken, erased-without-record, modified
 *   the leaf fits, what the link keeps of its
 *     commitments does not                     -> rehashed; its transaction, which orders events, does not -> reordered
 */

import { uuidText } from '../copy/pg-time.ts';
import { breaksSaltRule, type Commitments, commitEvent, type EventGroup, eventLeaf } from '../event/canonical.ts';
import type { EventRow } from '../event/event-source.ts';
import { type Finding, finding } from '../links/finding.ts';
import type { UnlinkedEvent } from '../links/gap.ts';
import type { LinkRow } from '../links/link-source.ts';
import { isVisibleIn, type Snapshot } from '../links/snapshot.ts';
import type { Digest } from '../tree/hash.ts';

/** A link with what tells a broken group from a changed event; its chain hash is judged by link-walk.ts. */
export type JudgedLink = Omit<LinkRow, 'chainHash'>;

export interface JudgedEvent {
  readonly links: readonly JudgedLink[];
  readonly rows: readonly EventRow[];
}

export interface Circumstances {
  /** Everything visible in it is sealed; null before the first seal. */
  readonly sealed: Snapshot | null;
  /** What the verification itself sees: no row can be of a transaction that is not visible in it. */
  readonly now: Snapshot;
  /** After a dump was restored, whether an unlinked event is one that the sealer has to come to; null otherwise. */
  readonly isWaiting: ((eventId: string) => boolean) | null;
  /** True when the sealer has not come to its end for longer than it should. */
  readonly overdue: boolean;
  /** What was visible in it is overdue by itself, whatever the head says of its times; null when nothing is known. */
  readonly due: Snapshot | null;
  /** `schema.table` of a partition. */
  partitionName(oid: number): string;
  /** The recorded commitment of an erased group, or null. */
  erasureOf(eventId: string, group: EventGroup): Digest | null;
  /** Whether the event belongs to a declared inline segment, whose rows carry their own hashes. */
  isInline(eventId: string): boolean;
}

export type Judgement =
  | { readonly kind: 'sound' }
  | { readonly kind: 'erased' }
  | { readonly kind: 'pending' }
  | { readonly kind: 'missing'; readonly seq: bigint; readonly eventId: string }
  | { readonly kind: 'found'; readonly finding: Finding }
  /** An event that no link names, though the sealer is past it: its link may be one that was taken out of the chain. */
  | { readonly kind: 'inserted'; readonly event: UnlinkedEvent };

/** Judges the links and rows of one event id; at least one of both. */
export function judgeEvent(event: JudgedEvent, known: Circumstances): Judgement {
  const [link, secondLink] = event.links;
  const [row, secondRow] = event.rows;
  if (secondLink !== undefined || secondRow !== undefined) return doubled(event, known);
  if (link !== undefined && row !== undefined) return judgePair(link, row, known);
  if (link !== undefined) return { kind: 'missing', seq: link.seq, eventId: uuidText(link.eventId) };
  return row === undefined ? { kind: 'sound' } : judgeUnlinked(row, known);
}

function doubled({ links, rows }: JudgedEvent, known: Circumstances): Judgement {
  const seq = (links[1] ?? links[0])?.seq;
  const id = rows[0]?.id ?? links[0]?.eventId;
  const row = rows[1] ?? rows[0];
  return found(
    finding('doubled', {
      seq: seq === undefined ? null : Number(seq),
      eventId: id === undefined ? null : uuidText(id),
      partition: row === undefined ? null : known.partitionName(row.partition),
      expected: '1 row, 1 link',
      actual: `${rows.length} rows, ${links.length} links`,
    }),
  );
}

function judgeUnlinked(row: EventRow, known: Circumstances): Judgement {
  const place = { eventId: uuidText(row.id), partition: known.partitionName(row.partition) };
  // No transaction can have written such a row: the sealer would never come to it, and it would pend for ever.
  const impossible = !isVisibleIn(row.txid, known.now);
  const passed = impossible || (known.sealed !== null && isVisibleIn(row.txid, known.sealed));
  if (known.isWaiting === null ? passed : !known.isWaiting(place.eventId)) {
    const facts = { ...place, expected: 'no such event', actual: `transaction ${row.txid}` };
    const { txid, timestamp, id } = row;
    const leaf = eventLeaf(row.bare, commitEvent(row));
    const copy = { txid, timestamp: Buffer.from(timestamp), id: Buffer.from(id), leaf };
    return { kind: 'inserted', event: { ...copy, finding: finding('inserted', facts) } };
  }
  const isDue = known.overdue || (known.due !== null && isVisibleIn(row.txid, known.due));
  if (!isDue) return { kind: 'pending' };
  return found(finding('unsealed', { ...place, expected: 'a link', actual: 'none' }));
}

function judgePair(link: JudgedLink, row: EventRow, known: Circumstances): Judgement {
  const commitments = commitEvent(row);
  const leaf = eventLeaf(row.bare, commitments);
  const facts = {
    seq: Number(link.seq),
    eventId: uuidText(row.id),
    partition: known.partitionName(row.partition),
    expected: link.leaf.toString('hex'),
    actual: leaf.toString('hex'),
  };
  if (row.hasOwnHash && !known.isInline(facts.eventId)) return found(finding('rehashed', facts));
  // Before all else: without a salt the leaf fits whatever the group says, and the spec knows salts of 16 bytes alone.
  if (breaksSaltRule(row.actorSalt, row.actor) || breaksSaltRule(row.payloadSalt, row.payload)) {
    return found(finding('commitment-broken', facts));
  }
  if (leaf.equals(link.leaf)) {
    if (row.hashVersion !== 1 || !row.timestamp.equals(link.timestamp)) return found(finding('modified', facts));
    return judgeKept(link, row, { commitments, facts });
  }
  const opened = eventLeaf(row.bare, { actor: link.actorCommitment, payload: link.payloadCommitment });
  if (!opened.equals(link.leaf)) return found(finding('modified', facts));
  const groups = (['actor', 'payload'] as const).filter(
    (group) => !sameDigest(commitments[group], linked(link, group)),
  );
  const broken = groups.filter((group) => saltOf(row, group) !== null);
  if (broken.length > 0) return found(finding('commitment-broken', facts));
  const unrecorded = groups.filter((group) => !sameDigest(known.erasureOf(facts.eventId, group), linked(link, group)));
  return unrecorded.length > 0 ? found(finding('erased-without-record', facts)) : { kind: 'erased' };
}

/** The leaf fits: what else the link keeps of the event must fit too. */
function judgeKept(
  link: JudgedLink,
  row: EventRow,
  { commitments, facts }: { readonly commitments: Commitments; readonly facts: Partial<Finding> },
): Judgement {
  for (const group of ['actor', 'payload'] as const) {
    if (sameDigest(commitments[group], linked(link, group))) continue;
    const of = (digest: Digest | null) => `${group} commitment ${digest?.toString('hex') ?? 'none'}`;
    const hashes = { expected: of(commitments[group]), actual: of(linked(link, group)) };
    return found(finding('rehashed', { ...facts, ...hashes }));
  }
  if (row.txid === link.txid) return { kind: 'sound' };
  const order = { expected: `transaction ${link.txid}`, actual: `transaction ${row.txid}` };
  return found(finding('reordered', { ...facts, ...order }));
}

function linked(link: JudgedLink, group: EventGroup): Digest | null {
  return group === 'actor' ? link.actorCommitment : link.payloadCommitment;
}

function saltOf(row: EventRow, group: EventGroup): Uint8Array | null {
  return group === 'actor' ? row.actorSalt : row.payloadSalt;
}

function sameDigest(a: Digest | null, b: Digest | null): boolean {
  return a === null || b === null ? a === b : a.equals(b);
}

function found(value: Finding): Judgement {
  return { kind: 'found', finding: value };
}
