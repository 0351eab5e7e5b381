/** One import: files to records, records to rows, rows to batches. A malformed file or record never stops the others. */
import { isUtf8 } from 'node:buffer';
import type { Context } from '../context.ts';
import { BatchQueue, type WriteBatch } from './batch.ts';
import { readPieces } from './piece.ts';
import type { Piece } from './record-buffer.ts';
import { type Reason, RecordRejected } from './rejection.ts';
import { type ImportReport, type SourceKind, Tally } from './report.ts';
import { listFiles, readFile } from './source-file.ts';

/** How the records of a kind become rows. */
export interface SourceFormat<R> {
  readonly kind: SourceKind;
  /** Whether a file found in a folder is of this kind, by its name. */
  accepts(name: string): boolean;
  /**
   * A parser for one file's records, in their order. It gives the rows of a record: none for a header, several where a
   * line holds several. A row that is wrong is a RecordRejected in the list, or thrown when it is the only one.
   */
  openParser(path: string): (text: string) => readonly (R | RecordRejected)[];
}

export interface ImportInput {
  readonly paths: readonly string[];
  /** Only parse: the database is not touched. */
  readonly dryRun?: boolean;
}

const PROGRESS_EVERY = 1000;

/**
 * Imports the files that paths name. Committed batches stay when it throws; running it again adds what is missing.
 * @throws INPUT_FILE before anything is done when a path is missing; the DB_* codes
 */
export async function runImport<R>(
  ctx: Pick<Context, 'progress'>,
  format: SourceFormat<R>,
  input: ImportInput,
  write: WriteBatch<R>,
): Promise<ImportReport> {
  const { files, skipped } = await listFiles(input.paths, format.accepts);
  const tally = new Tally();
  const queue = new BatchQueue(input.dryRun === true ? parseOnly : write, (outcome) => {
    tally.counts.imported += outcome.imported;
    tally.counts.duplicates += outcome.duplicates;
    tally.counts.late += outcome.late;
    for (const rejection of outcome.rejections) tally.reject(rejection);
  });
  ctx.progress.start(`import ${format.kind}: records`, null);
  try {
    for (const file of files) await importFile(ctx, { file, format, queue, tally });
    await queue.finish();
  } catch (error) {
    await queue.settle();
    throw error;
  } finally {
    ctx.progress.stop();
  }
  return {
    kind: format.kind,
    dryRun: input.dryRun === true,
    files: files.length,
    skippedFiles: skipped,
    failedFiles: tally.failedFiles,
    ...tally.counts,
    rejections: tally.rejections,
  };
}

interface FileImport<R> {
  readonly file: string;
  readonly format: SourceFormat<R>;
  readonly queue: BatchQueue<R>;
  readonly tally: Tally;
}

async function importFile<R>(ctx: Pick<Context, 'progress'>, work: FileImport<R>): Promise<void> {
  const parse = work.format.openParser(work.file);
  try {
    for await (const pieces of readPieces(readFile(work.file))) {
      for (const piece of pieces) await importPiece(ctx, work, piece, parse);
    }
  } catch (error) {
    if (!(error instanceof RecordRejected)) throw error;
    work.tally.reject({ file: work.file, line: null, reason: error.reason, field: error.field });
  }
}

async function importPiece<R>(
  ctx: Pick<Context, 'progress'>,
  { file, queue, tally }: FileImport<R>,
  piece: Piece,
  parse: (text: string) => readonly (R | RecordRejected)[],
): Promise<void> {
  const { line } = piece;
  for (const row of rowsOf(piece, parse)) {
    if (++tally.counts.read % PROGRESS_EVERY === 0) ctx.progress.update(tally.counts.read);
    if (row instanceof RecordRejected) tally.reject({ file, line, reason: row.reason, field: row.field });
    else await queue.add({ row, file, line, sizeBytes: piece.kind === 'record' ? piece.bytes.length : 0 });
  }
}

const PIECE_REASONS: Readonly<Record<Exclude<Piece['kind'], 'record'>, Reason>> = {
  'too-long': 'LINE_TOO_LONG',
  truncated: 'FILE_TRUNCATED',
  trailing: 'JSON_INVALID',
};

function rowsOf<R>(
  piece: Piece,
  parse: (text: string) => readonly (R | RecordRejected)[],
): readonly (R | RecordRejected)[] {
  if (piece.kind !== 'record') return [new RecordRejected(PIECE_REASONS[piece.kind])];
  // Buffer.toString() would turn bytes that are no UTF-8 into U+FFFD and say nothing.
  if (!isUtf8(piece.bytes)) return [new RecordRejected('ENCODING_INVALID')];
  try {
    return parse(piece.bytes.toString('utf8').replace(/^\ufeff/, ''));
  } catch (error) {
    if (error instanceof RecordRejected) return [error];
    throw error;
  }
}

const parseOnly: WriteBatch<unknown> = () => Promise.resolve({ imported: 0, duplicates: 0, late: 0, rejections: [] });
