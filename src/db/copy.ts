/** COPY in both directions as streams with back-pressure, so that memory stays flat whatever the size of the table. */
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { from } from 'pg-copy-streams';
import { type ChunkMemory, type CopyChunk, CopyOut } from './copy-out.ts';
import type { SqlClient } from './database.ts';

/** Bytes that a COPY FROM reads ahead. */
const READ_AHEAD_BYTES = 1 << 20;

/**
 * Runs `copy ... from stdin` with the bytes of chunks, which are asked for only as fast as the server takes them.
 * Chunks may be cut anywhere. Gives the number of rows that were stored: rows that a trigger diverted do not count.
 * When chunks throws, the statement fails on the server too and the transaction around it is aborted.
 */
export async function copyIn(
  client: SqlClient,
  statement: string,
  chunks: Iterable<Buffer> | AsyncIterable<Buffer>,
): Promise<number> {
  const sink = client.query(from(statement));
  await pipeline(Readable.from(chunks, { objectMode: false, highWaterMark: READ_AHEAD_BYTES }), sink);
  return sink.rowCount;
}

/**
 * Runs `copy ... to stdout` and gives its bytes in chunks of whole rows, about 256 KB each. The connection is free for
 * the next statement when the iteration has ended. Leaving the loop early reads the rest and throws it away, since the
 * protocol knows no other way to stop that keeps the connection.
 * @param memory where chunks shall lie, if the caller gives their memory back
 */
export async function* copyOut(
  client: SqlClient,
  statement: string,
  memory?: ChunkMemory,
): AsyncGenerator<CopyChunk, void, undefined> {
  const rows = client.query(new CopyOut(statement, memory));
  let ended = false;
  try {
    for (let chunk = await nextOf(); chunk !== null; chunk = await nextOf()) yield chunk;
  } finally {
    while (!ended) await nextOf();
  }

  async function nextOf(): Promise<CopyChunk | null> {
    ended = true;
    const chunk = await rows.next();
    ended = chunk === null;
    return chunk;
  }
}
