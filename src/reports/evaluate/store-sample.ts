/** The queries that draw samples of populations and read them again, as auditkeep_report. */
import { z } from 'zod';
import type { SqlClient } from '../../db/database.ts';
import { queryRows } from '../../db/query.ts';

/** A checked statement over the facts; the key's name is a parsed identifier. */
export interface PopulationQuery {
  readonly sql: string;
  readonly values: readonly string[];
  readonly key: string;
}

const keySchema = z.object({ key: z.string() });

/** The first keys in the order of their HMAC, whose two padded keys are given (RFC 2104). */
export async function readSample(
  client: SqlClient,
  { sql, values, key }: PopulationQuery,
  draw: { readonly inner: Buffer; readonly outer: Buffer; readonly size: number },
): Promise<string[]> {
  const [inner, outer, size] = [1, 2, 3].map((n) => `$${values.length + n}`);
  const text = `population.${key}::text`;
  const digest = `pg_catalog.sha256(${inner}::bytea || pg_catalog.convert_to(${text}, 'UTF8'))`;
  const rows = await queryRows(
    client,
    keySchema,
    `select ${text} as key from (${sql}) as population where population.${key} is not null
      order by pg_catalog.sha256(${outer}::bytea || ${digest}), ${text} limit ${size}::integer`,
    [...values, draw.inner, draw.outer, draw.size],
  );
  return rows.map((row) => row.key);
}

/** Which of these keys a population has. */
export async function readByKeys(
  client: SqlClient,
  { sql, values, key }: PopulationQuery,
  keys: readonly string[],
): Promise<string[]> {
  const rows = await queryRows(
    client,
    keySchema,
    `select population.${key}::text as key from (${sql}) as population
      where population.${key}::text = any ($${values.length + 1}::text[])`,
    [...values, keys],
  );
  return rows.map((row) => row.key);
}
