/** The import's queries: one function each. */
import { z } from 'zod';
import type { SqlClient } from '../db/database.ts';
import { execute, queryOne, queryRows } from '../db/query.ts';
import { isoOf, toInstant, type UtcInstant } from '../time/clock.ts';
import type { EventRow } from './event-row.ts';

const known = z.object({ id: z.string(), verdict: z.enum(['duplicate', 'conflict', 'refused']) });
export type KnownEvent = z.infer<typeof known>;
/** What an event is found again by. */
export type StoredKey = { readonly bare: Pick<EventRow['bare'], 'id' | 'eventTimestamp' | 'instant'> };

/**
 * Which of the events may not be stored: duplicates (same id and time in hot, archive or late), conflicts (the chain
 * has the id with another time; WaitingEvents knows those that are not in the chain yet), refused ones (their range was
 * purged). Scalar subqueries with a limit: they can only be index probes, where an anti-join might read a whole
 * partition. The range of the batch prunes partitions.
 */
export function findKnownEvents(client: SqlClient, rows: readonly StoredKey[]): Promise<KnownEvent[]> {
  const range = rangeOf(rows.map(({ bare }) => bare.instant));
  return queryRows(
    client,
    known,
    `with closed as materialized (
       select u.lower_bound, u.upper_bound from retention.unit u
        where u.table_name = 'audit_log' and u.state in ('purging', 'purged'))
     select v.id::text as id, v.verdict
       from (select k.id,
                    case
                      when (select true from audit.audit_log h
                             where h.event_timestamp = k.event_timestamp and h.id = k.id
                               and h.event_timestamp between $3::timestamptz and $4::timestamptz limit 1)
                        or (select true from audit.audit_log_archive a
                             where a.event_timestamp = k.event_timestamp and a.id = k.id
                               and a.event_timestamp between $3::timestamptz and $4::timestamptz limit 1)
                        or (select true from audit.audit_log_late l
                             where l.event_timestamp = k.event_timestamp and l.id = k.id limit 1) then 'duplicate'
                      when (select true from audit.chain_link c where c.event_id = k.id limit 1) then 'conflict'
                      when exists (select from closed u
                                    where k.event_timestamp >= u.lower_bound and k.event_timestamp < u.upper_bound)
                        then 'refused'
                    end as verdict
               from unnest($1::uuid[], $2::timestamptz[]) as k (id, event_timestamp)) v
      where v.verdict is not null`,
    [rows.map(({ bare }) => bare.id), rows.map(({ bare }) => bare.eventTimestamp), range.from, range.until],
  );
}

/** First and last time of a batch, a millisecond wider, since instants have no microseconds. */
function rangeOf(instants: readonly UtcInstant[]): { readonly from: string; readonly until: string } {
  const first = instants.reduce((least, instant) => Math.min(least, instant), Number.POSITIVE_INFINITY);
  const last = instants.reduce((most, instant) => Math.max(most, instant), Number.NEGATIVE_INFINITY);
  return { from: isoOf(toInstant(first)), until: isoOf(toInstant(last + 1)) };
}

/** The statement that stores events; encodeEvents() makes its lines. Salts, txid and hash_version are the table's own. */
export const COPY_EVENTS = `copy audit.audit_log (id, event_timestamp, event_type, event_category, event_action, user_id,
  user_email, user_roles, session_id, ip_address, user_agent, request_id, correlation_id, resource_type, resource_id,
  resource_path, old_values, new_values, security_classification, data_sensitivity, result, error_message, server_name,
  service_name, version, additional_data, actor_envelope, payload_envelope) from stdin`;

/** The id of the Ethereum main network's row; the row is made when it is missing. */
export async function ensureNetwork(client: SqlClient, name: string, chainId: number): Promise<string> {
  await execute(
    client,
    `insert into security_internal.blockchain_networks (network_name, network_type, rpc_endpoints, chain_id)
     values ($1::text, 'ethereum', '{}'::text[], $2::integer) on conflict do nothing`,
    [name, chainId],
  );
  const row = await queryOne(
    client,
    z.object({ id: z.string() }),
    'select n.id::text as id from security_internal.blockchain_networks n where n.network_name = $1::text',
    [name],
  );
  return row.id;
}

/** A transaction as it is stored: what is confidential is an envelope. */
export interface StoredTransaction {
  readonly id: string;
  readonly hash: string;
  readonly from: string;
  readonly to: string | null;
  readonly value: string;
  readonly gasUsed: bigint;
  readonly gasPriceWei: bigint | null;
  readonly blockHeight: bigint;
  readonly blockHash: string | null;
  readonly index: number;
  readonly status: string;
  readonly functionSignature: string | null;
  readonly inputHash: string;
  readonly at: string;
}

/** Of the ids and hashes of transactions, the ids that are known: stored, stored under another id, or anonymized. */
export async function findKnownTransactions(
  client: SqlClient,
  ids: readonly string[],
  hashes: readonly string[],
): Promise<string[]> {
  const rows = await queryRows(
    client,
    z.object({ id: z.string() }),
    `select k.id::text as id
       from unnest($1::uuid[], $2::text[]) as k (id, hash)
      where (select true from security_confidential.transactions t where t.id = k.id limit 1)
         or (select true from security_confidential.transactions t where t.transaction_hash = k.hash limit 1)
         or (select true from privacy.anonymized_transaction a where a.import_id = k.id limit 1)`,
    [ids, hashes],
  );
  return rows.map((row) => row.id);
}

/**
 * Stores transactions; the number stored. INSERT, not COPY: COPY FROM refuses a table with row-level security unless the
 * role bypasses it, which an installation may not be able to give.
 */
export function insertTransactions(
  client: SqlClient,
  networkId: string,
  rows: readonly StoredTransaction[],
): Promise<number> {
  return execute(
    client,
    `insert into security_confidential.transactions (network_id, id, transaction_hash, from_address_encrypted,
       to_address_encrypted, value_encrypted, gas_used, gas_price, block_height, block_hash, transaction_index, status,
       function_signature, input_data_hash, created_at, confirmed_at)
     select $1::uuid, r.*, r.at
       from unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::bigint[], $9::bigint[],
                   $10::text[], $11::integer[], $12::text[], $13::text[], $14::text[], $15::timestamptz[])
         as r (id, hash, from_address, to_address, value, gas_used, gas_price, block_height, block_hash, index, status,
               function_signature, input_hash, at)
     on conflict do nothing`,
    [
      networkId,
      rows.map((row) => row.id),
      rows.map((row) => row.hash),
      rows.map((row) => row.from),
      rows.map((row) => row.to),
      rows.map((row) => row.value),
      rows.map((row) => row.gasUsed),
      rows.map((row) => row.gasPriceWei),
      rows.map((row) => row.blockHeight),
      rows.map((row) => row.blockHash),
      rows.map((row) => row.index),
      rows.map((row) => row.status),
      rows.map((row) => row.functionSignature),
      rows.map((row) => row.inputHash),
      rows.map((row) => row.at),
    ],
  );
}

/** Records rows of a register and says for each whether it was added, is a new revision, or is there already. */
export async function recordRegisterRows(
  client: SqlClient,
  input: { readonly kind: string; readonly rows: readonly object[]; readonly by: string },
): Promise<('added' | 'revised' | 'same')[]> {
  const row = await queryOne(
    client,
    z.object({ outcomes: z.array(z.enum(['added', 'revised', 'same'])) }),
    'select compliance.record_register($1::text, $2::jsonb, $3::text) as outcomes',
    [input.kind, JSON.stringify(input.rows), input.by],
  );
  return row.outcomes;
}
