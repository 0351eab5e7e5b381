/**
 * How far verification has come, in the signer's store and not in the database that it verifies:
 *
 *   <home>/signer/verified.json   { version, origin, size, chainHash, frontier }: everything before was verified
 *   <home>/signer/rolling.json    { version, origin, seed, size, done, open }: the parts of a cycle, in an order nobody
 *                                 knows, and the parts of any cycle that were not sound when they were read last
 */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { z } from 'zod';
import type { WalkedHead } from '../links/link-walk.ts';
import { DIGEST_BYTES, hmacSha256 } from '../tree/hash.ts';
import { decodeFrontier, encodeFrontier } from '../tree/merkle.ts';
import { damagedStore, readPrivate, writeDurably } from './signer-store.ts';

/** A cycle of rolling verification has this many parts, one a night. */
export const ROLLING_PARTS = 30;

const sizeText = z.string().regex(/^(0|[1-9][0-9]{0,18})$/);
const verifiedShape = z.strictObject({
  version: z.literal(1),
  origin: z.string(),
  size: sizeText,
  chainHash: z.base64(),
  frontier: z.base64(),
});
const rollingShape = z.strictObject({
  version: z.literal(1),
  origin: z.string(),
  seed: z.base64(),
  size: sizeText,
  done: z.int().min(0).max(ROLLING_PARTS),
  open: z.array(z.strictObject({ from: sizeText, to: sizeText })).default([]),
});

const verifiedFile = (home: string) => join(home, 'signer', 'verified.json');
const rollingFile = (home: string) => join(home, 'signer', 'rolling.json');

/** Up to where the log was verified; null when it never was. @throws CHAIN_SIGNER_STORE */
export async function readVerified(home: string, origin: string): Promise<WalkedHead | null> {
  const state = await readState(verifiedFile(home), verifiedShape, origin);
  if (state === null) return null;
  const size = BigInt(state.size);
  try {
    const frontier = decodeFrontier(size, Buffer.from(state.frontier, 'base64'));
    return { size, chainHash: Buffer.from(state.chainHash, 'base64'), frontier };
  } catch (cause) {
    throw damagedStore('what was verified last is damaged', cause);
  }
}

/** Keeps up to where the log was verified; on disk when it resolves. */
export async function writeVerified(home: string, origin: string, reached: WalkedHead): Promise<void> {
  const { size, chainHash, frontier } = reached;
  const encoded = {
    ...{ version: 1, origin, size: String(size), chainHash: chainHash.toString('base64') },
    frontier: encodeFrontier(frontier).toString('base64'),
  };
  await writeDurably(verifiedFile(home), `${JSON.stringify(encoded)}\n`, 'replace');
}

/** One cycle of rolling verification: the chain as long as it was at its beginning, in parts. */
export interface RollingCycle {
  readonly seed: Buffer;
  readonly size: bigint;
  /** Parts that were verified. */
  readonly done: number;
  /** Parts, also of earlier cycles, that were not sound when they were read last. */
  readonly open: readonly LinkRange[];
}

/** Links [from, to). */
export interface LinkRange {
  readonly from: bigint;
  readonly to: bigint;
}

/** The cycle under way, or a new one of this size. @throws CHAIN_SIGNER_STORE */
export async function readRolling(home: string, origin: string, size: bigint): Promise<RollingCycle> {
  const state = await readState(rollingFile(home), rollingShape, origin);
  const open = (state?.open ?? []).map(({ from, to }) => ({ from: BigInt(from), to: BigInt(to) }));
  if (state === null || state.done >= ROLLING_PARTS) return { seed: randomBytes(DIGEST_BYTES), size, done: 0, open };
  return { seed: Buffer.from(state.seed, 'base64'), size: BigInt(state.size), done: state.done, open };
}

/** Keeps a cycle; on disk when it resolves. */
export async function writeRolling(home: string, origin: string, cycle: RollingCycle): Promise<void> {
  const { seed, size, done } = cycle;
  const open = cycle.open.map(({ from, to }) => ({ from: String(from), to: String(to) }));
  const encoded = { version: 1, origin, seed: seed.toString('base64'), size: String(size), done, open };
  await writeDurably(rollingFile(home), `${JSON.stringify(encoded)}\n`, 'replace');
}

/** The links [from, to) of the cycle's next part; parts are drawn in an order that only the seed knows. */
export function nextPart({ seed, size, done }: Omit<RollingCycle, 'open'>): LinkRange {
  const order = Array.from({ length: ROLLING_PARTS }, (_, part) => ({
    part,
    by: hmacSha256(seed, Buffer.from([part])),
  }));
  order.sort((a, b) => a.by.compare(b.by));
  const part = BigInt(order[done]?.part ?? 0);
  const parts = BigInt(ROLLING_PARTS);
  return { from: (size * part) / parts, to: (size * (part + 1n)) / parts };
}

async function readState<T extends { origin: string }>(
  file: string,
  shape: z.ZodType<T>,
  origin: string,
): Promise<T | null> {
  const text = await readPrivate(file);
  if (text === null) return null;
  try {
    const state = shape.parse(JSON.parse(text));
    // Another incarnation is another log: nothing of it was verified.
    return state.origin === origin ? state : null;
  } catch (cause) {
    throw damagedStore(`${file} is damaged`, cause);
  }
}
