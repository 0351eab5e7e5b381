/** Queries on erased groups and the records that vouch for them. */
import { z } from 'zod';
import type { SqlClient } from '../../db/database.ts';
import { execute, queryMaybe, queryOne, queryRows } from '../../db/query.ts';
import { NAMESPACES } from '../../keys/sshsig.ts';
import type { EventGroup } from '../event/canonical.ts';
import { ERASURE_EVENT, type ErasedGroup, erasureRoot, parseErasureText, VACUUM_EVENT } from './erase-record.ts';
import { isSignedByTwo, twoPersonRecordSchema } from './two-person-record.ts';

const groupSchema = z.enum(['actor', 'payload']);

/** The groups of some sealed events that still have a commitment to keep and were not recorded as erased before. */
export async function readErasable(
  client: SqlClient,
  wanted: readonly { readonly eventId: string; readonly group: EventGroup }[],
): Promise<ErasedGroup[]> {
  const rows = await queryRows(
    client,
    z.object({ event_id: z.string(), event_group: groupSchema, commitment: z.instanceof(Buffer) }),
    `select distinct e.event_id::text, e.event_group, c.commitment
       from unnest($1::uuid[], $2::text[]) as e(event_id, event_group)
       join audit.chain_link l on l.event_id = e.event_id
      cross join lateral (
        select case e.event_group when 'actor' then l.actor_commitment else l.payload_commitment end as commitment) c
      where c.commitment is not null
        and not exists (select from audit.erasure d where d.event_id = e.event_id and d.event_group = e.event_group)`,
    [wanted.map((entry) => entry.eventId), wanted.map((entry) => entry.group)],
  );
  return rows.map((row) => ({ eventId: row.event_id, group: row.event_group, commitment: row.commitment }));
}

/** Which of some events are not sealed; their groups cannot be erased yet. */
export async function readUnsealedIds(client: SqlClient, eventIds: readonly string[]): Promise<string[]> {
  const rows = await queryRows(
    client,
    z.object({ event_id: z.string() }),
    `select w.event_id::text from unnest($1::uuid[]) w(event_id)
      where not exists (select from audit.chain_link l where l.event_id = w.event_id)`,
    [eventIds],
  );
  return rows.map((row) => row.event_id);
}

/** Keeps the commitments of groups beside the event that records their erasure. */
export async function recordErasure(
  client: SqlClient,
  input: { requestId: string; recordEventId: string; groups: readonly ErasedGroup[] },
): Promise<void> {
  await execute(client, 'select audit.record_erasure($1::uuid, $2::uuid, $3::uuid[], $4::text[])', [
    input.requestId,
    input.recordEventId,
    input.groups.map((entry) => entry.eventId),
    input.groups.map((entry) => entry.group),
  ]);
}

/** Nulls the recorded groups of a request; the number erased by this call in each partition. */
export function eraseRecorded(client: SqlClient, requestId: string): Promise<{ partition: string; erased: bigint }[]> {
  return queryRows(
    client,
    z.object({ partition: z.string(), erased: z.bigint() }),
    'select * from audit.erase_recorded($1::uuid)',
    [requestId],
  );
}

/** The seq of the record of a request; null while it is not sealed. */
export async function readRecordSeq(client: SqlClient, requestId: string): Promise<bigint | null> {
  const row = await queryOne(
    client,
    z.object({ seq: z.bigint().nullable() }),
    `select min(l.seq) as seq from audit.chain_link l
      where l.event_id = any (array(select e.record_event_id from audit.erasure e where e.request_id = $1::uuid))`,
    [requestId],
  );
  return row.seq;
}

/** The tables in which the events of a request lie now. */
export async function readErasedTables(
  client: SqlClient,
  requestId: string,
): Promise<{ schema: string; table: string }[]> {
  return queryRows(
    client,
    z.object({ schema: z.string(), table: z.string() }),
    'select schema_name as schema, table_name as "table" from audit.erased_tables($1::uuid)',
    [requestId],
  );
}

/** What was reported last about the old versions of a request's rows: success when they are gone; null for nothing. */
export async function readVacuumResult(client: SqlClient, requestId: string): Promise<string | null> {
  const row = await queryMaybe(
    client,
    z.object({ result: z.string() }),
    `select result from audit.audit_log_all e where e.event_type = $1::text and e.resource_id = $2::text
      order by e.txid desc limit 1`,
    [VACUUM_EVENT, requestId],
  );
  return row?.result ?? null;
}

/** How many groups a request recorded; 0 when it is unknown. */
export async function countRecorded(client: SqlClient, requestId: string): Promise<number> {
  const row = await queryOne(
    client,
    z.object({ n: z.coerce.number() }),
    'select count(*) as n from audit.erasure where request_id = $1::uuid',
    [requestId],
  );
  return row.n;
}

/** The persons that keys belong to, by fingerprint. The rows themselves are proven by the register of persons. */
export async function readKeyOwners(client: SqlClient): Promise<Map<string, string>> {
  const rows = await queryRows(
    client,
    z.object({ fingerprint: z.string(), person_id: z.string() }),
    'select fingerprint, person_id::text from compliance.person_key',
  );
  return new Map(rows.map((row) => [row.fingerprint, row.person_id]));
}

/** The database's now, which the register of persons goes by: ISO 8601 in UTC with milliseconds. */
export async function readDatabaseTime(client: SqlClient): Promise<string> {
  const row = await queryOne(
    client,
    z.object({ now: z.string() }),
    `select to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as now`,
  );
  return row.now;
}

const erasureRowSchema = z.object({
  event_id: z.string(),
  event_group: groupSchema,
  commitment: z.instanceof(Buffer),
  request_id: z.string(),
  record_event_id: z.string().nullable(),
  seq: z.bigint().nullable(),
});

/**
 * Commitments of erased groups that count, by `event id/group`: their record is a sealed event after theirs, lies under a
 * checkpoint that counts (covered.ts), carries the root over exactly the recorded groups and is signed by two different
 * persons. Whatever else lies in audit.erasure counts for nothing, so that the groups are reported as erased without a
 * record.
 */
export async function readErasures(client: SqlClient, covered: bigint): Promise<Map<string, Buffer>> {
  const rows = await queryRows(
    client,
    erasureRowSchema,
    `select e.event_id::text, e.event_group, e.commitment, e.request_id::text, e.record_event_id::text,
            (select max(l.seq) from audit.chain_link l where l.event_id = e.event_id) as seq
       from audit.erasure e`,
  );
  const owners = rows.length === 0 ? new Map<string, string>() : await readKeyOwners(client);
  const counted = new Map<string, Buffer>();
  for (const request of Map.groupBy(rows, (row) => `${row.request_id}/${row.record_event_id}`).values()) {
    if (!(await isVouchedFor(client, request, { owners, covered }))) continue;
    for (const row of request) counted.set(erasureKey(row.event_id, row.event_group), row.commitment);
  }
  return counted;
}

/** The key of readErasures. */
export function erasureKey(eventId: string, group: EventGroup): string {
  return `${eventId}/${group}`;
}

async function isVouchedFor(
  client: SqlClient,
  request: readonly z.infer<typeof erasureRowSchema>[],
  { owners, covered }: { readonly owners: ReadonlyMap<string, string>; readonly covered: bigint },
): Promise<boolean> {
  const [first] = request;
  if (first?.record_event_id == null) return false;
  const found = await queryMaybe(
    client,
    z.object({ record: z.unknown(), seq: z.bigint() }),
    `select e.additional_data as record, l.seq
       from audit.chain_link l join audit.audit_log_all e on e.id = l.event_id and e.event_timestamp = l.event_timestamp
      where l.event_id = $1::uuid and e.event_type = $2::text order by l.seq limit 1`,
    [first.record_event_id, ERASURE_EVENT],
  );
  const record = twoPersonRecordSchema.safeParse(found?.record);
  if (found === null || !record.success) return false;
  const payload = parseErasureText(record.data.payload);
  const groups = request.map((row) => ({ eventId: row.event_id, group: row.event_group, commitment: row.commitment }));
  return (
    payload?.request_id === first.request_id &&
    payload.groups === groups.length &&
    payload.root === erasureRoot(groups) &&
    found.seq < covered &&
    request.every((row) => row.seq !== null && row.seq < found.seq) &&
    isSignedByTwo(record.data, NAMESPACES.erasure, (fingerprint) => owners.get(fingerprint) ?? null)
  );
}
