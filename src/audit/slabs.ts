/**
 * COPY ... BINARY cut into slabs of whole tuples, without looking at more than lengths: what a worker thread gets to
 * hash. Each slab owns its memory, so that it is handed over and not copied.
 */
import { copyOut } from '../db/copy.ts';
import type { SqlClient } from '../db/database.ts';
import { decodeSlab, headerEnd, type TupleShape, type TupleSource } from './tuples.ts';

/** Bytes that are collected before they are cut. */
const SLAB_BYTES = 1 << 18;

/** Whole tuples, one after the other, without header and end mark. */
export type Slab = Uint8Array<ArrayBuffer>;

/**
 * The tuples of a COPY in slabs.
 * @throws RangeError when the stream is not what the source says
 */
export async function* readSlabs(
  client: SqlClient,
  source: Pick<TupleSource<unknown>, 'statement' | 'fieldCount'>,
): AsyncGenerator<Slab, void, undefined> {
  const cutter = new SlabCutter(source.fieldCount);
  for await (const chunk of copyOut(client, source.statement)) {
    const slab = cutter.push(chunk);
    if (slab.length > 0) yield slab;
  }
  const rest = cutter.finish();
  if (rest.length > 0) yield rest;
}

/** Rows of a slab. */
export function slabRows<T>(slab: Slab, source: TupleShape<T>): T[] {
  return decodeSlab(Buffer.from(slab.buffer, slab.byteOffset, slab.byteLength), source).rows;
}

const NOTHING: Slab = new Uint8Array(0);

class SlabCutter {
  readonly #fieldCount: number;
  #chunks: Buffer[] = [];
  #collected = 0;
  #enough = SLAB_BYTES;
  #started = false;
  #ended = false;

  constructor(fieldCount: number) {
    this.#fieldCount = fieldCount;
  }

  /** A slab, empty while not enough has come. */
  push(chunk: Buffer): Slab {
    this.#chunks.push(chunk);
    this.#collected += chunk.length;
    return this.#collected < this.#enough ? NOTHING : this.#cut();
  }

  finish(): Slab {
    const rest = this.#cut();
    if (!this.#ended || this.#collected > 0) throw new RangeError('the COPY stream ended early');
    return rest;
  }

  #cut(): Slab {
    const memory = new ArrayBuffer(this.#collected);
    const bytes = Buffer.from(memory);
    let filled = 0;
    for (const chunk of this.#chunks) filled += chunk.copy(bytes, filled);
    const from = this.#started ? 0 : headerEnd(bytes);
    this.#started = true;
    let at = from;
    for (let next = this.#tupleEnd(bytes, at); next !== null; next = this.#tupleEnd(bytes, at)) at = next;
    const rest = this.#ended ? bytes.subarray(at + 2) : bytes.subarray(at);
    this.#chunks = rest.length === 0 ? [] : [Buffer.from(rest)];
    this.#collected = rest.length;
    // A tuple larger than a slab is not looked at again with each chunk.
    this.#enough = Math.max(SLAB_BYTES, 2 * rest.length);
    return new Uint8Array(memory, from, at - from);
  }

  /** The end of the tuple that begins at an offset; null when it is not whole, or is the end mark. */
  #tupleEnd(bytes: Buffer, offset: number): number | null {
    if (this.#ended || offset + 2 > bytes.length) return null;
    const count = bytes.readInt16BE(offset);
    if (count === -1) {
      this.#ended = true;
      return null;
    }
    if (count !== this.#fieldCount) throw new RangeError(`a tuple of ${count} fields, not ${this.#fieldCount}`);
    let at = offset + 2;
    for (let field = 0; field < count; field += 1) {
      if (at + 4 > bytes.length) return null;
      const length = bytes.readInt32BE(at);
      at += length > 0 ? 4 + length : 4;
    }
    return at > bytes.length ? null : at;
  }
}
