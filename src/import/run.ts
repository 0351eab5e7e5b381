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

/** Something that records are read from. */
export interface RecordSource {
  /** The path, as rejections name it. */
  readonly name: string;
  /** @throws RecordRejected when it cannot be read (further) */
  chunks(): AsyncIterable<Buffer>;
}

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
  const sources = files.map((file) => ({ name: file, chunks: () => readFile(file) }));
  const dryRun = input.dryRun === true;
  const report = await importSources(ctx, format, sources, dryRun ? parseOnly : write);
  return { ...report, dryRun, skippedFiles: skipped };
}

/** Imports from sources that are at hand. */
export async function importSources<R>(
  ctx: Pick<Context, 'progress'>,
  format: SourceFormat<R>,
  sources: readonly RecordSource[],
  write: WriteBatch<R>,
): Promise<ImportReport> {
  const tally = new Tally();
  const queue = new BatchQueue(write, (outcome) => tally.add(outcome));
  ctx.progress.start(`import ${format.kind}: records`, null);
  try {
    for (const source of sources) await importSource(ctx, { source, format, queue, tally });
    await queue.finish();
  } catch (error) {
    await queue.settle();
    throw error;
  } finally {
    ctx.progress.stop();
  }
  return {
    kind: format.kind,
    dryRun: false,
    files: sources.length,
    skippedFiles: 0,
    failedFiles: tally.failedFiles,
    ...tally.counts,
    rejections: tally.rejections,
  };
}

interface SourceImport<R> {
  readonly source: RecordSource;
  readonly format: SourceFormat<R>;
  readonly queue: BatchQueue<R>;
  readonly tally: Tally;
}

async function importSource<R>(ctx: Pick<Context, 'progress'>, work: SourceImport<R>): Promise<void> {
  const parse = work.format.openParser(work.source.name);
  try {
    for await (const pieces of readPieces(work.source.chunks())) {
      for (const piece of pieces) await importPiece(ctx, work, piece, parse);
    }
  } catch (error) {
    if (!(error instanceof RecordRejected)) throw error;
    work.tally.reject({ file: work.source.name, line: null, reason: error.reason, field: error.field });
  }
}

async function importPiece<R>(
  ctx: Pick<Context, 'progress'>,
  { source, queue, tally }: SourceImport<R>,
  piece: Piece,
  parse: (text: string) => readonly (R | RecordRejected)[],
): Promise<void> {
  const { line } = piece;
  const file = source.name;
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
