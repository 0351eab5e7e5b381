/**
 * The levels below full. Each proves that what it does not read is what was verified before: head by the signed root
 * and the last link, incremental by the chain hash and frontier kept in the signer's store, rolling by the chain itself.
 */
import type { SqlClient } from '../../db/database.ts';
import { uuidText } from '../copy/pg-time.ts';
import { readTuples } from '../copy/tuples.ts';
import { type Finding, finding, type Verification, type VerifyLevel } from '../links/finding.ts';
import { explainGaps, type UnlinkedEvent } from '../links/gap.ts';
import type { WalkedHead } from '../links/link-walk.ts';
import {
  overdueSource,
  rangeEventSource,
  readChainHash,
  readGaps,
  readLastSeq,
  unlinkedEventSource,
} from '../links/range-store.ts';
import { NOTHING_SEEN } from '../links/snapshot.ts';
import { nodeReader } from '../links/tile-store.ts';
import { compareHeads } from '../publish/checkpoint-check.ts';
import { checkCanary } from '../scan/canary.ts';
import { judgeEvent } from '../scan/judge.ts';
import { nextPart, readRolling, readVerified, writeRolling, writeVerified } from '../signer/verified-store.ts';
import { GENESIS } from '../tree/chain.ts';
import { EMPTY_FRONTIER } from '../tree/merkle.ts';
import { readRoot } from '../tree/proof-path.ts';
import { accusations, isAnchored } from '../witness/anchor.ts';
import { readRangeCircumstances } from './event-compare.ts';
import { findUnprotected } from './protection.ts';
import { distinct, openParts, verifyPart, type WalkedPart } from './rolling-part.ts';
import { type RangeOutcome, readAll, verifyRange } from './verify-range.ts';
import { clockFindings, nothingChecked, type Verifying, type VerifyRun } from './verify-run.ts';
import { readPartitionNames } from './verify-store.ts';

const EMPTY_START: WalkedHead = { size: 0n, chainHash: GENESIS, frontier: EMPTY_FRONTIER };

/** The signed head against the database: O(log n) reads. @throws CHAIN_CANARY, CHAIN_NOTHING_CHECKED */
export async function verifyHead(client: SqlClient, run: VerifyRun): Promise<Verification> {
  const signed = signedSize(run);
  const { head } = run;
  const checked = await runCanary(client, run);
  if (checked === 0 && head.size > 0n) {
    throw nothingChecked(
      'none of the events of the last links is there',
      'run auditkeep chain verify --level full: the tables were emptied or are hidden from the engine',
    );
  }
  const findings = [...(await headFindings(client, run)), ...(await overdueFindings(client, run))];
  const own = run.opened.own;
  if (own !== null && signed <= head.size && findings.length === 0) {
    const root = await readRoot(nodeReader(client, { stored: true }), signed);
    if (!root.equals(own.root)) {
      const facts = { expected: own.root.toString('hex'), actual: root.toString('hex'), checkpointTo: Number(signed) };
      findings.push(finding('rewritten', facts));
    }
  }
  return verification('head', run, { from: head.size, to: head.size, checked, erased: 0, findings });
}

/** A result, and what the signer's store keeps of it once it is reported: a crash before that tells everything again. */
export interface Progressing {
  readonly result: Verification;
  keep(): Promise<void>;
}

/** What was signed since the last verification. What it keeps is for a run without any finding: see verify.ts. */
export async function verifyIncremental(ctx: Verifying, client: SqlClient, run: VerifyRun): Promise<Progressing> {
  const to = signedSize(run);
  const { home } = ctx.config;
  const start = (await readVerified(home, run.origin)) ?? EMPTY_START;
  const findings = [
    ...(await headFindings(client, run)),
    ...(await startFindings(client, start)),
    ...(await overdueFindings(client, run)),
  ];
  const canary = await runCanary(client, run);
  if (to > run.head.size || to <= start.size) {
    const end = { from: start.size, to: start.size, checked: canary, erased: 0, findings };
    return { result: verification('incremental', run, end), keep: () => Promise.resolve() };
  }
  const sizes = run.opened.heads.map((signed) => signed.size).filter((size) => size > start.size && size <= to);
  const range = { from: start.size, to };
  const part = await verifyRange(ctx, client, run, { range, start, sizes });
  requireRows(part, range);
  const heads = run.opened.heads.filter((signed) => sizes.includes(signed.size));
  findings.push(
    ...withoutNamed(part.findings, findings),
    ...(part.findings.length > 0 ? [] : compareHeads(part.walk, { ...run.opened, heads }, to)),
  );
  const { checked, erased, purged, walk } = part;
  return {
    result: verification('incremental', run, { ...range, checked, erased, purged, findings }),
    keep: () => writeVerified(home, run.origin, walk.reached),
  };
}

/**
 * A thirtieth of the chain, in an order that the signer's store keeps secret, and the sweep for unsealed events. What was not
 * sound is read again each night until it is: a finding that is told once and then is silent for a month looks mended.
 */
export async function verifyRolling(ctx: Verifying, client: SqlClient, run: VerifyRun): Promise<Progressing> {
  const signed = signedSize(run);
  const { home } = ctx.config;
  const findings = await headFindings(client, run);
  const canary = await runCanary(client, run);
  const cycle = await readRolling(home, run.origin, signed);
  const range = nextPart(cycle);
  const parts: WalkedPart[] = [];
  for (const one of [...cycle.open.filter(({ from, to }) => from !== range.from || to !== range.to), range]) {
    parts.push(await verifyPart(ctx, client, run, one));
  }
  findings.push(...withoutNamed(distinct(parts.flatMap((part) => part.findings)), findings));
  const swept = await sweep(client, run);
  const named = new Set(swept.findings.map((found) => found.seq));
  const sum = (count: (part: WalkedPart) => number) => parts.reduce((all, part) => all + count(part), 0);
  const result = verification('rolling', run, {
    ...range,
    checked: sum((part) => part.checked) + canary,
    erased: sum((part) => part.erased),
    purged: sum((part) => part.purged),
    findings: [...findings.filter((found) => found.seq === null || !named.has(found.seq)), ...swept.findings],
    pending: swept.pending,
  });
  const next = { ...cycle, done: cycle.done + 1, open: openParts(parts) };
  return { result, keep: () => writeRolling(home, run.origin, next) };
}

/** The size of the signer's own last checkpoint. @throws CHAIN_NOTHING_CHECKED when links wait and none was signed */
function signedSize({ head, opened }: VerifyRun): bigint {
  if (opened.own !== null) return opened.own.size;
  if (head.size === 0n) return 0n;
  throw nothingChecked(
    `the chain has ${head.size} links, but this home has signed none of them`,
    'run auditkeep chain checkpoint with the home that signs, or verify with --level full',
  );
}

/** Findings that a level names of a backlog: the full one names all. */
const NAMED_WAITING = 1000;

/** What waits for the sealer although it was visible longer ago than the sealer may take: O(what waits). */
async function overdueFindings(client: SqlClient, { head, due, wentBack }: VerifyRun): Promise<Finding[]> {
  if (due === null || wentBack) return [];
  const sealed = head.snapshot ?? NOTHING_SEEN;
  const names = await readPartitionNames(client);
  const rows = await readAll(client, overdueSource({ sealed, due, limit: NAMED_WAITING }));
  return rows.map((row) =>
    finding('unsealed', {
      ...{ eventId: uuidText(row.id), partition: names.get(row.partition) ?? null },
      ...{ expected: 'a link', actual: 'none' },
    }),
  );
}

/** The end of the links against the head, and the head against everything signed. */
async function headFindings(client: SqlClient, run: VerifyRun): Promise<Finding[]> {
  const { head, opened } = run;
  const last = await readLastSeq(client);
  const size = last === null ? 0n : last + 1n;
  const beyond = compareHeads({ clean: true, rootAt: () => undefined }, opened, head.size);
  if (size !== head.size) {
    const kind = size < head.size ? 'truncated' : 'rolled-back';
    return [...beyond, finding(kind, { seq: Number(size), expected: String(head.size), actual: String(size) })];
  }
  const hash = last === null ? GENESIS : await readChainHash(client, last);
  const same = hash?.equals(head.chainHash) === true;
  const facts = { expected: head.chainHash.toString('hex'), actual: hash?.toString('hex') ?? 'none' };
  return same ? beyond : [...beyond, finding('rewritten', facts)];
}

/** The last link that was verified must still be the one that was verified. */
async function startFindings(client: SqlClient, start: WalkedHead): Promise<Finding[]> {
  if (start.size === 0n) return [];
  const seq = start.size - 1n;
  const hash = await readChainHash(client, seq);
  if (hash?.equals(start.chainHash) === true) return [];
  const actual = hash?.toString('hex') ?? 'none';
  return [finding('rewritten', { seq: Number(seq), expected: start.chainHash.toString('hex'), actual })];
}

/** Links at the end of the chain among whose events the canary is sought. */
const CANARY_LINKS = 100n;

/** An event of the last links is the canary; gives 1, or 0 where none of them is there. @throws CHAIN_CANARY */
async function runCanary(client: SqlClient, { head }: VerifyRun): Promise<number> {
  if (head.size === 0n) return 0;
  const from = head.size > CANARY_LINKS ? head.size - CANARY_LINKS : 0n;
  const row = (await readAll(client, rangeEventSource({ from, to: head.size }))).at(-1);
  if (row === undefined) return 0;
  checkCanary(row);
  return 1;
}

/** Links are looked for only where events without a link are: an event whose link was taken out was not inserted. */
async function sweep(client: SqlClient, run: VerifyRun): Promise<{ findings: Finding[]; pending: number }> {
  const known = await readRangeCircumstances(client, run);
  const findings: Finding[] = [];
  const unlinked: UnlinkedEvent[] = [];
  let pending = 0;
  for await (const rows of readTuples(client, unlinkedEventSource)) {
    for (const row of rows) {
      const verdict = judgeEvent({ links: [], rows: [row] }, known);
      if (verdict.kind === 'found') findings.push(verdict.finding);
      else if (verdict.kind === 'inserted') unlinked.push(verdict.event);
      else pending += 1;
    }
  }
  const gaps = unlinked.length === 0 ? [] : await readGaps(client, run.head);
  findings.push(...explainGaps(gaps, unlinked, run.head.size).findings);
  return { findings, pending };
}

/** The walk of a range calls a link that is missing deleted; at the end of the chain the head says it is truncated. */
function withoutNamed(part: readonly Finding[], known: readonly Finding[]): Finding[] {
  const truncated = new Set(known.filter((found) => found.class === 'truncated').map((found) => found.seq));
  return part.filter((found) => found.class !== 'deleted' || !truncated.has(found.seq));
}

function requireRows(part: RangeOutcome, { from, to }: { from: bigint; to: bigint }): void {
  if (part.checked > 0 || part.walk.walked > 0) return;
  throw nothingChecked(
    `neither a link nor an event of seq ${from} to ${to} is there`,
    'the tables were emptied or are hidden from the engine: check row-level security, grants and backups',
  );
}

interface LevelOutcome {
  readonly from: bigint;
  readonly to: bigint;
  readonly checked: number;
  readonly erased: number;
  readonly findings: readonly Finding[];
  readonly pending?: number;
  readonly purged?: number;
}

function verification(level: VerifyLevel, run: VerifyRun, outcome: LevelOutcome): Verification {
  const findings = [
    ...outcome.findings,
    ...run.opened.findings,
    ...clockFindings(run),
    ...accusations(run.witnessed, run.head.size),
    ...run.lost,
  ];
  return {
    level,
    checked: outcome.checked,
    from: Number(outcome.from),
    to: Number(outcome.to),
    intact: findings.length === 0,
    anchored: isAnchored(run.witnessed, run.opened.own?.size ?? null) && findings.length === 0,
    findings,
    ...{ sealed: 0, erased: outcome.erased, purged: outcome.purged ?? 0, pending: outcome.pending ?? 0, resumed: null },
  };
}

/** Leaf tables whose triggers are off, as every level reports them. */
export async function withUnprotected(client: SqlClient, result: Verification): Promise<Verification> {
  const unprotected = await findUnprotected(client);
  return {
    ...result,
    findings: [...result.findings, ...unprotected],
    intact: result.intact && unprotected.length === 0,
  };
}
