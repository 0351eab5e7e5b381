/**
 * COPY ... BINARY as slabs of whole tuples: what a worker thread gets to hash. Each slab owns its memory, so that it is
 * handed over and not copied.
 */

import { copyOut } from '../../db/copy.ts';
import type { ChunkMemory } from '../../db/copy-out.ts';
import type { SqlClient } from '../../db/database.ts';
import { decodeSlab, headerEnd, type TupleShape, type TupleSource } from './tuples.ts';

/** Whole tuples, one after the other, without the header; the last slab ends with the end mark. */
export type Slab = Uint8Array<ArrayBuffer>;

/**
 * The tuples of a COPY in slabs.
 * @param memory where slabs shall lie, if the caller gives their memory back
 * @throws RangeError when the stream is not a binary COPY
 */
export async function* readSlabs(
  client: SqlClient,
  { statement }: Pick<TupleSource<unknown>, 'statement'>,
  memory?: ChunkMemory,
): AsyncGenerator<Slab, void, undefined> {
  let started = false;
  for await (const chunk of copyOut(client, statement, memory)) {
    const from = started ? 0 : headerEnd(chunk);
    started = true;
    yield new Uint8Array(chunk.buffer, chunk.byteOffset + from, chunk.length - from);
  }
}

/** The bytes of a slab as a Buffer. */
export function bytesOf(slab: Slab): Buffer {
  return Buffer.from(slab.buffer, slab.byteOffset, slab.byteLength);
}

/** Rows of a slab. @throws RangeError when it is not made of whole tuples of the source's shape */
export function slabRows<T>(slab: Slab, source: TupleShape<T>): T[] {
  return decodeSlab(bytesOf(slab), source).rows;
}
