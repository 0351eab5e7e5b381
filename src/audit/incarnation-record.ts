/**
 * The decision to go on after a restore: what two key officers sign, the first leaf of the new incarnation. It commits
 * to the checkpoint that is abandoned, so that what was lost stays visible for ever.
 */
import { z } from 'zod';
import { canonicalJson } from '../canonical-json.ts';
import type { SqlClient } from '../db/database.ts';
import { queryOne, queryRows } from '../db/query.ts';
import { NAMESPACES } from '../keys/sshsig.ts';
import type { ChainHead } from './chain-store.ts';
import { readKeyOwners } from './erase-store.ts';
import { UNSEALED_TABLES } from './event-origin.ts';
import { type EventRow, eventSource, RAW_EVENT_COLUMNS } from './event-source.ts';
import { type Finding, finding } from './finding.ts';
import type { TupleSource } from './tuples.ts';
import { isSignedByTwo, twoPersonRecordSchema } from './two-person-record.ts';

const INCARNATION_FORMAT = 'auditkeep-incarnation/v1';
export const INCARNATION_EVENT = 'chain.incarnation';

const payloadSchema = z.strictObject({
  format: z.literal(INCARNATION_FORMAT),
  installation_id: z.uuid(),
  incarnation: z.int().min(2),
  /** The signed note of the last checkpoint before the restore. */
  abandoned_note: z.string(),
  abandoned_size: z.string().regex(/^[0-9]+$/),
  /** The links that the restored chain has: the seq of the record itself. */
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

/** Moves the chain to its next incarnation. @throws SQLSTATE AK020 when it is not in the expected one */
export async function moveIncarnation(client: SqlClient, expected: number): Promise<number> {
  const shape = z.object({ incarnation: z.number() });
  return (await queryOne(client, shape, 'select audit.begin_incarnation($1::integer) as incarnation', [expected]))
    .incarnation;
}

/** What was lost at each new incarnation, and incarnations that nobody signed: findings of every verification. */
export async function readIncarnationFindings(client: SqlClient, head: ChainHead): Promise<Finding[]> {
  if (head.incarnation === 1) return [];
  const rows = await queryRows(
    client,
    z.object({ id: z.string(), seq: z.bigint(), record: z.unknown() }),
    `select e.id::text, l.seq, e.additional_data as record
       from audit.audit_log_all e join audit.chain_link l on l.event_id = e.id and l.event_timestamp = e.event_timestamp
      where e.event_type = $1::text order by l.seq`,
    [INCARNATION_EVENT],
  );
  const owners = await readKeyOwners(client);
  const findings: Finding[] = [];
  for (let incarnation = 2; incarnation <= head.incarnation; incarnation += 1) {
    const signed = rows.flatMap((row) => {
      const record = twoPersonRecordSchema.safeParse(row.record);
      if (!record.success) return [];
      const payload = parsePayload(record.data.payload);
      const valid =
        payload?.incarnation === incarnation &&
        BigInt(payload.kept_size) <= row.seq &&
        isSignedByTwo(record.data, NAMESPACES.incarnation, (key) => owners.get(key) ?? null);
      return valid ? [{ id: row.id, payload }] : [];
    });
    const [record] = signed;
    findings.push(
      record === undefined
        ? finding('rolled-back', { expected: 'a signed record', actual: `none of incarnation ${incarnation}` })
        : lost(record.id, record.payload),
    );
  }
  return findings;
}

function lost(eventId: string, { kept_size: kept, abandoned_size: abandoned }: IncarnationPayload): Finding {
  const sizes = { expected: abandoned, actual: kept, checkpointFrom: Number(kept), checkpointTo: Number(abandoned) };
  return finding('rolled-back', { seq: Number(kept), eventId, ...sizes });
}

function parsePayload(text: string): IncarnationPayload | null {
  try {
    const payload = payloadSchema.parse(JSON.parse(text));
    return canonicalJson(payload) === text ? payload : null;
  } catch {
    return null; // not JSON or of another shape
  }
}
