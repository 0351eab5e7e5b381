/** COPY in both directions as streams with back-pressure, so that memory stays flat whatever the size of the table. */
import { once } from 'node:events';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { from, to } from 'pg-copy-streams';
import type { SqlClient } from './database.ts';

/** Bytes that a COPY TO collects before the server has to wait. */
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
 * Runs `copy ... to stdout` and gives its bytes in chunks of any size; a row may span chunks. The connection is free
 * for the next statement when the iteration has ended. Leaving the loop early reads the rest and throws it away, since
 * the protocol knows no other way to stop that keeps the connection.
 */
export async function* copyOut(client: SqlClient, statement: string): AsyncGenerator<Buffer, void, undefined> {
  const source = client.query(to(statement, { highWaterMark: READ_AHEAD_BYTES }));
  try {
    for await (const chunk of source.iterator({ destroyOnReturn: false })) yield chunk as Buffer;
  } finally {
    if (!source.readableEnded && source.errored === null) {
      source.resume();
      await once(source, 'end');
    }
  }
}
