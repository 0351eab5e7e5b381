/** Reads COPY ... BINARY as it arrives: tuples of fields, without an object per field. */

import { copyOut } from '../db/copy.ts';
import type { SqlClient } from '../db/database.ts';

const SIGNATURE = Buffer.from('PGCOPY\n\xff\r\n\0', 'latin1');
const HEADER_BYTES = SIGNATURE.length + 8;
const END_OF_DATA = -1;

/** One tuple, valid only while it is decoded: the next one overwrites the positions. */
export class Tuple {
  #bytes: Buffer = Buffer.alloc(0);
  readonly #starts: Int32Array;
  readonly #lengths: Int32Array;

  constructor(fieldCount: number) {
    this.#starts = new Int32Array(fieldCount);
    this.#lengths = new Int32Array(fieldCount);
  }

  /** Finds the fields of the tuple at an offset; the offset after it, or null when the bytes end before it does. */
  locate(bytes: Buffer, offset: number): number | null {
    this.#bytes = bytes;
    let at = offset;
    for (let field = 0; field < this.#starts.length; field += 1) {
      if (at + 4 > bytes.length) return null;
      const length = bytes.readInt32BE(at);
      at += 4;
      this.#starts[field] = at;
      this.#lengths[field] = length;
      if (length > 0) at += length;
    }
    return at > bytes.length ? null : at;
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
    const end = (this.#starts[last] ?? 0) + Math.max(this.#lengths[last] ?? 0, 0);
    return this.#bytes.subarray((this.#starts[first] ?? 4) - 4, end);
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

/** The whole tuples at the beginning of some bytes. */
interface DecodedSlab<T> {
  readonly rows: T[];
  /** Where the first tuple that is not whole begins, or the end mark ends. */
  readonly end: number;
  /** The end mark was met. */
  readonly ended: boolean;
}

/** Decodes the tuples from an offset on. @throws RangeError when they are not of the source's shape */
export function decodeSlab<T>(bytes: Buffer, source: TupleShape<T>, offset = 0): DecodedSlab<T> {
  const tuple = new Tuple(source.fieldCount);
  const rows: T[] = [];
  let at = offset;
  while (at + 2 <= bytes.length) {
    const count = bytes.readInt16BE(at);
    if (count === END_OF_DATA) return { rows, end: at + 2, ended: true };
    if (count !== source.fieldCount) throw new RangeError(`a tuple of ${count} fields, not ${source.fieldCount}`);
    const next = tuple.locate(bytes, at + 2);
    if (next === null) break;
    rows.push(source.decode(tuple));
    at = next;
  }
  return { rows, end: at, ended: false };
}

/**
 * The rows of a COPY ... BINARY, in the slabs in which they arrive; memory stays flat.
 * @throws RangeError when the stream is not what the source says
 */
export async function* readTuples<T>(client: SqlClient, source: TupleSource<T>): AsyncGenerator<T[], void, undefined> {
  let pending: Buffer = Buffer.alloc(0);
  let started = false;
  let ended = false;
  for await (const chunk of copyOut(client, source.statement)) {
    pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
    if (!started && pending.length < HEADER_BYTES) continue;
    if (ended) continue;
    const slab = decodeSlab(pending, source, started ? 0 : headerEnd(pending));
    started = true;
    ended = slab.ended;
    pending = pending.subarray(slab.end);
    if (slab.rows.length > 0) yield slab.rows;
  }
  if (!ended) throw new RangeError('the COPY stream ended early');
}

/** Where the first tuple of a COPY ... BINARY begins. @throws RangeError when the bytes are not the start of one */
export function headerEnd(bytes: Buffer): number {
  if (!bytes.subarray(0, SIGNATURE.length).equals(SIGNATURE)) throw new RangeError('not a COPY BINARY stream');
  return HEADER_BYTES + bytes.readInt32BE(HEADER_BYTES - 4);
}
