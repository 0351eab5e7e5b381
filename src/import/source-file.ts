/** The files that an import reads: found in folders, opened, decompressed, with limits. */
import type { Stats } from 'node:fs';
import { createReadStream } from 'node:fs';
import { readdir, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { createGunzip } from 'node:zlib';
import { AuditkeepError } from '../errors.ts';
import { RecordRejected } from './rejection.ts';

/** Most bytes that one file may hold after decompression: a gzip bomb ends here. */
const MAX_FILE_BYTES = 16 * 2 ** 30;
/** Small: a chunk is parsed in one turn of the event loop, and the batch being written waits for its turns. */
const CHUNK_BYTES = 64 * 1024;

export interface SourceFiles {
  /** Paths in the order given; within a folder sorted by path. */
  readonly files: readonly string[];
  /** Files of folders that were passed over: other names, symbolic links (never followed inside a folder). */
  readonly skipped: number;
}

/** What a path names, links followed. @throws INPUT_FILE when it is missing or cannot be read */
export async function requirePath(path: string): Promise<Stats> {
  return await stat(path).catch((cause: unknown) => {
    throw inputFile(path, cause);
  });
}

/**
 * The files that paths stand for: a file is itself, whatever its name; a folder is every file below it whose path
 * relative to it accepts matches.
 * @throws INPUT_FILE when a path is missing or cannot be read; nothing was read then
 */
export async function listFiles(paths: readonly string[], accepts: (name: string) => boolean): Promise<SourceFiles> {
  const files: string[] = [];
  let skipped = 0;
  for (const path of paths) {
    const info = await requirePath(path);
    if (!info.isDirectory()) {
      files.push(path);
      continue;
    }
    // The folder itself may be a link that the user named; links below it are not followed.
    const root = await realpath(path);
    const entries = await readdir(root, { recursive: true, withFileTypes: true }).catch((cause: unknown) => {
      throw inputFile(path, cause);
    });
    const names = entries
      .filter((entry) => !entry.isDirectory())
      .map((entry) => ({ wanted: entry.isFile() && accepts(entry.name), path: join(entry.parentPath, entry.name) }));
    const wanted = names.filter((name) => name.wanted).map((name) => name.path);
    skipped += names.length - wanted.length;
    files.push(...wanted.sort());
  }
  return { files, skipped };
}

/**
 * The bytes of a file, decompressed when its name ends in `.gz`. At most maxBytes.
 * @throws RecordRejected FILE_UNREADABLE, FILE_TOO_LARGE (field null), at any point of the iteration
 */
export async function* readFile(path: string, maxBytes = MAX_FILE_BYTES): AsyncGenerator<Buffer, void, undefined> {
  let size = 0;
  try {
    for await (const chunk of openStream(path)) {
      const bytes = chunk as Buffer;
      size += bytes.length;
      if (size > maxBytes) throw new RecordRejected('FILE_TOO_LARGE');
      yield bytes;
    }
  } catch (error) {
    throw isReadFailure(error) ? new RecordRejected('FILE_UNREADABLE') : error;
  }
}

function openStream(path: string): NodeJS.ReadableStream {
  const file = createReadStream(path, { highWaterMark: CHUNK_BYTES });
  if (!path.endsWith('.gz')) return file;
  const plain = createGunzip({ chunkSize: CHUNK_BYTES });
  // pipe() passes no errors on: an unreadable file would otherwise end the process.
  file.on('error', (error) => plain.destroy(error));
  plain.on('close', () => file.destroy());
  return file.pipe(plain);
}

/** A file system or zlib failure, both of which carry a code; anything else is a bug and passes. */
function isReadFailure(error: unknown): boolean {
  return error instanceof Error && !(error instanceof RecordRejected) && 'code' in error;
}

function inputFile(path: string, cause: unknown): AuditkeepError {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown error';
  return new AuditkeepError('INPUT_FILE', {
    message: `cannot read ${path} (${code})`,
    hint: 'check that the path exists and that you may read it',
    cause,
  });
}
