/** A part of the chain as a rolling run reads it, and which parts it reads again the next night. */
import type { SqlClient } from '../../db/database.ts';
import { type Finding, finding } from '../links/finding.ts';
import { readChainHash } from '../links/range-store.ts';
import { mirrorFindings } from '../publish/mirror-compare.ts';
import type { LinkRange } from '../signer/verified-store.ts';
import { GENESIS } from '../tree/chain.ts';
import { EMPTY_FRONTIER } from '../tree/merkle.ts';
import { type RangeOutcome, verifyRange } from './verify-range.ts';
import type { Verifying, VerifyRun } from './verify-run.ts';

/** What was found in a part. */
export interface WalkedPart extends Pick<RangeOutcome, 'checked' | 'erased' | 'purged' | 'findings'> {
  readonly range: LinkRange;
  /** False where the chain is too short for it. */
  readonly walked: boolean;
}

/** The links and events of a part, and the mirror of its leaves. */
export async function verifyPart(
  ctx: Verifying,
  client: SqlClient,
  run: VerifyRun,
  range: LinkRange,
): Promise<WalkedPart> {
  const none = { range, checked: 0, erased: 0, purged: 0, findings: [], walked: false };
  if (range.to === range.from) return { ...none, walked: true };
  const before = range.from === 0n ? GENESIS : await readChainHash(client, range.from - 1n);
  // Beyond the head nothing can be missing: a chain shorter than its cycle is rolled-back already.
  if (before === null && range.from <= run.head.size) {
    const missing = finding('deleted', { seq: Number(range.from - 1n), partition: 'audit.chain_link' });
    return { ...none, findings: [missing] };
  }
  if (before === null || range.to > run.head.size) return none;
  const start = { size: range.from, chainHash: before, frontier: EMPTY_FRONTIER };
  const part = await verifyRange(ctx, client, run, { range, start, sizes: [] });
  if (part.findings.length > 0) return { ...part, range, walked: true };
  const mirror = { home: ctx.config.home, incarnation: run.incarnation };
  return {
    ...part,
    range,
    walked: true,
    findings: await mirrorFindings(client, mirror, { ...range, own: run.opened.own }),
  };
}

/** The parts to read again: those that were not sound, unless all that was found there lies in one that is kept already. */
export function openParts(parts: readonly WalkedPart[]): LinkRange[] {
  const open: LinkRange[] = [];
  for (const { range, walked, findings } of parts) {
    const isKept = (found: Finding) =>
      open.some(({ from, to }) => found.seq !== null && from <= found.seq && found.seq < to);
    if (walked && findings.every(isKept)) continue;
    open.push(range);
  }
  return open;
}

/** Each finding once: parts of different cycles overlap. */
export function distinct(findings: readonly Finding[]): Finding[] {
  return [...new Map(findings.map((found) => [JSON.stringify(found), found])).values()];
}
