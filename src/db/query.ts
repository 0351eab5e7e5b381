/** Queries whose rows are parsed as they enter the program. */
import type { z } from 'zod';
import type { SqlClient } from './database.ts';

export type SqlValue = null | boolean | number | bigint | string | Buffer | readonly SqlValue[] | { toJSON(): unknown };

/** All rows of a query, each parsed by shape. For results that fit in memory; larger ones stream (db/stream.ts). */
export async function queryRows<T>(
  client: SqlClient,
  shape: z.ZodType<T>,
  text: string,
  values: readonly SqlValue[] = [],
): Promise<T[]> {
  const result = await client.query(text, [...values]);
  return result.rows.map((row: unknown) => shape.parse(row));
}

/** The one row of a statement that is planned once a connection and run often with other values, by its name. */
export async function queryPrepared<T>(
  client: SqlClient,
  shape: z.ZodType<T>,
  statement: { readonly name: string; readonly text: string; readonly values: readonly SqlValue[] },
): Promise<T> {
  const { rows } = await client.query({ ...statement, values: [...statement.values] });
  if (rows.length !== 1) throw new Error(`expected one row, got ${rows.length}: ${statement.name}`);
  return shape.parse(rows[0]);
}

/** The one row of a query, or null when there is none. More than one is a bug. */
export async function queryMaybe<T>(
  client: SqlClient,
  shape: z.ZodType<T>,
  text: string,
  values: readonly SqlValue[] = [],
): Promise<T | null> {
  const rows = await queryRows(client, shape, text, values);
  if (rows.length > 1) throw new Error(`expected at most one row, got ${rows.length}: ${text.slice(0, 80)}`);
  return rows[0] ?? null;
}

/** The one row of a query; none or several is a bug. */
export async function queryOne<T>(
  client: SqlClient,
  shape: z.ZodType<T>,
  text: string,
  values: readonly SqlValue[] = [],
): Promise<T> {
  const row = await queryMaybe(client, shape, text, values);
  if (row === null) throw new Error(`expected one row, got none: ${text.slice(0, 80)}`);
  return row;
}

/** Runs a statement and gives the number of rows it touched. */
export async function execute(client: SqlClient, text: string, values: readonly SqlValue[] = []): Promise<number> {
  const result = await client.query(text, [...values]);
  return result.rowCount ?? 0;
}
