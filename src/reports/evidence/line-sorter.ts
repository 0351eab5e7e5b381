/**
 * Sorts more lines than fit into memory by their bytes (as `LC_ALL=C sort` does): sorted runs go to spool files and are merged. Lines
 * are binary strings, one character a byte, and hold no NUL, which no text of PostgreSQL has.
 */
import { openSpoolFile, type SpoolFile } from './spool-file.ts';

/** Bytes that are sorted in memory. */
const RUN_BYTES = 8 * 1024 * 1024;
const LINES_A_BATCH = 1000;
const SEPARATOR = '\0';

export interface LineSorter {
  add(line: string): void;
  /** To be awaited from time to time: puts a full run on disk. */
  settle(): Promise<void>;
  /** All lines in order, in batches; equal ones as often as they were added. */
  sorted(): AsyncGenerator<readonly string[], void, undefined>;
  /** Removes the runs; always to be called. */
  close(): Promise<void>;
}

/** @param runBytes how much is sorted in memory; 8 MB unless given */
export function openLineSorter(runBytes: number = RUN_BYTES): LineSorter {
  const runs: SpoolFile[] = [];
  let lines: string[] = [];
  let bytes = 0;
  const writeRun = async () => {
    const run = await openSpoolFile();
    runs.push(run);
    for (const batch of batchesOf(lines.sort())) {
      await run.write(Buffer.from(batch.map((line) => line + SEPARATOR).join(''), 'latin1'));
    }
    lines = [];
    bytes = 0;
  };
  return {
    add(line) {
      lines.push(line);
      bytes += line.length;
    },
    async settle() {
      if (bytes >= runBytes) await writeRun();
    },
    async *sorted() {
      if (runs.length === 0) {
        yield* batchesOf(lines.sort());
        return;
      }
      await writeRun();
      yield* merge(runs);
    },
    async close() {
      for (const run of runs.splice(0)) await run.close();
    },
  };
}

function* batchesOf(lines: readonly string[]): Generator<readonly string[]> {
  for (let at = 0; at < lines.length; at += LINES_A_BATCH) yield lines.slice(at, at + LINES_A_BATCH);
}

/** A run that is being read: the lines of its current chunk, and the place of the next one. */
interface Head {
  readonly chunks: AsyncGenerator<Buffer, void, undefined>;
  lines: readonly string[];
  at: number;
  /** The beginning of a line that goes on in the next chunk. */
  rest: string;
}

async function* merge(runs: readonly SpoolFile[]): AsyncGenerator<readonly string[], void, undefined> {
  const heads: Head[] = [];
  for (const run of runs) {
    const head = { chunks: run.chunks(), lines: [], at: 0, rest: '' };
    if (await refill(head)) insert(heads, head);
  }
  let batch: string[] = [];
  for (let head = heads.shift(); head !== undefined; head = heads.shift()) {
    batch.push(lineOf(head));
    head.at += 1;
    if (head.at < head.lines.length || (await refill(head))) insert(heads, head);
    if (batch.length < LINES_A_BATCH) continue;
    yield batch;
    batch = [];
  }
  yield batch;
}

/** Reads on until there is a whole line. @returns false at the end */
async function refill(head: Head): Promise<boolean> {
  for (let next = await head.chunks.next(); next.done !== true; next = await head.chunks.next()) {
    const lines = (head.rest + next.value.toString('latin1')).split(SEPARATOR);
    head.rest = lines.pop() ?? '';
    head.lines = lines;
    head.at = 0;
    if (lines.length > 0) return true;
  }
  return false;
}

/** Keeps the heads in the order of their lines. */
function insert(heads: Head[], head: Head): void {
  const line = lineOf(head);
  const place = heads.findIndex((other) => line <= lineOf(other));
  heads.splice(place < 0 ? heads.length : place, 0, head);
}

function lineOf(head: Head): string {
  return head.lines[head.at] ?? '';
}
