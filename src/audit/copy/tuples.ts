/** Reads COPY ... BINARY as it arrives: tuples of fields, without an object per field. */

import { copyOut } from '../../db/copy.ts';
import type { SqlClient } from '../../db/database.ts';

const SIGNATURE = Buffer.from('PGCOPY\n\xff\r\n\0', 'latin1');
const HEADER_BYTES = SIGNATURE.length + 8;
const END_OF_DATA = -1;

/** One tuple, valid only while it is decoded: the next one overwrites the positions. */
export class Tuple {
  #bytes: Buffer = Buffer.alloc(0);
  #view = new DataView(this.#bytes.buffer, 0, 0);
  readonly #starts: Int32Array;
  readonly #lengths: Int32Array;

  constructor(fieldCount: number) {
    this.#starts = new Int32Array(fieldCount);
    this.#lengths = new Int32Array(fieldCount);
  }

  /** Finds the fields of the tuple at an offset; the offset after it, or null when the bytes end before it does. */
  locate(bytes: Buffer, offset: number): number | null {
    if (bytes !== this.#bytes) {
      this.#bytes = bytes;
      this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    }
    const [view, starts, lengths, end] = [this.#view, this.#starts, this.#lengths, bytes.length];
    let at = offset;
    for (let field = 0; field < starts.length; field += 1) {
      if (at + 4 > end) return null;
      const length = view.getInt32(at);
      at += 4;
      starts[field] = at;
      lengths[field] = length;
      if (length > 0) at += length;
    }
    return at > end ? null : at;
  }

  /** The bytes that the tuple lies in. */
  get data(): Buffer {
    return this.#bytes;
  }

  /** Whether a field is NULL. */
  isNull(field: number): boolean {
    return (this.#lengths[field] ?? -1) < 0;
  }

  /** Where the bytes of a field begin in data. */
  start(field: number): number {
    return this.#starts[field] ?? 0;
  }

  /** Where the bytes of a field begin together with its length, as the server framed it. */
  framedStart(field: number): number {
    return this.start(field) - 4;
  }

  /** Where the bytes of a field end; for NULL where its length does. */
  end(field: number): number {
    return this.start(field) + Math.max(this.#lengths[field] ?? 0, 0);
  }

  /** The bytes of a field that may be NULL. */
  maybe(field: number): Buffer | null {
    const length = this.#lengths[field] ?? -1;
    const start = this.#starts[field] ?? 0;
    return length < 0 ? null : this.#bytes.subarray(start, start + length);
  }

  /** The bytes of a field that is NOT NULL. */
  bytes(field: number): Buffer {
    const value = this.maybe(field);
    if (value === null) throw new RangeError(`field ${field} of the tuple is NULL`);
    return value;
  }

  /** Fields first to last with their lengths, exactly as the server framed them. */
  framed(first: number, last: number): Buffer {
    return this.#bytes.subarray(this.framedStart(first), this.end(last));
  }
}

/** How a tuple is read. */
export interface TupleShape<T> {
  readonly fieldCount: number;
  decode(tuple: Tuple): T;
}

/** What a COPY ... BINARY gives and how one of its tuples is read. */
export interface TupleSource<T> extends TupleShape<T> {
  /** `copy (...) to stdout (format binary)`. */
  readonly statement: string;
}

/** Tuples of a piece of a COPY ... BINARY. */
interface DecodedSlab<T> {
  readonly rows: T[];
  /** The end mark was met. */
  readonly ended: boolean;
}

/** Decodes whole tuples from an offset on. @throws RangeError when the bytes are not whole tuples of the source's shape */
export function decodeSlab<T>(bytes: Buffer, source: TupleShape<T>, offset = 0): DecodedSlab<T> {
  const rows: T[] = [];
  const ended = eachTuple(bytes, source, (tuple) => rows.push(source.decode(tuple)), offset);
  return { rows, ended };
}

/**
 * Visits whole tuples from an offset on; true when the end mark follows them.
 * @throws RangeError when the bytes are not whole tuples of the source's shape
 */
export function eachTuple(
  bytes: Buffer,
  { fieldCount }: Pick<TupleShape<unknown>, 'fieldCount'>,
  visit: (tuple: Tuple) => void,
  offset = 0,
): boolean {
  const tuple = new Tuple(fieldCount);
  for (let at = offset; at < bytes.length; ) {
    const count = bytes.readInt16BE(at);
    if (count === END_OF_DATA && at + 2 === bytes.length) return true;
    if (count !== fieldCount) throw new RangeError(`a tuple of ${count} fields, not ${fieldCount}`);
    const next = tuple.locate(bytes, at + 2);
    if (next === null) throw new RangeError('a tuple that is cut off');
    visit(tuple);
    at = next;
  }
  return false;
}

/**
 * The rows of a COPY ... BINARY, in the slabs in which they arrive; memory stays flat.
 * @throws RangeError when the stream is not what the source says
 */
export async function* readTuples<T>(client: SqlClient, source: TupleSource<T>): AsyncGenerator<T[], void, undefined> {
  let started = false;
  let ended = false;
  for await (const chunk of copyOut(client, source.statement)) {
    const slab = decodeSlab(chunk, source, started ? 0 : headerEnd(chunk));
    started = true;
    ended = slab.ended;
    if (slab.rows.length > 0) yield slab.rows;
  }
  if (!ended) throw new RangeError('the COPY stream ended early');
}

/** Where the first tuple of a COPY ... BINARY begins. @throws RangeError when the bytes are not the start of one */
export function headerEnd(bytes: Buffer): number {
  if (!bytes.subarray(0, SIGNATURE.length).equals(SIGNATURE)) throw new RangeError('not a COPY BINARY stream');
  return HEADER_BYTES + bytes.readInt32BE(HEADER_BYTES - 4);
}
