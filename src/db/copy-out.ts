/**
 * COPY ... TO STDOUT with little work a row: the rows' bytes go from the socket's chunks straight into the chunks that
 * are given out. pg-copy-streams makes buffers of each row, whose collection costs more than everything else there.
 *
 * While the COPY runs, this reads the connection instead of pg, which gets every message that is not a row, and all of
 * them once the rows have ended (PostgreSQL documentation, "Message Formats": one byte of type, int32 length).
 */
import type pg from 'pg';

const COPY_DATA = 0x64;
/** Messages that may come between rows; any other one ends them: CopyDone, or an error. */
const PASSING: ReadonlySet<number> = new Set([...'HNSA'].map((letter) => letter.charCodeAt(0)));
const HEADER_BYTES = 5;
const CHUNK_BYTES = 1 << 18;
/** Chunks that wait for the reader before the server has to. */
const WAITING_CHUNKS = 4;

/** Memory that chunks lie in. Whoever gives some back has kept nothing that lies in it. */
export class ChunkMemory {
  readonly #free: ArrayBuffer[] = [];

  /** At least so many bytes, with anything in them. */
  take(bytes: number): ArrayBuffer {
    return (bytes <= CHUNK_BYTES ? this.#free.pop() : undefined) ?? new ArrayBuffer(Math.max(bytes, CHUNK_BYTES));
  }

  /** Larger ones than usual are dropped. */
  give(memory: ArrayBuffer): void {
    if (memory.byteLength === CHUNK_BYTES) this.#free.push(memory);
  }
}

/** Whole rows as the server sent them, the first with the header of a binary COPY. Owns its memory. */
export type CopyChunk = Buffer<ArrayBuffer>;

type Listener = (bytes: Buffer) => void;

/** The running COPY, for pg.Client.query(); next() gives its chunks. */
export class CopyOut implements pg.Submittable {
  readonly #text: string;
  readonly #memory: ChunkMemory;
  #stream: pg.Connection['stream'] | null = null;
  #pg: Listener = () => undefined;
  readonly #ready: CopyChunk[] = [];
  #chunk: Buffer<ArrayBuffer> | null = null;
  #filled = 0;
  /** Bytes of the current row that are still to come. */
  #missing = 0;
  /** A message that is not a row, or a header, that began in an earlier chunk of the socket. */
  #pending: Buffer = Buffer.alloc(0);
  #outcome: { readonly error: Error | null } | null = null;
  #wake: () => void = () => undefined;
  readonly #onData: Listener = (bytes) => this.#read(bytes);
  /** Lets pg listen again. */
  #restore: () => void = () => undefined;

  constructor(text: string, memory = new ChunkMemory()) {
    this.#text = text;
    this.#memory = memory;
  }

  /** Called by pg when the connection is free, which expects an error to be given back: one that is thrown hangs its queue. */
  submit(connection: pg.Connection): Error | null {
    try {
      this.#listen(connection);
      connection.query(this.#text);
      return null;
    } catch (error) {
      this.#restore();
      return error instanceof Error ? error : new Error(String(error));
    }
  }

  #listen(connection: pg.Connection): void {
    const { stream } = connection;
    const [listener, second] = stream.listeners('data');
    if (listener === undefined || second !== undefined) throw new TypeError('pg listens in another way than before');
    this.#stream = stream;
    this.#pg = (bytes) => {
      listener.call(stream, bytes);
    };
    stream.off('data', listener as Listener).on('data', this.#onData);
    this.#restore = () => {
      this.#restore = () => undefined;
      stream.off('data', this.#onData).on('data', listener as Listener);
      stream.resume();
    };
  }

  /** The next chunk; null after the last one. @throws what the server said */
  async next(): Promise<CopyChunk | null> {
    for (;;) {
      const chunk = this.#ready.shift();
      if (chunk !== undefined) {
        if (this.#ready.length < WAITING_CHUNKS) this.#stream?.resume();
        return chunk;
      }
      if (this.#outcome?.error) throw this.#outcome.error;
      if (this.#outcome !== null) return null;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** Called by pg: the statement failed, or the connection did. */
  handleError(error: Error): void {
    this.#restore();
    this.#end({ error });
  }

  /** Called by pg. */
  handleCommandComplete(): void {}

  /** Called by pg: the connection is free again. */
  handleReadyForQuery(): void {
    this.#end({ error: null });
  }

  #end(outcome: { readonly error: Error | null }): void {
    this.#outcome ??= outcome;
    this.#wake();
  }

  #read(received: Buffer): void {
    let bytes = received;
    if (this.#pending.length > 0) {
      bytes = Buffer.concat([this.#pending, received]);
      this.#pending = Buffer.alloc(0);
    }
    let at = 0;
    while (at < bytes.length) {
      if (this.#missing > 0) {
        at += this.#copy(bytes, at);
        continue;
      }
      if (at + HEADER_BYTES > bytes.length) break;
      const length = bytes.readUInt32BE(at + 1) - 4;
      if (bytes[at] === COPY_DATA) {
        at += HEADER_BYTES;
        this.#begin(length);
        continue;
      }
      if (!PASSING.has(bytes[at] ?? 0)) {
        this.#leave(bytes.subarray(at));
        return;
      }
      if (at + HEADER_BYTES + length > bytes.length) break;
      this.#pg(bytes.subarray(at, at + HEADER_BYTES + length));
      at += HEADER_BYTES + length;
    }
    if (at < bytes.length) this.#pending = Buffer.from(bytes.subarray(at));
  }

  /** Makes room for a row. Its length is known before it comes, so no row is ever copied twice. */
  #begin(length: number): void {
    this.#missing = length;
    if (this.#chunk !== null && this.#filled + length <= this.#chunk.length) return;
    this.#finishChunk();
    this.#chunk = Buffer.from(this.#memory.take(length));
  }

  #copy(bytes: Buffer, at: number): number {
    const count = Math.min(this.#missing, bytes.length - at);
    if (this.#chunk !== null) bytes.copy(this.#chunk, this.#filled, at, at + count);
    this.#filled += count;
    this.#missing -= count;
    return count;
  }

  #finishChunk(): void {
    if (this.#chunk === null || this.#filled === 0) return;
    this.#ready.push(this.#chunk.subarray(0, this.#filled));
    this.#chunk = null;
    this.#filled = 0;
    if (this.#ready.length >= WAITING_CHUNKS) this.#stream?.pause();
    this.#wake();
  }

  /** Gives the connection back to pg, with what it has not seen. */
  #leave(rest: Buffer): void {
    this.#finishChunk();
    this.#restore();
    this.#pg(rest);
  }
}
