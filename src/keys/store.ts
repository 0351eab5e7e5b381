/** The key module's queries, one function each. */
import { z } from 'zod';
import type { Actor } from '../context.ts';
import type { SqlClient } from '../db/database.ts';
import { queryMaybe, queryOne, queryRows } from '../db/query.ts';
import type { DataClass, SecretPurpose } from './keyring.ts';
import type { KekName } from './providers/provider.ts';

/** Who and when, for the audit event that the database writes with the change. */
export interface KeyEventSource {
  readonly actor: Actor;
  /** ISO 8601. */
  readonly now: string;
}

export interface StoredKey {
  readonly keyId: string;
  readonly purpose: string | null;
  readonly status: string | null;
  readonly kek: KekName | null;
  readonly wrapped: Buffer | null;
}

const storedKeyShape = z
  .object({
    key_id: z.string(),
    purpose: z.string().nullable(),
    status: z.string().nullable(),
    kek_id: z.string().nullable(),
    kek_generation: z.number().nullable(),
    wrapped: z.instanceof(Buffer).nullable(),
  })
  .transform(
    (row): StoredKey => ({
      keyId: row.key_id,
      purpose: row.purpose,
      status: row.status,
      kek:
        row.kek_id === null || row.kek_generation === null ? null : { id: row.kek_id, generation: row.kek_generation },
      wrapped: row.wrapped,
    }),
  );

const SELECT_KEY = `
  select k.key_id, k.purpose, k.status, w.kek_id, w.kek_generation, w.wrapped
    from security_secret.encryption_keys k
    left join lateral (select kek_id, kek_generation, wrapped from security_secret.key_wrap
                        where key_id = k.key_id and kind = 'primary' order by kek_generation desc limit 1) w on true`;

/** A key with its newest primary wrap, or null. */
export function readKey(client: SqlClient, keyId: string): Promise<StoredKey | null> {
  return queryMaybe(client, storedKeyShape, `${SELECT_KEY} where k.key_id = $1::text`, [keyId]);
}

/** Keys by their ids, each with its newest primary wrap; those that are not there are left out. */
export async function readKeys(client: SqlClient, keyIds: readonly string[]): Promise<Map<string, StoredKey>> {
  const rows = await queryRows(client, storedKeyShape, `${SELECT_KEY} where k.key_id = any ($1::text[])`, [keyIds]);
  return new Map(rows.map((row) => [row.keyId, row]));
}

/** Subject keys by what the database knows their persons by. */
export async function readSubjectKeys(client: SqlClient, refs: readonly string[]): Promise<Map<string, StoredKey>> {
  const owners = await queryRows(
    client,
    z.object({ ref: z.string(), keyId: z.string() }),
    `select s.subject_ref as ref, s.key_id as "keyId" from security_secret.subject_key s
      where s.subject_ref = any ($1::text[])`,
    [refs],
  );
  const keys = await readKeys(
    client,
    owners.map(({ keyId }) => keyId),
  );
  return new Map(
    owners.flatMap(({ ref, keyId }) => {
      const key = keys.get(keyId);
      return key === undefined ? [] : [[ref, key] as const];
    }),
  );
}

/** The id of the active epoch key of a data class and UTC day (`2026-03-15`), or null. */
export async function readEpochKeyId(client: SqlClient, dataClass: DataClass, day: string): Promise<string | null> {
  const row = await queryMaybe(
    client,
    z.object({ id: z.string() }),
    `select key_id as id from security_secret.encryption_keys
      where purpose = 'epoch' and data_class = $1::text and epoch_day = $2::date and status = 'active'`,
    [dataClass, day],
  );
  return row?.id ?? null;
}

/** The active secret of a purpose, or null. */
export function readSecret(client: SqlClient, purpose: SecretPurpose): Promise<StoredKey | null> {
  return queryMaybe(client, storedKeyShape, `${SELECT_KEY} where k.purpose = $1::text and k.status = 'active'`, [
    purpose,
  ]);
}

/** The KEK that new wraps are made with, or null in a database without keys. */
export async function readActiveKek(client: SqlClient): Promise<KekName | null> {
  return queryMaybe(
    client,
    z.object({ id: z.string(), generation: z.number() }),
    `select key_id as id, kek_generation as generation from security_secret.encryption_keys
      where purpose = 'kek' and status = 'active'`,
  );
}

/** Registers the first KEK; gives the id of the one that is active afterwards, perhaps another host's. */
export async function registerKek(
  client: SqlClient,
  kek: KekName,
  provider: string,
  source: KeyEventSource,
): Promise<string> {
  const row = await queryOne(
    client,
    z.object({ id: z.string() }),
    `select security_secret.register_kek($1::text, $2::integer, $3::text, $4::text, $5::text, $6::timestamptz) as id`,
    [kek.id, kek.generation, provider, ...eventColumns(source)],
  );
  return row.id;
}

export interface NewKey {
  readonly keyId: string;
  readonly purpose: 'epoch' | SecretPurpose;
  readonly dataClass: DataClass | null;
  readonly epochDay: string | null;
  readonly kekId: string;
  readonly wrapped: Buffer;
}

/** Creates a key with its wrap and event; gives the id of the key that counts, which another process may have made. */
export async function createKey(client: SqlClient, key: NewKey, source: KeyEventSource): Promise<string> {
  const row = await queryOne(
    client,
    z.object({ id: z.string() }),
    `select security_secret.create_key($1::text, $2::text, $3::text, $4::date, $5::text, $6::bytea,
                                       $7::text, $8::text, $9::timestamptz) as id`,
    [key.keyId, key.purpose, key.dataClass, key.epochDay, key.kekId, key.wrapped, ...eventColumns(source)],
  );
  return row.id;
}

export interface NewSubjectKey {
  readonly ref: string;
  readonly keyId: string;
  readonly wrapped: Buffer;
}

/** Makes the keys of those who have none, with wraps and one event; another process may have been first with some. */
export async function createSubjectKeys(
  client: SqlClient,
  made: readonly NewSubjectKey[],
  kekId: string,
  source: KeyEventSource,
): Promise<void> {
  await client.query(
    `select security_secret.create_subject_keys($1::text[], $2::text[], $3::bytea[], $4::text,
                                                $5::text, $6::text, $7::timestamptz)`,
    [
      made.map(({ ref }) => ref),
      made.map(({ keyId }) => keyId),
      made.map(({ wrapped }) => wrapped),
      kekId,
      ...eventColumns(source),
    ],
  );
}

/** Counts uses of a key beforehand. */
export async function reserveUsage(client: SqlClient, keyId: string, count: number, now: string): Promise<void> {
  await client.query('select security_secret.reserve_key_usage($1::text, $2::integer, $3::timestamptz)', [
    keyId,
    count,
    now,
  ]);
}

export interface KeyListEntry {
  readonly keyId: string;
  readonly purpose: string | null;
  readonly type: string;
  readonly status: string | null;
  readonly dataClass: string | null;
  readonly epochDay: string | null;
  readonly kekId: string | null;
  readonly kekGeneration: number | null;
  readonly usageCount: number;
  readonly createdAt: string | null;
}

const listShape: z.ZodType<KeyListEntry> = z.object({
  keyId: z.string(),
  purpose: z.string().nullable(),
  type: z.string(),
  status: z.string().nullable(),
  dataClass: z.string().nullable(),
  epochDay: z.string().nullable(),
  kekId: z.string().nullable(),
  kekGeneration: z.number().nullable(),
  usageCount: z.number(),
  createdAt: z.string().nullable(),
});

/** Metadata of all keys, newest first, at most `limit`. Subject keys are as many as persons, so they are left out. */
export function listKeys(client: SqlClient, limit: number): Promise<KeyListEntry[]> {
  return queryRows(
    client,
    listShape,
    `select k.key_id as "keyId", k.purpose, k.key_type as type, k.status, k.data_class as "dataClass",
            k.epoch_day as "epochDay", w.kek_id as "kekId", coalesce(w.kek_generation, k.kek_generation) as "kekGeneration",
            coalesce(k.usage_count, 0) as "usageCount", k.created_at as "createdAt"
       from security_secret.encryption_keys k
       left join lateral (select kek_id, kek_generation from security_secret.key_wrap
                           where key_id = k.key_id and kind = 'primary' order by kek_generation desc limit 1) w on true
      where k.purpose is distinct from 'subject'
      order by k.created_at desc, k.key_id limit $1::integer`,
    [limit],
  );
}

function eventColumns({ actor, now }: KeyEventSource): [service: string, person: string | null, now: string] {
  return actor.kind === 'service' ? [actor.name, null, now] : ['auditkeep', actor.email, now];
}
