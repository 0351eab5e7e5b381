/** The files of a bundle on disk: a folder, and a zip whose every byte follows from the files. */
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { crc32 } from 'node:zlib';
import { AuditkeepError } from '../../errors.ts';
import { checkWritableFolder, exists } from '../../writable-folder.ts';

/** Without zip64: more parts or bytes do not fit. */
const MAX_ZIP_PARTS = 65_534;
const MAX_ZIP_BYTES = 0xffff_fffe;
const VERSION = 10;
/** The first day that a zip can name: bundles carry no time of their own. */
const DOS_DATE = 0x0021;

/** Makes a new or empty folder for a bundle, closed to others. @throws INPUT_FILE */
export async function makeBundleFolder(folder: string): Promise<void> {
  const names = await mkdir(folder, { recursive: true, mode: 0o700 })
    .then(() => readdir(folder))
    .catch((cause: unknown) => {
      throw unwritable(cause);
    });
  requireEmpty(names);
}

/** Whether makeBundleFolder could give the folder. @throws INPUT_FILE */
export async function checkBundleFolder(folder: string): Promise<void> {
  await checkWritableFolder(folder);
  requireEmpty((await exists(folder)) ? await readdir(folder) : []);
}

function requireEmpty(names: readonly string[]): void {
  if (names.length === 0) return;
  throw new AuditkeepError('INPUT_FILE', {
    message: 'the folder for the bundle is not empty',
    hint: 'name a folder that does not exist yet',
  });
}

/** Writes a small file of a bundle, with the folders above it. @throws INPUT_FILE */
export async function writePart(folder: string, name: string, bytes: Uint8Array | string): Promise<void> {
  await writeChunks(folder, name, [bytes]);
}

/** Writes a file as its chunks come; the hex SHA-256 of its bytes. @throws INPUT_FILE, and what chunks throws */
export async function writeChunks(
  folder: string,
  name: string,
  chunks: Iterable<Uint8Array | string> | AsyncIterable<Uint8Array | string>,
): Promise<string> {
  const path = join(folder, name);
  const digest = createHash('sha256');
  const handle = await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    .then(() => open(path, 'wx', 0o600))
    .catch((cause: unknown) => {
      throw unwritable(cause);
    });
  try {
    for await (const chunk of chunks) {
      digest.update(chunk);
      await handle.appendFile(chunk);
    }
  } finally {
    await handle.close();
  }
  return digest.digest('hex');
}

/**
 * Packs a bundle folder into a zip beside it, one part in memory at a time: parts stored, in the byte order of their
 * names, no dates, no extra fields, so the same folder gives the same bytes.
 * @throws INPUT_FILE when it cannot be written, INPUT_INVALID when it would need zip64
 */
export async function zipFolder(folder: string, zip: string): Promise<void> {
  const names = (await readdir(folder, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(join(folder, '/').length).replaceAll('\\', '/'))
    .sort((a, b) => (a < b ? -1 : 1));
  if (names.length > MAX_ZIP_PARTS) throw tooLarge();
  try {
    await pipeline(Readable.from(zipChunks(folder, names)), createWriteStream(`${zip}.part`, { mode: 0o600 }));
    await rename(`${zip}.part`, zip);
  } catch (cause) {
    await rm(`${zip}.part`, { force: true });
    throw cause instanceof AuditkeepError ? cause : unwritable(cause);
  }
}

async function* zipChunks(folder: string, names: readonly string[]): AsyncGenerator<Buffer, void, undefined> {
  const directory: Buffer[] = [];
  let at = 0;
  for (const name of names) {
    const bytes = await readFile(join(folder, name));
    if (at + bytes.length > MAX_ZIP_BYTES) throw tooLarge();
    const entry = zipEntry(name, bytes);
    directory.push(
      Buffer.concat([signed('504b0102'), u16(VERSION), entry, u16(0, 0, 0), u32(0, at), Buffer.from(name)]),
    );
    yield Buffer.concat([signed('504b0304'), entry, Buffer.from(name), bytes]);
    at += 30 + Buffer.byteLength(name) + bytes.length;
  }
  const central = Buffer.concat(directory);
  if (at + central.length > MAX_ZIP_BYTES) throw tooLarge();
  yield central;
  yield Buffer.concat([signed('504b0506'), u16(0, 0, names.length, names.length), u32(central.length, at), u16(0)]);
}

/** What local header and directory have in common: from the version needed to the length of the extra field. */
function zipEntry(name: string, bytes: Buffer): Buffer {
  return Buffer.concat([
    u16(VERSION, 0, 0, 0, DOS_DATE),
    u32(crc32(bytes), bytes.length, bytes.length),
    u16(Buffer.byteLength(name), 0),
  ]);
}

function signed(hex: string): Buffer {
  return Buffer.from(hex, 'hex');
}

function u16(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 2);
  for (const [at, value] of values.entries()) bytes.writeUInt16LE(value, at * 2);
  return bytes;
}

function u32(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  for (const [at, value] of values.entries()) bytes.writeUInt32LE(value, at * 4);
  return bytes;
}

function tooLarge(): AuditkeepError {
  return new AuditkeepError('INPUT_INVALID', {
    message: 'the bundle is too large for a zip: over 65,534 files or 4 GB',
    hint: 'export without --zip, or a part of the chain with --from and --to',
  });
}

function unwritable(cause: unknown): AuditkeepError {
  return new AuditkeepError('INPUT_FILE', {
    message: 'the bundle cannot be written',
    hint: 'name a folder that you may write to, with space left',
    cause,
  });
}
