/** The privacy module's queries, one function each. Those that measure are in risk-store.ts. */
import { z } from 'zod';
import type { SqlClient } from '../db/database.ts';
import { queryOne, queryRows } from '../db/query.ts';

/** A transaction that is due, as far as anonymization reads it. */
export interface DueTransaction {
  readonly id: string;
  readonly fromEnvelope: string | null;
  readonly toEnvelope: string | null;
  readonly valueEnvelope: string | null;
}

/** Half-open: rows of which the confirmation (or creation) lies before this instant, ISO 8601, are due. */
export type Cutoff = string;

const dueShape: z.ZodType<DueTransaction> = z.object({
  id: z.string(),
  fromEnvelope: z.string().nullable(),
  toEnvelope: z.string().nullable(),
  valueEnvelope: z.string().nullable(),
});

/** The next due rows after an id, in the order of ids. */
export function readDue(client: SqlClient, before: Cutoff, after: string, limit: number): Promise<DueTransaction[]> {
  return queryRows(
    client,
    dueShape,
    `select id, from_address_encrypted as "fromEnvelope", to_address_encrypted as "toEnvelope",
            value_encrypted as "valueEnvelope"
       from security_confidential.transactions
      where anonymization_level is null and coalesce(confirmed_at, created_at) < $1::timestamptz and id > $2::uuid
      order by id limit $3::integer`,
    [before, after, limit],
  );
}

/** What is left of a due row. */
export interface Replacement {
  readonly id: string;
  readonly newId: string;
  /** Stands in transaction_hash; random. */
  readonly surrogate: string;
  readonly pseudonymFrom: string | null;
  readonly pseudonymTo: string | null;
  readonly valueBucket: number | null;
}

/** Replaces due rows; gives how many were still due. */
export async function pseudonymizeRows(
  client: SqlClient,
  before: Cutoff,
  rows: readonly Replacement[],
): Promise<number> {
  const { changed } = await queryOne(
    client,
    z.object({ changed: z.bigint() }),
    `select privacy.pseudonymize_transactions($1::timestamptz, $2::uuid[], $3::uuid[], $4::text[], $5::text[],
                                              $6::text[], $7::smallint[]) as changed`,
    [
      before,
      rows.map((row) => row.id),
      rows.map((row) => row.newId),
      rows.map((row) => row.surrogate),
      rows.map((row) => row.pseudonymFrom),
      rows.map((row) => row.pseudonymTo),
      rows.map((row) => row.valueBucket),
    ],
  );
  return Number(changed);
}

/** Takes one more thing away from each row; gives how many changed. */
export async function generalizeRows(client: SqlClient, ids: readonly string[]): Promise<number> {
  const { changed } = await queryOne(
    client,
    z.object({ changed: z.bigint() }),
    'select privacy.generalize_transactions($1::uuid[]) as changed',
    [ids],
  );
  return Number(changed);
}

/** Writes the gate's verdict; gives how many rows it was new for. */
export async function setAnonymized(client: SqlClient, ids: readonly string[], value: boolean): Promise<number> {
  const { changed } = await queryOne(
    client,
    z.object({ changed: z.bigint() }),
    'select privacy.set_anonymized($1::uuid[], $2::boolean) as changed',
    [ids, value],
  );
  return Number(changed);
}

/** Makes the planner's statistics of transactions anew, so that they show none of the rows as they were. */
export async function analyzeTransactions(client: SqlClient): Promise<void> {
  await client.query('select privacy.analyze_transactions()');
}

export interface TransactionCounts {
  readonly due: number;
  /** Processed, but the gate has not passed for them. */
  readonly pseudonymized: number;
  readonly anonymized: number;
  /** Younger than the policy's age. */
  readonly young: number;
}

/** How many transactions are in which state. */
export async function countTransactions(client: SqlClient, before: Cutoff): Promise<TransactionCounts> {
  const row = await queryOne(
    client,
    z.object({ due: z.bigint(), pseudonymized: z.bigint(), anonymized: z.bigint(), young: z.bigint() }),
    `select count(*) filter (where anonymization_level is null and coalesce(confirmed_at, created_at) < $1::timestamptz) as due,
            count(*) filter (where anonymization_level is not null and anonymized is not true) as pseudonymized,
            count(*) filter (where anonymization_level is not null and anonymized) as anonymized,
            count(*) filter (where anonymization_level is null
                               and (coalesce(confirmed_at, created_at) < $1::timestamptz) is not true) as young
       from security_confidential.transactions`,
    [before],
  );
  return {
    due: Number(row.due),
    pseudonymized: Number(row.pseudonymized),
    anonymized: Number(row.anonymized),
    young: Number(row.young),
  };
}

/** Foreign keys that refer to transactions: anonymization gives rows new ids, which would break or follow them. */
export async function readReferences(client: SqlClient): Promise<string[]> {
  const rows = await queryRows(
    client,
    z.object({ name: z.string() }),
    `select format('%s.%s (%s)', n.nspname, r.relname, c.conname) as name
       from pg_catalog.pg_constraint c
       join pg_catalog.pg_class r on r.oid = c.conrelid
       join pg_catalog.pg_namespace n on n.oid = r.relnamespace
      where c.contype = 'f' and c.confrelid = 'security_confidential.transactions'::regclass
      order by 1`,
  );
  return rows.map((row) => row.name);
}
