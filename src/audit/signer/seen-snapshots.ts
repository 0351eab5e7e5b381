/**
 * What the database showed, and when, in the signer's store: an event that was visible longer ago than the sealer may
 * take, and is linked nowhere, is unsealed, whatever audit.chain_head says about its own times.
 *
 *   <home>/signer/snapshots.json   { version, origin, seen: [{ at, snapshot }] }, 0600, replaced by rename
 */
import { join } from 'node:path';
import { z } from 'zod';
import { parseSnapshot, type Snapshot } from '../links/snapshot.ts';
import { damagedStore, readPrivate, writeDurably } from './signer-store.ts';

export interface SeenSnapshot {
  /** Milliseconds since 1970-01-01 UTC, by the clock of the signer. */
  readonly at: number;
  readonly snapshot: Snapshot;
}

/** Of what is older only the newest is kept; so nothing later than this can be judged. */
const KEPT_MS = 3_600_000;
const APART_MS = 10_000;

const fileShape = z.strictObject({
  version: z.literal(1),
  origin: z.string(),
  seen: z.array(z.strictObject({ at: z.int(), snapshot: z.string() })),
});

const snapshotsFile = (home: string) => join(home, 'signer', 'snapshots.json');

/** What was seen of a log, oldest first; of another one nothing. @throws CHAIN_SIGNER_STORE */
export async function readSeen(home: string, origin: string): Promise<SeenSnapshot[]> {
  const text = await readPrivate(snapshotsFile(home));
  if (text === null) return [];
  try {
    const state = fileShape.parse(JSON.parse(text));
    if (state.origin !== origin) return [];
    return state.seen.map(({ at, snapshot }) => ({ at, snapshot: parseSnapshot(snapshot) }));
  } catch (cause) {
    throw damagedStore(`${snapshotsFile(home)} is damaged`, cause);
  }
}

/** Adds what is seen now and forgets what is no longer needed; on disk when it resolves. @throws CHAIN_SIGNER_STORE */
export async function rememberSeen(home: string, origin: string, now: SeenSnapshot): Promise<void> {
  const before = await readSeen(home, origin);
  const seen = withSeen(before, now);
  if (seen === before) return;
  const entries = seen.map(({ at, snapshot }) => ({ at, snapshot: snapshot.text }));
  await writeDurably(snapshotsFile(home), `${JSON.stringify({ version: 1, origin, seen: entries })}\n`, 'replace');
}

/** Pure: the list with one more, or the same list where it adds nothing. */
export function withSeen(before: readonly SeenSnapshot[], now: SeenSnapshot): readonly SeenSnapshot[] {
  // A clock that was set back, or ids that began anew: what was noted says nothing about this one any more.
  const valid = before.filter(({ at, snapshot }) => at <= now.at && snapshot.xmax <= now.snapshot.xmax);
  const last = valid.at(-1);
  if (last !== undefined && now.at - last.at < APART_MS && valid.length === before.length) return before;
  const firstKept = valid.findIndex(({ at }) => at > now.at - KEPT_MS);
  const from = firstKept < 0 ? valid.length - 1 : firstKept - 1;
  return [...valid.slice(Math.max(0, from)), now];
}

/** Pure: the newest snapshot that is at least so old; null when there is none. */
export function seenBefore(seen: readonly SeenSnapshot[], now: SeenSnapshot, seconds: number): Snapshot | null {
  const due = seen.filter(({ at, snapshot }) => at <= now.at - seconds * 1000 && snapshot.xmax <= now.snapshot.xmax);
  return due.at(-1)?.snapshot ?? null;
}
