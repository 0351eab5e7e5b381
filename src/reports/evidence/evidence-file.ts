/**
 * Files of a report beside its model: spooled while controls run, stored chunk by chunk as envelopes in the transaction that stores
 * the report, read back chunk by chunk. The model has the hash of each.
 */
import { createHash } from 'node:crypto';
import type { Context } from '../../context.ts';
import type { SqlClient } from '../../db/database.ts';
import { AuditkeepError } from '../../errors.ts';
import type { CellContext, DataClass } from '../../keys/keyring.ts';
import type { EvidenceModel } from '../model/control-model.ts';
import { IDENTITIES_PART } from '../model/identity.ts';
import { CHUNK_BYTES, openSpoolFile, type SpoolFile } from './spool-file.ts';
import { type FilePlace, insertFileChunks, readFileChunks } from './store-files.ts';

/** Chunks that are inserted, or read, at once. */
const CHUNKS_A_BATCH = 8;
const DATA_CLASS: DataClass = 'confidential';

/** Of all evidence of a report: what a bundle takes. */
const MAX_EVIDENCE_BYTES = 192 * 1024 * 1024;
/** Of identities, which are in full bundles only: those of two million persons or things. */
const MAX_IDENTITIES_BYTES = 1024 * 1024 * 1024;

/** Where evidence goes while a report is made. */
export interface EvidenceSink {
  /** More than this is refused in the end: whoever collects more may stop. */
  readonly maxBytes: number;
  /**
   * Takes a whole file, or nothing of it when its pieces fail.
   * @throws REPORT_TOO_LARGE beyond maxBytes of all evidence; identities have a limit of their own
   */
  write(path: string, pieces: AsyncIterable<Uint8Array>): Promise<{ readonly bytes: number; readonly sha256: string }>;
}

/** Hashes and keeps nothing: for evaluations that make no report. */
export const HASH_ONLY: EvidenceSink = {
  maxBytes: Number.POSITIVE_INFINITY,
  write: (_path, pieces) => hashPieces(pieces, () => Promise.resolve()),
};

export interface EvidenceFiles extends EvidenceSink {
  /**
   * Gives what stores all files that were written, with a sealer that is asked for now: not while a transaction holds a connection.
   * @returns to be called in the transaction that inserted the report's row
   */
  sealed(keys: Context['keys'], reportId: string): Promise<{ store(client: SqlClient): Promise<void> }>;
  /** Removes what is on disk; always to be called. */
  close(): Promise<void>;
}

/** Files of a report that is being made. @param maxBytes of all together; 192 MB unless given */
export function openEvidenceFiles(maxBytes: number = MAX_EVIDENCE_BYTES): EvidenceFiles {
  const files: { readonly path: string; readonly file: SpoolFile }[] = [];
  const taken = { evidence: 0, identities: 0 };
  let chunks = 0;
  return {
    maxBytes,
    async write(path, pieces) {
      const kind = path === IDENTITIES_PART ? 'identities' : 'evidence';
      const limit = kind === 'identities' ? MAX_IDENTITIES_BYTES : maxBytes;
      const file = await openSpoolFile();
      try {
        const written = await hashPieces(pieces, async (piece) => {
          taken[kind] += piece.length;
          if (taken[kind] > limit) throw tooMuchEvidence(limit, kind);
          await file.write(piece);
        });
        chunks += Math.ceil(written.bytes / CHUNK_BYTES);
        files.push({ path, file });
        return written;
      } catch (error) {
        await file.close();
        throw error;
      }
    },
    async sealed(keys, reportId) {
      const seal = await keys.sealer(DATA_CLASS, chunks);
      return {
        async store(client) {
          for (const { path, file } of files) await storeFile(client, { reportId, path }, file, seal);
        },
      };
    },
    async close() {
      for (const { file } of files.splice(0)) await file.close();
    },
  };
}

/** What exceeds a bundle could be approved, but not be handed out. */
export function tooMuchEvidence(maxBytes: number, kind: 'evidence' | 'identities' = 'evidence'): AuditkeepError {
  return new AuditkeepError('REPORT_TOO_LARGE', {
    message: `the ${kind} of the report ${kind === 'evidence' ? 'takes' : 'take'} more than ${maxBytes} bytes`,
    hint: 'choose a shorter period',
    details: { limit: maxBytes },
  });
}

async function hashPieces(pieces: AsyncIterable<Uint8Array>, use: (piece: Uint8Array) => Promise<void>) {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const piece of pieces) {
    hash.update(piece);
    bytes += piece.length;
    await use(piece);
  }
  return { bytes, sha256: hash.digest('hex') };
}

async function storeFile(
  client: SqlClient,
  place: FilePlace,
  file: SpoolFile,
  seal: (cell: CellContext, bytes: Uint8Array) => string,
): Promise<void> {
  let stored = 0;
  let batch: string[] = [];
  const insert = async () => {
    if (batch.length > 0) await insertFileChunks(client, place, stored, batch);
    stored += batch.length;
    batch = [];
  };
  for await (const chunk of file.chunks()) {
    batch.push(seal(chunkCell(place, stored + batch.length), chunk));
    if (batch.length === CHUNKS_A_BATCH) await insert();
  }
  await insert();
}

/** The place of a chunk; its envelope opens nowhere else. */
function chunkCell({ reportId, path }: FilePlace, chunk: number): CellContext {
  const rowId = `${reportId}/${path}/${chunk}`;
  return { table: 'compliance.report_file', column: 'envelope', rowId, dataClass: DATA_CLASS };
}

/** A stored file, decrypted, a chunk at a time; nothing where there is none. @throws those of Keyring.open */
export async function* readStoredFile(
  ctx: Pick<Context, 'db' | 'keys'>,
  place: FilePlace,
): AsyncGenerator<Uint8Array, void, undefined> {
  let next = 0;
  for (;;) {
    const from = next;
    // A connection is held for a batch, and not while the caller writes.
    const batch = await ctx.db.withClient((client) => readFileChunks(client, place, from, CHUNKS_A_BATCH));
    for (const { chunk, envelope } of batch) {
      yield await ctx.keys.open(chunkCell(place, chunk), envelope);
      next = chunk + 1;
    }
    if (batch.length < CHUNKS_A_BATCH) break;
  }
}

/**
 * A file that the model has the hash of, a chunk at a time. The hash is compared after the last chunk: what came before counts only then.
 * @throws REPORT_TAMPERED when it has another hash than the model states or is not there, and those of Keyring.open
 */
export async function* readEvidence(
  ctx: Pick<Context, 'db' | 'keys'>,
  reportId: string,
  { path, sha256 }: Pick<EvidenceModel, 'path' | 'sha256'>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const hash = createHash('sha256');
  for await (const bytes of readStoredFile(ctx, { reportId, path })) {
    hash.update(bytes);
    yield bytes;
  }
  if (hash.digest('hex') === sha256) return;
  throw new AuditkeepError('REPORT_TAMPERED', {
    message: `${path} of report ${reportId} does not have the hash that the report states`,
    hint: 'the file was changed outside the product: keep it and find out by whom',
    details: { id: reportId, path },
  });
}
