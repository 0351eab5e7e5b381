/** What every level of verification begins with: the head of the chain and everything that was signed about it. */
import type { KeyObject } from 'node:crypto';
import type { Context } from '../../context.ts';
import type { SqlClient } from '../../db/database.ts';
import { AuditkeepError } from '../../errors.ts';
import { type ChainHead, currentSnapshot, readCheckpoints, readHead } from '../links/chain-store.ts';
import { type Finding, finding, type VerifyLevel } from '../links/finding.ts';
import type { Snapshot } from '../links/snapshot.ts';
import { wentBack } from '../links/transaction-order.ts';
import { type KeptCheckpoint, type OpenedHeads, openHeads } from '../publish/checkpoint-check.ts';
import { readCheckpointFiles } from '../publish/checkpoint-files.ts';
import { coveredSize } from '../publish/covered.ts';
import { type LogName, numberFindings, readLogName } from '../publish/log-name.ts';
import { type IncarnationRecord, incarnationFindings, readIncarnations } from '../record/incarnation-record.ts';
import { readSeen, rememberSeen, seenBefore } from '../signer/seen-snapshots.ts';
import {
  hasSignerTraces,
  incarnationOf,
  listCheckpointFiles,
  listIncarnationFolders,
  originOf,
  readLogPublicKey,
  readSignerOrigin,
  readSignerState,
} from '../signer/signer-store.ts';
import { readVerified } from '../signer/verified-store.ts';
import { type Anchor, readAnchor } from '../witness/anchor.ts';

/** How far the server's clock may be set back without a finding. */
const CLOCK_STEP_SECONDS = 60;

/** What verification needs of the context. */
export type Verifying = Pick<Context, 'db' | 'clock' | 'actor' | 'config' | 'log' | 'progress'>;

export interface VerifyRun {
  readonly head: ChainHead;
  /** The log's name by the signer, also where the head shows another number. */
  readonly origin: string;
  readonly incarnation: number;
  readonly opened: OpenedHeads;
  /** The log's public key by this home; null when it signed nothing. */
  readonly publicKey: KeyObject | null;
  readonly witnessed: Anchor;
  /** The home bears traces of a signer: something was signed, so something must be there. */
  readonly signed: boolean;
  /** Leaves below this lie under a checkpoint that counts. */
  readonly covered: bigint;
  /** What was lost at restores, at levels that look back; at each, a number in the head that is not the signer's. */
  readonly lost: readonly Finding[];
  /** The sealer has not come to its end for longer than it may. */
  readonly overdue: boolean;
  /** What was seen longer ago than the sealer may take, by the signer's own store; null when nothing was. */
  readonly due: Snapshot | null;
  /** What the verification itself sees. */
  readonly now: Snapshot;
  /** A dump was restored: transaction ids say nothing until the chain was swept. */
  readonly wentBack: boolean;
}

/** Levels that run all day. */
export const QUIET_LEVELS: ReadonlySet<VerifyLevel> = new Set(['head', 'incremental']);

export interface RunInput {
  readonly unsealedAfterSeconds: number;
  /**
   * At head and incremental only checkpoints from what was verified last are opened; one a minute makes half a million a
   * year. Nor are earlier incarnations looked at: a restore that two officers signed would be a finding a minute, for ever.
   */
  readonly level: VerifyLevel;
}

/** Reads head and signed heads in the client's transaction. @throws CHAIN_SIGNER_STORE */
export async function openRun(ctx: Verifying, client: SqlClient, input: RunInput): Promise<VerifyRun> {
  const recentOnly = QUIET_LEVELS.has(input.level);
  // Before the head is read: what is signed from then on may lie beyond it.
  const published = recentOnly ? await recentlyPublished(ctx.config, input.level) : null;
  const head = await readHead(client);
  const now = await currentSnapshot(client);
  const log = await readLogName(ctx.config, head);
  const { origin } = log;
  const publicKey = await readLogPublicKey(ctx.config.home);
  const key = publicKey === null ? null : { name: origin, publicKey };
  const witnessed = await readAnchor(ctx.config, origin, key);
  const state = await readSignerState(ctx.config.home, origin);
  const from = recentOnly ? await recentSize(ctx.config.home, origin, state.frontier.size) : 1n;
  const kept = (await readCheckpoints(client, from)).map((row) => ({ ...row, place: 'audit.checkpoint' }));
  const sizes =
    published === null ? null : [...kept.map(({ size }) => size), state.frontier.size, ...published(log.incarnation)];
  const looksBack = !recentOnly || head.incarnation !== log.incarnation;
  const records = looksBack ? await readIncarnations(client, head) : [];
  const opened = openHeads({
    key,
    keptOf: keptOfEarlier(ctx.config.origin, log.incarnation, recentOnly ? [] : records),
    cosigned: witnessed.heads,
    ownNote: state.note,
    // Without a key no signature can be judged, and the number is the database's word.
    stored: key === null ? [] : [...kept, ...(await readFiles(ctx.config, log, sizes))],
  });
  // A sealer that will come to its end in the future is one whose time somebody set.
  const overdue = head.idleSeconds > input.unsealedAfterSeconds || head.idleSeconds < -CLOCK_STEP_SECONDS;
  const covered = coveredSize(witnessed, {
    signer: key !== null,
    own: opened.own?.size ?? null,
    stored: kept.at(-1)?.size ?? null,
  });
  return {
    ...{ head, ...log, opened, publicKey, witnessed, overdue, covered, now },
    signed: await hasSignerTraces(ctx.config.home),
    lost: lostAt(log, head, { records, recentOnly }),
    due: await readDue(ctx, { origin, now, signer: key !== null }, input.unsealedAfterSeconds),
    wentBack: wentBack(head, now),
  };
}

/** What is told of restores: all of them where the run looks back, otherwise what the signer does not know. */
function lostAt(
  log: LogName,
  head: ChainHead,
  { records, recentOnly }: { readonly records: readonly IncarnationRecord[]; readonly recentOnly: boolean },
): Finding[] {
  const strange = numberFindings(log, head, records);
  if (recentOnly) return strange;
  const last = Math.min(log.incarnation, head.incarnation);
  return [...incarnationFindings(records, { last }), ...strange];
}

/**
 * What counts of the names before this one: as far as every later incarnation kept it; nothing where nobody signed how
 * far, or where records were not read.
 */
function keptOfEarlier(name: string, incarnation: number, records: readonly IncarnationRecord[]) {
  return (origin: string): bigint | undefined => {
    const of = incarnationOf(name, origin);
    if (of === null || of >= incarnation) return undefined;
    const later = records.filter((record) => record.incarnation > of && record.incarnation <= incarnation);
    if (later.length < incarnation - of) return 0n;
    return later.reduce((least, { kept }) => (kept < least ? kept : least), later[0]?.kept ?? 0n);
  };
}

/** The directories of checkpoints of all incarnations, or of this one the files of some sizes. */
async function readFiles(
  { home, origin: name }: Pick<Verifying['config'], 'home' | 'origin'>,
  { origin, incarnation: last }: LogName,
  sizes: readonly bigint[] | null,
): Promise<KeptCheckpoint[]> {
  if (sizes !== null) return readCheckpointFiles(home, { origin, incarnation: last, sizes });
  const files: KeptCheckpoint[] = [];
  for (const incarnation of await listIncarnationFolders(home)) {
    if (incarnation > last) break;
    files.push(...(await readCheckpointFiles(home, { origin: originOf(name, incarnation), incarnation, from: 1n })));
  }
  return files;
}

/**
 * The sizes of the files that a quiet level opens beside those that the database and the signer's state name, which may
 * have gone back together: at head what was published beyond the state, otherwise everything since the last verification.
 * @returns by incarnation: where the state is lost, the first one's
 */
async function recentlyPublished(
  { home, origin: name }: Pick<Verifying['config'], 'home' | 'origin'>,
  level: VerifyLevel,
): Promise<(incarnation: number) => bigint[]> {
  const origin = (await readSignerOrigin(home)) ?? name;
  const of = incarnationOf(name, origin);
  if (of === null) return () => []; // readSignerState refuses another log's
  const { size } = (await readSignerState(home, origin)).frontier;
  const from = level === 'head' ? size + 1n : await recentSize(home, origin, size);
  const sizes = (await listCheckpointFiles(home, of, from)).map((listed) => listed.size);
  return (incarnation) => (incarnation === of ? sizes : []);
}

/** What was seen so long ago; what is seen now is noted for later runs. */
async function readDue(
  ctx: Pick<Verifying, 'clock' | 'config'>,
  { origin, now: snapshot, signer }: { readonly origin: string; readonly now: Snapshot; readonly signer: boolean },
  seconds: number,
): Promise<Snapshot | null> {
  if (!signer) return null;
  const now = { at: ctx.clock.now(), snapshot };
  const due = seenBefore(await readSeen(ctx.config.home, origin), now, seconds);
  await rememberSeen(ctx.config.home, origin, now);
  return due;
}

/** A sealer that will come to its end in the future: somebody set its time, or the server's clock. */
export function clockFindings({ head }: Pick<VerifyRun, 'head'>): Finding[] {
  if (head.idleSeconds >= -CLOCK_STEP_SECONDS) return [];
  const actual = `${Math.round(-head.idleSeconds)} s ahead of the server's clock`;
  return [finding('unsealed', { expected: 'a last seal in the past', actual })];
}

/** The size from which checkpoints are new: what was verified last, or what was signed last if that is less. */
async function recentSize(home: string, origin: string, signed: bigint): Promise<bigint> {
  const verified = (await readVerified(home, origin))?.size ?? 0n;
  return verified < signed ? verified + 1n : signed;
}

/** Nothing to verify where there should be something. */
export function nothingChecked(message: string, hint: string): AuditkeepError {
  return new AuditkeepError('CHAIN_NOTHING_CHECKED', { message, hint });
}
