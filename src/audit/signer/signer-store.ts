/**
 * The signer's own store, a folder beside the database and never in it: the log's private key, the tree as it was last
 * signed, and the directory of published checkpoints. The state is on disk (fsync) before a checkpoint is published.
 *
 *   <home>/signer/log.key        PKCS#8 PEM, 0600
 *   <home>/signer/state.json     { version, origin, size, frontier, note }, 0600, replaced by rename
 *   <home>/checkpoints/          <size, 20 digits>.checkpoint, one file a checkpoint, never rewritten
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { chmod, mkdir, readdir, readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { AuditkeepError } from '../../errors.ts';
import { decodeFrontier, EMPTY_FRONTIER, encodeFrontier, type Frontier } from '../tree/merkle.ts';
import { createFile, replaceFile } from './durable-file.ts';

/** What the signer knows about the log without asking the database. */
export interface SignerState {
  readonly origin: string;
  readonly frontier: Frontier;
  /** The last checkpoint that was signed; null before the first. */
  readonly note: string | null;
}

const stateShape = z.strictObject({
  version: z.literal(1),
  origin: z.string(),
  size: z.string().regex(/^(0|[1-9][0-9]{0,18})$/),
  frontier: z.base64(),
  note: z.string(),
});

const keyFile = (home: string) => join(home, 'signer', 'log.key');
const stateFile = (home: string) => join(home, 'signer', 'state.json');
/** The directory of checkpoints. Sizes repeat after a restore: each incarnation has a folder of its own. */
export const checkpointFolder = (home: string, incarnation: number) =>
  incarnation === 1 ? join(home, 'checkpoints') : join(home, 'checkpoints', `incarnation-${incarnation}`);

const checkpointName = (size: bigint) => `${String(size).padStart(20, '0')}.checkpoint`;

/** The file of the checkpoint of a size. */
export const checkpointFile = (home: string, incarnation: number, size: bigint) =>
  join(checkpointFolder(home, incarnation), checkpointName(size));

/**
 * The log's private key, created on first use and never again: a lost one is not replaced.
 * @throws CHAIN_SIGNER_STORE when others may read the file, it is no Ed25519 key, or it is gone although it has signed
 */
export async function openLogKey(home: string): Promise<KeyObject> {
  const file = keyFile(home);
  const pem = await readPrivate(file);
  if (pem === null) {
    await requireUnsigned(home);
    return createLogKey(home);
  }
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch (cause) {
    throw damagedStore('the log key cannot be read', cause);
  }
  if (key.asymmetricKeyType !== 'ed25519') throw damagedStore('the log key is not an Ed25519 key');
  return key;
}

/** The log's public key, or null when this home never signed anything. @throws CHAIN_SIGNER_STORE also when it is lost */
export async function readLogPublicKey(home: string): Promise<KeyObject | null> {
  if ((await readPrivate(keyFile(home))) !== null) return createPublicKey(await openLogKey(home));
  await requireUnsigned(home);
  return null;
}

/** Whether a home bears any trace of a signer: its key, its state or a published checkpoint. @throws CHAIN_SIGNER_STORE */
export async function hasSignerTraces(home: string): Promise<boolean> {
  return (await readPrivate(keyFile(home))) !== null || (await signedHere(home));
}

async function signedHere(home: string): Promise<boolean> {
  return (await readPrivate(stateFile(home))) !== null || (await listCheckpointFiles(home, 1)).length > 0;
}

async function requireUnsigned(home: string): Promise<void> {
  if (!(await signedHere(home))) return;
  throw damagedStore(`${keyFile(home)} is gone, but this home has signed checkpoints with it`);
}

/**
 * The state as last written; an empty tree before the first checkpoint.
 * @throws CHAIN_SIGNER_STORE when it is damaged, readable by others or of another origin
 */
export async function readSignerState(home: string, origin: string): Promise<SignerState> {
  const text = await readPrivate(stateFile(home));
  if (text === null) return { origin, frontier: EMPTY_FRONTIER, note: null };
  let state: z.infer<typeof stateShape>;
  let frontier: Frontier;
  try {
    state = stateShape.parse(JSON.parse(text));
    frontier = decodeFrontier(BigInt(state.size), Buffer.from(state.frontier, 'base64'));
  } catch (cause) {
    throw damagedStore('the state of the signer is damaged', cause);
  }
  if (state.origin !== origin)
    throw damagedStore(`the state of the signer is of the log ${state.origin}, not ${origin}`);
  return { origin, frontier, note: state.note === '' ? null : state.note };
}

/** The origin that the signer of this home signs for; null before the first checkpoint. @throws CHAIN_SIGNER_STORE */
export async function readSignerOrigin(home: string): Promise<string | null> {
  const text = await readPrivate(stateFile(home));
  if (text === null) return null;
  try {
    return stateShape.parse(JSON.parse(text)).origin;
  } catch (cause) {
    throw damagedStore('the state of the signer is damaged', cause);
  }
}

/** The log's name: that of the installation, with the incarnation from the second one on. */
export function originOf(name: string, incarnation: number): string {
  return incarnation === 1 ? name : `${name}/${incarnation}`;
}

/** The incarnation of an origin of this installation, or null when it is another's. */
export function incarnationOf(name: string, origin: string): number | null {
  if (origin === name) return 1;
  const [, digits] = origin.startsWith(`${name}/`)
    ? (/^\/([1-9][0-9]{0,8})$/.exec(origin.slice(name.length)) ?? [])
    : [];
  const incarnation = Number(digits ?? 0);
  return incarnation >= 2 ? incarnation : null;
}

/** Replaces the state; on disk when it resolves. */
export async function writeSignerState(home: string, state: SignerState & { note: string }): Promise<void> {
  const { origin, frontier, note } = state;
  const size = String(frontier.size);
  const encoded = { version: 1, origin, size, frontier: encodeFrontier(frontier).toString('base64'), note };
  await writeDurably(stateFile(home), `${JSON.stringify(encoded)}\n`, 'replace');
}

/** Keeps the state of an abandoned incarnation beside the next one's, as state-<size>.json. */
export async function setSignerStateAside(home: string): Promise<void> {
  const text = await readPrivate(stateFile(home));
  if (text === null) throw damagedStore('the signer has no state');
  const { size, origin } = stateShape.parse(JSON.parse(text));
  const name = `state-${origin.replaceAll(/[^A-Za-z0-9.-]/g, '_')}-${size}.json`;
  await writeDurably(join(home, 'signer', name), text, 'keep');
}

/**
 * The published checkpoints of an incarnation from a size on, by size; none when the directory is missing. Names are read,
 * no file is opened.
 * @throws CHAIN_SIGNER_STORE
 */
export async function listCheckpointFiles(
  home: string,
  incarnation: number,
  from = 0n,
): Promise<{ readonly size: bigint; readonly file: string }[]> {
  const folder = checkpointFolder(home, incarnation);
  const names = await namesIn(folder);
  const first = checkpointName(from);
  // A folder grows by a file a minute: what is older is dropped by its name, before anything is made of it.
  const recent = names.filter((name) => name >= first);
  return recent.sort().flatMap((name) => {
    const [, digits] = /^(\d{20})\.checkpoint$/.exec(name) ?? [];
    return digits === undefined ? [] : [{ size: BigInt(digits), file: join(folder, name) }];
  });
}

/** The incarnations that have a folder of checkpoints, in order; the first in any case. @throws CHAIN_SIGNER_STORE */
export async function listIncarnationFolders(home: string): Promise<number[]> {
  const later = (await namesIn(checkpointFolder(home, 1))).flatMap((name) => {
    const [, digits] = /^incarnation-([1-9][0-9]{0,8})$/.exec(name) ?? [];
    return digits === undefined || digits === '1' ? [] : [Number(digits)];
  });
  return [1, ...later.sort((a, b) => a - b)];
}

async function namesIn(folder: string): Promise<string[]> {
  return readdir(folder).catch((error: unknown) => {
    if (isMissing(error)) return [];
    throw damagedStore(`${folder} cannot be read`, error);
  });
}

async function createLogKey(home: string): Promise<KeyObject> {
  const { privateKey } = generateKeyPairSync('ed25519');
  // Two first uses at once: one file wins, both use it.
  await writeDurably(keyFile(home), privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(), 'keep');
  return createPrivateKey(await readFile(keyFile(home), 'utf8'));
}

/** The text of a file of the signer; null when there is none. @throws CHAIN_SIGNER_STORE when others may read it */
export async function readPrivate(file: string): Promise<string | null> {
  const found = await stat(file).catch((error: unknown) => {
    if (isMissing(error)) return null;
    throw damagedStore(`${file} cannot be read`, error);
  });
  if (found === null) return null;
  if ((found.mode & 0o077) !== 0) throw wrongMode(file);
  return readFile(file, 'utf8');
}

/** Writes a file and its folder entry to disk; 'keep' leaves an existing file alone. */
export async function writeDurably(file: string, text: string, existing: 'keep' | 'replace'): Promise<void> {
  try {
    await chmod(await makeFolder(file), 0o700);
    await (existing === 'keep' ? createFile(file, text) : replaceFile(file, text));
  } catch (cause) {
    throw damagedStore(`${file} cannot be written`, cause);
  }
}

async function makeFolder(file: string): Promise<string> {
  const folder = dirname(file);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  return folder;
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

function wrongMode(file: string): AuditkeepError {
  return new AuditkeepError('CHAIN_SIGNER_STORE', {
    message: `${file} may be read or written by others`,
    hint: `chmod 600 ${file}; whoever could read a key may have copied it`,
  });
}

/** The signer cannot trust what it finds beside its key. */
export function damagedStore(message: string, cause?: unknown): AuditkeepError {
  return new AuditkeepError('CHAIN_SIGNER_STORE', {
    message,
    hint: 'restore the signer folder of the home from its backup, with mode 0600; never copy it from the database',
    cause,
  });
}
