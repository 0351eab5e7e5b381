/** Events for the chain's tests, written as the engine writes them. */
import type { Database, SqlClient } from '../../src/db/database.ts';

/** Inserts n events on the caller's connection; the k-th has event_action `ACTION-<first + k>`. */
export async function insertEvents(client: SqlClient, n: number, first = 0, at = 'now()'): Promise<void> {
  await client.query(
    `insert into audit.audit_log (event_type, event_category, event_action, user_email, resource_type, new_values,
                                  event_timestamp)
     select 'test.event', 'system', 'ACTION-' || i, 'user' || i || '@example.org', 'thing',
            jsonb_build_object('n', i), ${at} + i * interval '1 millisecond'
       from generate_series($1::int, $1::int + $2::int - 1) i`,
    [first, n],
  );
}

/** Inserts n events in a transaction of their own. */
export function addEvents(db: Database, n: number, first = 0, at = 'now()'): Promise<void> {
  return db.withClient((client) => insertEvents(client, n, first, at));
}

/** One column of one query, as a list. */
export async function column(db: Database, text: string): Promise<unknown[]> {
  return db.withClient(async (client) => {
    const result = await client.query({ text, rowMode: 'array' });
    return result.rows.map((row: unknown[]) => row[0]);
  });
}
