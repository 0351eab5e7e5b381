/**
 * Full verification: every link, every event wherever it lies, every checkpoint, every trigger. Slabs of tuples go to
 * worker threads, which hash them as they are; events and links are never joined unless a slice of time differs
 * (event-sums.ts). So memory stays flat.
 */
import type { SqlClient } from '../../db/database.ts';
import type { Finding, FindingClass, Verification } from '../links/finding.ts';
import { explainGaps } from '../links/gap.ts';
import { readGaps } from '../links/range-store.ts';
import { compareHeads } from '../publish/checkpoint-check.ts';
import type { ScanResult } from '../scan/chain-scan.ts';
import { accusations, isAnchored } from '../witness/anchor.ts';
import { compareEvents } from './event-compare.ts';
import { scanChain } from './full-scan.ts';
import { findUnprotected } from './protection.ts';
import { clockFindings, nothingChecked, type Verifying, type VerifyRun } from './verify-run.ts';

/** What the walk says of a gap in the links. */
const MISSING_LINK: ReadonlySet<FindingClass> = new Set(['deleted', 'head-cut', 'truncated']);

/**
 * Verifies everything in the client's transaction.
 * @param fresh nothing is taken over from a run that was cut short
 * @throws CHAIN_CANARY, CHAIN_NOTHING_CHECKED
 */
export async function verifyFull(
  ctx: Pick<Verifying, 'db' | 'progress' | 'clock' | 'config' | 'log'>,
  client: SqlClient,
  run: VerifyRun,
  fresh = false,
): Promise<Verification> {
  const { head, opened, witnessed } = run;
  const { sums, walk, checked, repeated, resumed } = await scanChain(ctx, client, run, fresh);
  if (checked + walk.walked === 0 && (head.size > 0n || run.signed)) {
    throw nothingChecked(
      `${head.size > 0n ? `the chain says it has ${head.size} links` : 'this home has signed'}, but neither a link nor an event is there`,
      'the tables were emptied or are hidden from the engine: check row-level security, grants and backups',
    );
  }
  const events = await compareEvents(client, { ...run, sums, repeated });
  const anchors = compareHeads({ clean: walk.clean, rootAt: (size) => rootAt(walk, size) }, opened, head.size);
  const chain = walk.findings;
  const gaps = explainGaps(
    BigInt(walk.walked) < head.size ? await readGaps(client, head) : [],
    events.unlinked,
    head.size,
  );
  const findings = [
    ...events.findings,
    ...gaps.findings,
    ...withoutKnown(chain, events.findings, gaps.filled),
    ...opened.findings,
    ...accusations(witnessed, head.size),
    ...run.lost,
    // What a signed head says about a chain that is broken by itself is said more exactly by the break.
    ...anchors.filter((found) => found.class !== 'rewritten' || chain.length === 0),
    ...(await findUnprotected(client)),
    ...clockFindings(run),
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
    resumed,
  };
}

function rootAt(walk: ScanResult, size: bigint): Buffer | undefined {
  const root = walk.roots.get(size);
  return root === undefined ? undefined : Buffer.from(root);
}

/** A break in the links at a place where the event itself is a finding says nothing new, nor does a gap that is filled. */
function withoutKnown(chain: readonly Finding[], events: readonly Finding[], filled: ReadonlySet<number>): Finding[] {
  const known = new Set(events.map((found) => found.seq));
  return chain.filter((found) => {
    if (found.class === 'reordered') return !known.has(found.seq);
    return !MISSING_LINK.has(found.class) || found.seq === null || !filled.has(found.seq);
  });
}
