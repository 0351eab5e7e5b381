/**
 * A verifier that reports nothing may be one that sees nothing. Each run therefore makes a copy of an event it has just
 * read, changes one bit in it, and requires its own machinery to name the change; and the same with a link.
 */
import { randomInt } from 'node:crypto';
import { AuditkeepError } from '../../errors.ts';
import { commitEvent, eventLeaf } from '../event/canonical.ts';
import type { EventRow } from '../event/event-source.ts';
import type { LinkRow } from '../links/link-source.ts';
import { LinkWalk } from '../links/link-walk.ts';
import { NOTHING_SEEN } from '../links/snapshot.ts';
import { EMPTY_CHAIN } from '../tree/chain.ts';
import { linkHash } from '../tree/hash.ts';
import { appendLeaves, EMPTY_FRONTIER } from '../tree/merkle.ts';
import { EventSums, summedEvent, summedLink } from './event-sums.ts';
import { type JudgedLink, judgeEvent } from './judge.ts';

const ANY_SALT = Buffer.alloc(16);

const NO_CIRCUMSTANCES = {
  sealed: null,
  now: NOTHING_SEEN,
  isWaiting: null,
  overdue: false,
  due: null,
  partitionName: () => 'canary',
  erasureOf: () => null,
  isInline: () => false,
};

/**
 * Verifies copies of one event: an unchanged one must pass, one with a flipped bit must be reported.
 * @throws CHAIN_CANARY when either is not so
 */
export function checkCanary(row: EventRow): void {
  // The copy is sound whatever is wrong with the event.
  const salts = { actorSalt: row.actorSalt ?? ANY_SALT, payloadSalt: row.payloadSalt ?? ANY_SALT };
  const sound = { ...row, ...salts, hasOwnHash: false, hashVersion: 1 };
  const commitments = commitEvent(sound);
  const leaf = eventLeaf(row.bare, commitments);
  const link: JudgedLink = {
    seq: 0n,
    timestamp: row.timestamp,
    eventId: row.id,
    txid: row.txid,
    leaf,
    actorCommitment: commitments.actor,
    payloadCommitment: commitments.payload,
  };
  const changed = { ...sound, bare: flipBit(row.bare) };
  if (judge(link, sound) || sumsDiffer(link, sound) || walkBreaks(link, leaf)) throw silent('an unchanged copy');
  if (!judge(link, changed) || !sumsDiffer(link, changed)) throw silent('a changed event');
  if (!walkBreaks(link, flipBit(leaf))) throw silent('a changed link');
}

function judge(link: JudgedLink, row: EventRow): boolean {
  return judgeEvent({ links: [link], rows: [row] }, NO_CIRCUMSTANCES).kind === 'found';
}

function sumsDiffer(link: JudgedLink, row: EventRow): boolean {
  const sums = new EventSums();
  sums.add('link', summedLink(link));
  sums.add('event', summedEvent(row));
  return sums.differing().ranges.length > 0;
}

function walkBreaks(link: JudgedLink, leaf: Buffer): boolean {
  const chainHash = linkHash(EMPTY_CHAIN.chainHash, 0n, link.leaf);
  const copy: LinkRow = { ...link, leaf, chainHash };
  const walk = new LinkWalk();
  walk.push([copy]);
  return walk.finish({ size: 1n, chainHash, frontier: appendLeaves(EMPTY_FRONTIER, [link.leaf]) }).length > 0;
}

function flipBit(bytes: Uint8Array): Buffer {
  const copy = Buffer.from(bytes);
  const at = randomInt(copy.length);
  copy[at] = (copy[at] ?? 0) ^ (1 << randomInt(8));
  return copy;
}

/** What a run ends with whose own machinery judged something wrongly. */
export function silent(what: string): AuditkeepError {
  return new AuditkeepError('CHAIN_CANARY', {
    message: `the verifier judged ${what} wrongly`,
    hint: 'trust no result of this installation; compare it with a fresh one and report a bug',
  });
}
