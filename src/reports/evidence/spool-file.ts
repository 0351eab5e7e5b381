/**
 * Bytes that do not fit into memory, on disk while a report is made: in a file that has no name any more, encrypted under a key that
 * only this process knows. Whatever ends the process leaves nothing behind that could be found or read.
 */
import { createCipheriv, createDecipheriv, randomBytes, randomUUID } from 'node:crypto';
import { type FileHandle, open, unlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AuditkeepError } from '../../errors.ts';

/** Plaintext bytes of a chunk. */
export const CHUNK_BYTES = 256 * 1024;
const TAG_BYTES = 16;
const CIPHER = 'aes-256-gcm';

/** Written first, then read, any number of times. */
export interface SpoolFile {
  write(bytes: Uint8Array): Promise<void>;
  /** All bytes in chunks of CHUNK_BYTES; the last may be shorter. Nothing is written after the first read. */
  chunks(): AsyncGenerator<Buffer, void, undefined>;
  /** Gives its place on the disk back. */
  close(): Promise<void>;
}

/** Makes a file in the folder for temporary files. @throws REPORT_SPOOL when it cannot be made or written */
export async function openSpoolFile(): Promise<SpoolFile> {
  const file = await onDisk(openNameless);
  const key = randomBytes(32); // its own, so that counting chunks gives every nonce once
  let pending: Uint8Array[] = [];
  let pendingBytes = 0;
  let written = 0;
  const flush = async (all: boolean) => {
    let rest = Buffer.concat(pending);
    for (; rest.length >= CHUNK_BYTES || (all && rest.length > 0); written += 1) {
      const sealed = sealChunk(key, written, rest.subarray(0, CHUNK_BYTES));
      await onDisk(() => file.write(sealed, 0, sealed.length, written * (CHUNK_BYTES + TAG_BYTES)));
      rest = rest.subarray(CHUNK_BYTES);
    }
    pending = rest.length === 0 ? [] : [rest];
    pendingBytes = rest.length;
  };
  return {
    async write(bytes) {
      pending.push(bytes);
      pendingBytes += bytes.length;
      if (pendingBytes >= CHUNK_BYTES) await flush(false);
    },
    async *chunks() {
      await flush(true);
      for (let chunk = 0; chunk < written; chunk += 1) yield openChunk(key, chunk, await readChunk(file, chunk));
    },
    close: () => file.close(),
  };
}

async function openNameless(): Promise<FileHandle> {
  const path = join(tmpdir(), `auditkeep-spool-${randomUUID()}`);
  const file = await open(path, 'wx+', 0o600);
  await unlink(path);
  return file;
}

async function readChunk(file: FileHandle, chunk: number): Promise<Buffer> {
  const size = CHUNK_BYTES + TAG_BYTES;
  const { buffer, bytesRead } = await file.read(Buffer.allocUnsafe(size), 0, size, chunk * size);
  return buffer.subarray(0, bytesRead);
}

function sealChunk(key: Uint8Array, chunk: number, bytes: Uint8Array): Buffer {
  const cipher = createCipheriv(CIPHER, key, nonceOf(chunk));
  const body = cipher.update(bytes);
  cipher.final();
  return Buffer.concat([body, cipher.getAuthTag()]);
}

function openChunk(key: Uint8Array, chunk: number, sealed: Buffer): Buffer {
  const decipher = createDecipheriv(CIPHER, key, nonceOf(chunk));
  decipher.setAuthTag(sealed.subarray(-TAG_BYTES));
  const bytes = decipher.update(sealed.subarray(0, -TAG_BYTES));
  decipher.final();
  return bytes;
}

function nonceOf(chunk: number): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeUInt32BE(chunk, 8);
  return nonce;
}

async function onDisk<T>(fn: () => Promise<T>): Promise<T> {
  try {
    return await fn();
  } catch (cause) {
    throw new AuditkeepError('REPORT_SPOOL', {
      message: 'the folder for temporary files cannot be written, or has no space left',
      hint: 'make room there, or name another folder in the environment variable TMPDIR',
      cause,
    });
  }
}
