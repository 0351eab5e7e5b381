/**
 * The mirror of all leaves outside the database: `<home>/checkpoints[/incarnation-N]/leaves`, 32 bytes a leaf, in seq
 * order. These are the level-0 tiles of C2SP tlog-tiles one after the other: tile N begins at byte 8192 N. Only the signer
 * writes it, by appending, and on disk (fsync) before the checkpoint over it is signed. A root tells that history was
 * rewritten, the mirror tells which row.
 */
import { type FileHandle, mkdir, open } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { DIGEST_BYTES, type Digest } from '../tree/hash.ts';
import { checkpointFolder, damagedStore } from './signer-store.ts';

/** Leaves read at once: 2 MB. */
const SLAB = 65_536;

const mirrorFile = (home: string, incarnation: number) => join(checkpointFolder(home, incarnation), 'leaves');

/** Whose mirror: each incarnation has its own. */
export interface MirrorPlace {
  readonly home: string;
  readonly incarnation: number;
}

/** The mirror while leaves are appended. */
export interface OpenMirror {
  /** Leaves that it holds. */
  readonly size: bigint;
  append(leaves: readonly Digest[]): Promise<void>;
  /** Empties a mirror that began too late, to be filled from the first leaf on. */
  reset(): Promise<void>;
}

/**
 * Opens the mirror for the signer, who holds its lock, and has it on disk when it resolves. Leaves beyond `signed` were
 * appended before a crash, never signed, and are cut off.
 * @throws CHAIN_SIGNER_STORE, and what fn throws
 */
export async function appendMirror<T>(
  { home, incarnation }: MirrorPlace,
  signed: bigint,
  fn: (mirror: OpenMirror) => Promise<T>,
): Promise<T> {
  const file = mirrorFile(home, incarnation);
  const handle = await openForAppending(file).catch((cause: unknown) => {
    throw damagedStore(`${file} cannot be written`, cause);
  });
  try {
    const { size: bytes } = await handle.stat();
    let size = BigInt(Math.floor(bytes / DIGEST_BYTES));
    if (size > signed) size = signed;
    if (bytes !== Number(size) * DIGEST_BYTES) await handle.truncate(Number(size) * DIGEST_BYTES);
    const result = await fn({
      get size() {
        return size;
      },
      async append(leaves) {
        await handle.appendFile(Buffer.concat([...leaves]));
        size += BigInt(leaves.length);
      },
      async reset() {
        await handle.truncate(0);
        size = 0n;
      },
    });
    await handle.sync();
    return result;
  } finally {
    await handle.close();
  }
}

async function openForAppending(file: string): Promise<FileHandle> {
  const folder = dirname(file);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const handle = await open(file, 'a', 0o600);
  const entry = await open(folder, 'r');
  await entry.sync().finally(() => entry.close());
  return handle;
}

/**
 * The mirrored leaves [from, to) in slabs, as far as they are there; none without a mirror.
 * @throws CHAIN_SIGNER_STORE
 */
export async function* readMirror(
  { home, incarnation }: MirrorPlace,
  from: bigint,
  to: bigint,
): AsyncGenerator<Digest[], void, undefined> {
  const file = mirrorFile(home, incarnation);
  const handle = await open(file, 'r').catch((cause: unknown) => {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return null;
    throw damagedStore(`${file} cannot be read`, cause);
  });
  if (handle === null) return;
  try {
    for (let at = Number(from); at < Number(to); ) {
      const wanted = Math.min(SLAB, Number(to) - at);
      const { buffer, bytesRead } = await handle.read(
        Buffer.alloc(wanted * DIGEST_BYTES),
        0,
        wanted * DIGEST_BYTES,
        at * DIGEST_BYTES,
      );
      const count = Math.floor(bytesRead / DIGEST_BYTES);
      if (count === 0) return;
      yield Array.from({ length: count }, (_, leaf) => buffer.subarray(leaf * DIGEST_BYTES, (leaf + 1) * DIGEST_BYTES));
      at += count;
    }
  } finally {
    await handle.close();
  }
}
