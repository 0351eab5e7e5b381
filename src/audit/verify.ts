/**
 * Full verification: every link, every event wherever it lies, every checkpoint, every trigger. Events and links are
 * never joined unless a slice of time differs (event-sums.ts), so memory stays flat. One REPEATABLE READ transaction
 * under the shared structure lock: a partition that moves meanwhile can neither double nor hide rows.
 */
import type { Context } from '../context.ts';
import { withSessionLock } from '../db/advisory-lock.ts';
import type { SqlClient } from '../db/database.ts';
import { inTransaction, transact } from '../db/transaction.ts';
import { AuditkeepError } from '../errors.ts';
import { isoOf } from '../time/clock.ts';
import { checkCanary } from './canary.ts';
import { commitEvent, eventLeaf } from './canonical.ts';
import { type ChainHead, readCheckpoints, readHead } from './chain-store.ts';
import { compareHeads, openHeads } from './checkpoint-check.ts';
import { compareEvents } from './event-compare.ts';
import { EventSums } from './event-sums.ts';
import { type Finding, finding, type Verification } from './finding.ts';
import { linkSource } from './link-source.ts';
import { LinkWalk } from './link-walk.ts';
import { recordEvent } from './record.ts';
import { originOf } from './sign.ts';
import { readLogPublicKey, readSignerState } from './signer-store.ts';
import { readTuples } from './tuples.ts';
import { allEventsSource, insertSecurityEvents, lockChainTables, readUnprotected } from './verify-store.ts';
import { accusations, isAnchored, readAnchor } from './witness/anchor.ts';

/** Committed events that the sealer has left alone for longer are findings. */
const UNSEALED_AFTER_SECONDS = 300;
/** Findings of one run that go to the security log one by one; all of them are in the result. */
const LOGGED_FINDINGS = 1000;

export interface VerifyInput {
  readonly level?: 'full';
  /** How long the sealer may be behind; 300 seconds unless given. */
  readonly unsealedAfterSeconds?: number;
}

type Verifying = Pick<Context, 'db' | 'clock' | 'actor' | 'config' | 'log' | 'progress'>;

/**
 * Verifies the whole chain and reports every finding: in the result, in audit.security_events_log and as an event of
 * the chain itself.
 * @throws CHAIN_CANARY, CHAIN_NOTHING_CHECKED, CHAIN_SIGNER_STORE
 */
export async function verifyChain(ctx: Verifying, input: VerifyInput = {}): Promise<Verification> {
  const result = await ctx.db.withClient((client) =>
    withSessionLock(client, 'structure', 'shared', () =>
      transact(client, () => verifyAll(ctx, client, input), 'repeatable read, read only'),
    ),
  );
  await reportResult(ctx, result);
  return result;
}

async function verifyAll(ctx: Verifying, client: SqlClient, input: VerifyInput): Promise<Verification> {
  await lockChainTables(client);
  const head = await readHead(client);
  const origin = originOf(ctx.config.origin, head.incarnation);
  const publicKey = await readLogPublicKey(ctx.config.home);
  const key = publicKey === null ? null : { name: origin, publicKey };
  const witnessed = await readAnchor(ctx.config, origin, key);
  const opened = openHeads({
    key,
    cosigned: witnessed.heads,
    ownNote: (await readSignerState(ctx.config.home, origin)).note,
    stored: await readCheckpoints(client),
  });
  const sums = new EventSums();
  const walk = await walkLinks(
    ctx,
    client,
    sums,
    opened.heads.map((checkpoint) => checkpoint.size),
  );
  const checked = await sumEvents(ctx, client, sums);
  if (checked + walk.walked === 0 && head.size > 0n) throw nothingChecked(head);
  const events = await compareEvents(client, {
    sums,
    head,
    overdue: head.idleSeconds > (input.unsealedAfterSeconds ?? UNSEALED_AFTER_SECONDS),
  });
  const anchors = compareHeads(walk, opened, head.size);
  const chain = walk.finish(head);
  const unprotected = await readUnprotected(client);
  const findings = [
    ...withoutUnlinked(events.findings, head.size - BigInt(walk.walked)),
    ...withoutKnown(chain, events.findings),
    ...opened.findings,
    ...accusations(witnessed, head.size),
    // What a signed head says about a chain that is broken by itself is said more exactly by the break.
    ...anchors.filter((found) => found.class !== 'rewritten' || chain.length === 0),
    ...unprotected.map((partition) => finding('unprotected', { partition })),
  ];
  return {
    level: 'full',
    checked,
    from: 0,
    to: Number(walk.end),
    intact: findings.length === 0,
    anchored: isAnchored(witnessed, opened.own?.size ?? null) && anchors.length === 0 && chain.length === 0,
    findings,
    ...events.counts,
  };
}

/** A break in the links at a place where the event itself is a finding says nothing new. */
function withoutKnown(chain: readonly Finding[], events: readonly Finding[]): Finding[] {
  const known = new Set(events.map((found) => found.seq));
  return chain.filter((found) => found.class !== 'reordered' || !known.has(found.seq));
}

/** Events whose own links were taken out of the chain were not inserted: the gap in the links is the finding. */
function withoutUnlinked(events: readonly Finding[], missingLinks: bigint): Finding[] {
  const inserted = events.filter((found) => found.class === 'inserted').length;
  return events.filter((found) => found.class !== 'inserted' || inserted > missingLinks);
}

async function walkLinks(
  ctx: Verifying,
  client: SqlClient,
  sums: EventSums,
  sizes: readonly bigint[],
): Promise<LinkWalk> {
  const walk = new LinkWalk(sizes);
  ctx.progress.start('links', null);
  for await (const links of readTuples(client, linkSource)) {
    walk.push(links);
    for (const link of links) sums.add('link', link.eventId, link.timestamp, link.leaf);
    ctx.progress.update(walk.walked);
  }
  ctx.progress.stop();
  return walk;
}

async function sumEvents(ctx: Verifying, client: SqlClient, sums: EventSums): Promise<number> {
  let checked = 0;
  ctx.progress.start('events', null);
  for await (const rows of readTuples(client, allEventsSource)) {
    const [first] = rows;
    if (checked === 0 && first !== undefined) checkCanary(first);
    for (const row of rows) {
      sums.add('event', row.id, row.timestamp, eventLeaf(row.bare, commitEvent(row)));
      if (row.hasOwnHash || row.hashVersion !== 1) sums.suspect(row.timestamp);
    }
    checked += rows.length;
    ctx.progress.update(checked);
  }
  ctx.progress.stop();
  return checked;
}

async function reportResult(ctx: Verifying, result: Verification): Promise<void> {
  const classes: Record<string, number> = {};
  for (const found of result.findings) classes[found.class] = (classes[found.class] ?? 0) + 1;
  const { checked, from, to, anchored, level } = result;
  await inTransaction(ctx.db, async (client) => {
    const id = await recordEvent(ctx, client, {
      type: result.intact ? 'chain.verified' : 'chain.findings',
      category: 'security',
      action: 'VERIFY',
      resourceType: 'audit_chain',
      result: result.intact ? 'success' : 'failure',
      details: { level, checked, from, to, anchored, findings: result.findings.length, classes },
    });
    if (result.intact) return;
    const logged = result.findings.slice(0, LOGGED_FINDINGS);
    await insertSecurityEvents(client, { at: isoOf(ctx.clock.now()), correlationId: id, findings: logged });
  });
  if (result.intact) ctx.log.info({ checked, to }, 'chain.verified');
  else ctx.log.error({ checked, to, classes }, 'chain.findings');
}

function nothingChecked(head: ChainHead): AuditkeepError {
  return new AuditkeepError('CHAIN_NOTHING_CHECKED', {
    message: `the chain says it has ${head.size} links, but neither a link nor an event is there`,
    hint: 'the tables were emptied or are hidden from the engine: check row-level security, grants and backups',
  });
}
