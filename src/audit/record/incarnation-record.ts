/**
 * The decision to go on after a restore: what two key officers sign, the first leaf of the new incarnation. It commits
 * to the checkpoint that is abandoned, so that what was lost stays visible for ever.
 */
import { z } from 'zod';
import { canonicalJson } from '../../canonical-json.ts';
import type { SqlClient } from '../../db/database.ts';
import { queryOne, queryRows } from '../../db/query.ts';
import { NAMESPACES } from '../../keys/sshsig.ts';
import type { TupleSource } from '../copy/tuples.ts';
import { UNSEALED_TABLES } from '../event/event-origin.ts';
import { type EventRow, eventSource, RAW_EVENT_COLUMNS } from '../event/event-source.ts';
import type { ChainHead } from '../links/chain-store.ts';
import { type Finding, finding } from '../links/finding.ts';
import { readKeyOwners } from './erase-store.ts';
import { isSignedByTwo, twoPersonRecordSchema } from './two-person-record.ts';

const INCARNATION_FORMAT = 'auditkeep-incarnation/v1';
export const INCARNATION_EVENT = 'chain.incarnation';

const payloadSchema = z.strictObject({
  format: z.literal(INCARNATION_FORMAT),
  installation_id: z.uuid(),
  /** Of nine digits at most, as in a log's name. */
  incarnation: z.int().min(2).max(999_999_999),
  /** The signed note of the last checkpoint before the restore. */
  abandoned_note: z.string(),
  abandoned_size: z.string().regex(/^[0-9]+$/),
  /** The links that still are the ones that were signed; not above the seq of the record itself. */
  kept_size: z.string().regex(/^[0-9]+$/),
  time: z.string(),
});
type IncarnationPayload = z.infer<typeof payloadSchema>;

/** The text to sign. */
export function incarnationText(facts: Omit<IncarnationPayload, 'format'>): string {
  return canonicalJson({ format: INCARNATION_FORMAT, ...facts });
}

/** One event by its id, for hashing. The id is ours, drawn by randomUUID: COPY takes no parameters. */
export function eventByIdSource(id: string): TupleSource<EventRow> {
  const tables = UNSEALED_TABLES.map(
    (table) => `select ${RAW_EVENT_COLUMNS} from ${table} e where e.id = '${id}'::uuid`,
  );
  return eventSource(tables.join(' union all '));
}

/** Sets the chain's number, forward or back. @throws SQLSTATE AK020 when it is not in the expected one */
export async function setIncarnation(client: SqlClient, expected: number, next: number): Promise<void> {
  const shape = z.object({ incarnation: z.number() });
  await queryOne(client, shape, 'select audit.set_incarnation($1::integer, $2::integer) as incarnation', [
    expected,
    next,
  ]);
}

/** One incarnation as two key officers signed it. */
export interface IncarnationRecord {
  readonly incarnation: number;
  readonly eventId: string;
  /** Links that still were the signed ones; what was signed beyond is lost. */
  readonly kept: bigint;
  readonly abandoned: bigint;
}

/**
 * The records of incarnations that were signed, in order, not beyond the head's; of one number the first that was linked.
 * The number in the head may be anybody's, so nothing is as long as it says.
 */
export async function readIncarnations(
  client: SqlClient,
  { incarnation: last }: Pick<ChainHead, 'incarnation'>,
): Promise<IncarnationRecord[]> {
  if (last === 1) return [];
  const rows = await queryRows(
    client,
    z.object({ id: z.string(), seq: z.bigint(), record: z.unknown() }),
    `select e.id::text, l.seq, e.additional_data as record
       from audit.audit_log_all e join audit.chain_link l on l.event_id = e.id and l.event_timestamp = e.event_timestamp
      where e.event_type = $1::text order by l.seq`,
    [INCARNATION_EVENT],
  );
  const owners = await readKeyOwners(client);
  const signed = rows.flatMap(({ id, seq, record }) => {
    const payload = openRecord(record, owners);
    if (payload === null || BigInt(payload.kept_size) > seq) return [];
    const [kept, abandoned] = [BigInt(payload.kept_size), BigInt(payload.abandoned_size)];
    return [{ incarnation: payload.incarnation, eventId: id, kept, abandoned }];
  });
  const known = new Map<number, IncarnationRecord>();
  for (const one of signed) {
    if (one.incarnation <= last && !known.has(one.incarnation)) known.set(one.incarnation, one);
  }
  return [...known.values()].sort((a, b) => a.incarnation - b.incarnation);
}

/** The largest number that two officers signed, linked or not; 1 where they never did. */
export async function readSignedNumber(client: SqlClient): Promise<number> {
  const rows = await queryRows(
    client,
    z.object({ record: z.unknown() }),
    'select e.additional_data as record from audit.audit_log_all e where e.event_type = $1::text',
    [INCARNATION_EVENT],
  );
  const owners = rows.length === 0 ? new Map<string, string>() : await readKeyOwners(client);
  return rows.reduce((most, { record }) => Math.max(most, openRecord(record, owners)?.incarnation ?? 1), 1);
}

/** The id of the signed record of the head's incarnation where it is stored and not linked yet; otherwise null. */
export async function readUnlinkedRecord(
  client: SqlClient,
  { incarnation }: Pick<ChainHead, 'incarnation'>,
): Promise<string | null> {
  const tables = UNSEALED_TABLES.map(
    (table) => `select e.id::text, e.additional_data as record from ${table} e
      where e.event_type = $1::text and not exists (select from audit.chain_link l where l.event_id = e.id)`,
  );
  const rows = await queryRows(client, z.object({ id: z.string(), record: z.unknown() }), tables.join(' union all '), [
    INCARNATION_EVENT,
  ]);
  if (rows.length === 0) return null;
  const owners = await readKeyOwners(client);
  return rows.find(({ record }) => openRecord(record, owners)?.incarnation === incarnation)?.id ?? null;
}

/** Whether two officers signed for the head's incarnation, linked already or not. */
export async function isSignedIncarnation(client: SqlClient, head: Pick<ChainHead, 'incarnation'>): Promise<boolean> {
  if ((await readUnlinkedRecord(client, head)) !== null) return true;
  return (await readIncarnations(client, head)).at(-1)?.incarnation === head.incarnation;
}

/** What two officers signed; null where they did not. */
function openRecord(record: unknown, owners: ReadonlyMap<string, string>): IncarnationPayload | null {
  const parsed = twoPersonRecordSchema.safeParse(record);
  const payload = parsed.success ? parsePayload(parsed.data.payload) : null;
  if (!parsed.success || payload === null) return null;
  return isSignedByTwo(parsed.data, NAMESPACES.incarnation, (key) => owners.get(key) ?? null) ? payload : null;
}

/**
 * What was lost at each new incarnation from `first` to `last`, and incarnations that nobody signed: one finding for those
 * that follow each other.
 * @param records as readIncarnations gives them
 */
export function incarnationFindings(
  records: readonly IncarnationRecord[],
  { first = 2, last }: { readonly first?: number; readonly last: number },
): Finding[] {
  const told: Finding[] = [];
  let next = first;
  for (const record of records) {
    if (record.incarnation < first || record.incarnation > last) continue;
    told.push(...unsigned(next, record.incarnation - 1));
    const [kept, abandoned] = [Number(record.kept), Number(record.abandoned)];
    const sizes = { expected: String(abandoned), actual: String(kept), checkpointFrom: kept, checkpointTo: abandoned };
    told.push(finding('rolled-back', { seq: kept, eventId: record.eventId, ...sizes }));
    next = record.incarnation + 1;
  }
  return [...told, ...unsigned(next, last)];
}

function unsigned(from: number, to: number): Finding[] {
  if (from > to) return [];
  const which = from === to ? String(to) : `${from} to ${to}`;
  return [finding('rolled-back', { expected: 'a signed record', actual: `none of incarnation ${which}` })];
}

function parsePayload(text: string): IncarnationPayload | null {
  try {
    const payload = payloadSchema.parse(JSON.parse(text));
    return canonicalJson(payload) === text ? payload : null;
  } catch {
    return null; // not JSON or of another shape
  }
}
