/** What a bundle says about erasures and incarnations: the groups, and the records that two persons signed. */
import { z } from 'zod';
import { canonicalJson } from '../../canonical-json.ts';
import type { SqlClient } from '../../db/database.ts';
import { queryRows } from '../../db/query.ts';
import { streamRows } from '../../db/stream.ts';
import { ERASURE_EVENT } from '../record/erase-record.ts';
import { INCARNATION_EVENT } from '../record/incarnation-record.ts';
import { readSealedEvents } from './export-events.ts';

/** Which part of the chain a bundle is about. */
export interface RecordScope {
  /** The size of the checkpoint that it leads to. */
  readonly size: bigint;
  readonly from: bigint;
  readonly to: bigint;
}

/** Requests that erased a group of an entry in the range ($1, $2) and whose record lies below the checkpoint ($3). */
const REQUESTS = `select e.request_id, e.record_event_id, min(r.seq) as record_seq
    from audit.chain_link l join audit.erasure e on e.event_id = l.event_id
    join audit.chain_link r on r.event_id = e.record_event_id and r.seq < $3::bigint
   where l.seq >= $1::bigint and l.seq < $2::bigint
   group by e.request_id, e.record_event_id`;

const erasureShape = z.object({
  seq: z.bigint(),
  event_id: z.string(),
  event_group: z.enum(['actor', 'payload']),
  commitment: z.instanceof(Buffer),
  request_id: z.string(),
  record_event_id: z.string(),
});

/** A line for each group of those requests, by seq, also of events outside the range: the signed root is over all. */
export async function* erasureLines(client: SqlClient, { from, to, size }: RecordScope): AsyncGenerator<string, void> {
  const batches = streamRows(client, {
    shape: erasureShape,
    text: `select l.seq, e.event_id::text, e.event_group, e.commitment, e.request_id::text, e.record_event_id::text
             from (${REQUESTS}) q
             join audit.erasure e on e.request_id = q.request_id and e.record_event_id = q.record_event_id
             join audit.chain_link l on l.event_id = e.event_id
            where l.seq < q.record_seq
            order by l.seq, e.event_group`,
    values: [from, to, size],
  });
  for await (const batch of batches) {
    for (const row of batch) {
      const line = {
        seq: String(row.seq),
        eventId: row.event_id,
        group: row.event_group,
        commitment: row.commitment.toString('hex'),
        requestId: row.request_id,
        recordEventId: row.record_event_id,
      };
      yield `${canonicalJson(line)}\n`;
    }
  }
}

const recordShape = z.object({ seq: z.bigint(), kind: z.string() });

/** A line for each record: its entry and its payload, opened. Records hold key fingerprints, no personal data. */
export async function* recordLines(
  client: SqlClient,
  { from, to, size }: RecordScope,
  incarnation: number,
): AsyncGenerator<string, void> {
  const incarnations = `select l.seq, '${INCARNATION_EVENT}' as kind
      from audit.audit_log_all e join audit.chain_link l on l.event_id = e.id and l.event_timestamp = e.event_timestamp
     where e.event_type = '${INCARNATION_EVENT}' and l.seq < $3::bigint`;
  const records = await queryRows(
    client,
    recordShape,
    `select q.record_seq as seq, '${ERASURE_EVENT}' as kind from (${REQUESTS}) q
     ${incarnation > 1 ? `union ${incarnations}` : ''} order by 1`,
    [from, to, size],
  );
  for (const { seq, kind } of records) {
    const [event] = await readSealedEvents(client, seq, seq + 1n);
    const entry = event?.entry?.toString('base64') ?? '';
    yield `${canonicalJson({ seq: String(seq), kind, entry, opening: event?.payloadOpening.toString('base64') ?? '' })}\n`;
  }
}
