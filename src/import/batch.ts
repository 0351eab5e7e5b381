/** Rows on their way into the database: collected to batches, each written in one transaction while the next is parsed. */
import type { Rejection } from './rejection.ts';

/** A parsed row and where it came from. */
export interface Located<R> {
  readonly row: R;
  readonly file: string;
  readonly line: number;
  readonly sizeBytes: number;
}

/** What became of a batch's rows; rejections are those that only the database could tell. */
export interface BatchOutcome {
  readonly imported: number;
  readonly duplicates: number;
  readonly late: number;
  readonly rejections: readonly Rejection[];
}

export type WriteBatch<R> = (rows: readonly Located<R>[]) => Promise<BatchOutcome>;

const MAX_ROWS = 5000;
const MAX_BYTES = 8 << 20;

/** Collects rows; at most one batch is being written while another is being filled. */
export class BatchQueue<R> {
  readonly #write: WriteBatch<R>;
  readonly #onDone: (outcome: BatchOutcome) => void;
  #rows: Located<R>[] = [];
  #sizeBytes = 0;
  #writing: Promise<void> = Promise.resolve();

  constructor(write: WriteBatch<R>, onDone: (outcome: BatchOutcome) => void) {
    this.#write = write;
    this.#onDone = onDone;
  }

  /** Takes a row. Waits while a batch is full and the one before it is still being written. Throws what a write threw. */
  async add(row: Located<R>): Promise<void> {
    this.#rows.push(row);
    this.#sizeBytes += row.sizeBytes;
    if (this.#rows.length >= MAX_ROWS || this.#sizeBytes >= MAX_BYTES) await this.#flush();
  }

  /** Writes what is left; everything is durable when it resolves. */
  async finish(): Promise<void> {
    await this.#flush();
    await this.#writing;
  }

  /** Waits for the batch under way without starting another, after a failure elsewhere. */
  async settle(): Promise<void> {
    await this.#writing.catch(() => null);
  }

  async #flush(): Promise<void> {
    await this.#writing;
    if (this.#rows.length === 0) return;
    const rows = this.#rows;
    this.#rows = [];
    this.#sizeBytes = 0;
    this.#writing = this.#write(rows).then(this.#onDone);
    // A failure is thrown where the next batch waits for this one; until then it must not count as unhandled.
    this.#writing.catch(() => null);
  }
}
