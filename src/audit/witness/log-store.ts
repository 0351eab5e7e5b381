/**
 * What a witness remembers: for each log the largest tree that it cosigned. Without it a witness is worth nothing, so it
 * is on disk before an answer leaves, and a store that cannot be read stops the witness.
 *
 *   <store>/<sha256 of the origin>.json   { version, origin, size, root, note, time }, replaced by rename
 *   <store>/evidence/<sha256>.note        what a log signed against itself: a request that was refused
 *   <store>/lock                          the process id of the witness that serves this store
 */
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { AuditkeepError } from '../../errors.ts';
import { createFile, replaceFile } from '../signer/durable-file.ts';
import { DIGEST_BYTES, sha256 } from '../tree/hash.ts';
import type { WitnessedHead } from './judge.ts';

const headShape = z.strictObject({
  version: z.literal(1),
  origin: z.string(),
  size: z.string().regex(/^(0|[1-9][0-9]{0,18})$/),
  root: z.base64(),
  note: z.string(),
  time: z.string().regex(/^[1-9][0-9]{0,18}$/),
});

const headFile = (store: string, origin: string) => join(store, `${sha256(Buffer.from(origin)).toString('hex')}.json`);
const lockFile = (store: string) => join(store, 'lock');

/** The head that was cosigned last; null when the log is new to this witness. @throws WITNESS_STORE when damaged */
export async function readWitnessedHead(store: string, origin: string): Promise<WitnessedHead | null> {
  const file = headFile(store, origin);
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return null;
    throw broken(`${file} cannot be read`, cause);
  }
  try {
    const { size, root, note, time, ...head } = headShape.parse(JSON.parse(text));
    const digest = Buffer.from(root, 'base64');
    if (head.origin !== origin || digest.length !== DIGEST_BYTES) throw new RangeError('of another log');
    return { origin, size: BigInt(size), root: digest, note, time: BigInt(time) };
  } catch (cause) {
    throw broken(`${file} is damaged`, cause);
  }
}

/** Replaces the head of a log; on disk when it resolves. */
export async function writeWitnessedHead(store: string, head: WitnessedHead): Promise<void> {
  const { origin, size, root, note, time } = head;
  const encoded = { version: 1, origin, size: `${size}`, root: root.toString('base64'), note, time: `${time}` };
  await replaceFile(headFile(store, origin), `${JSON.stringify(encoded)}\n`);
}

/** Keeps a request that proves that the log lied, or lost its tree. */
export async function keepEvidence(store: string, request: string): Promise<void> {
  await createFile(join(store, 'evidence', `${sha256(Buffer.from(request)).toString('hex')}.note`), request);
}

/**
 * Takes a store for this process: two witnesses over one store could cosign two trees of one size. The lock of a process
 * that no longer runs is taken over. Gives the function that gives it back.
 * @throws WITNESS_STORE when another process serves it or the folder cannot be used
 */
export async function lockStore(store: string): Promise<() => Promise<void>> {
  const file = lockFile(store);
  try {
    await mkdir(store, { recursive: true, mode: 0o700 });
    if (await isStale(file)) await rm(file, { force: true });
    if (!(await createFile(file, `${process.pid}\n`))) {
      throw broken(`another process serves ${store}`, undefined);
    }
  } catch (cause) {
    throw cause instanceof AuditkeepError ? cause : broken(`${store} cannot be used`, cause);
  }
  return () => rm(file, { force: true });
}

async function isStale(file: string): Promise<boolean> {
  const holder = Number(await readFile(file, 'utf8').catch(() => ''));
  // A container that was killed begins again with the same process id.
  if (!Number.isInteger(holder) || holder <= 0 || holder === process.pid) return true;
  try {
    process.kill(holder, 0);
    return false;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'ESRCH';
  }
}

function broken(message: string, cause: unknown): AuditkeepError {
  return new AuditkeepError('WITNESS_STORE', {
    message,
    hint: 'a witness that lost its store must begin again under a new key: never go on with an older copy',
    cause,
  });
}
