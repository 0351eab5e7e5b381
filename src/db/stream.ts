/** Large query results as batches of parsed rows, read through a cursor: memory holds one batch at a time. */
import QueryStream from 'pg-query-stream';
import type { z } from 'zod';
import type { SqlClient } from './database.ts';
import type { SqlValue } from './query.ts';

export interface BatchQuery<T> {
  readonly shape: z.ZodType<T>;
  readonly text: string;
  readonly values?: readonly SqlValue[];
  /** Rows a batch; 1,000 unless given. */
  readonly batchSize?: number;
}

/**
 * The rows of a query in batches of at most batchSize (only the last is shorter; none for no rows), each row parsed by
 * shape. Hold the connection until the iteration has ended; leaving the loop early closes the cursor.
 */
export async function* streamRows<T>(client: SqlClient, query: BatchQuery<T>): AsyncGenerator<T[], void, undefined> {
  const batchSize = query.batchSize ?? 1000;
  const rows: AsyncIterable<unknown> = client.query(
    new QueryStream(query.text, [...(query.values ?? [])], { batchSize }),
  );
  let batch: T[] = [];
  for await (const row of rows) {
    batch.push(query.shape.parse(row));
    if (batch.length < batchSize) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}
