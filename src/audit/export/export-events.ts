/** Sealed events by their place in the chain, with everything that a proof or a bundle says about each. */
import { z } from 'zod';
import type { SqlClient } from '../../db/database.ts';
import { queryRows } from '../../db/query.ts';
import { readTuples, type TupleSource } from '../copy/tuples.ts';
import { type Commitments, commitEvent, type EventGroup, eventEntry, frameFields } from '../event/canonical.ts';
import { EVENT_TABLES } from '../event/event-origin.ts';
import { type EventRow, eventSource, RAW_EVENT_COLUMNS } from '../event/event-source.ts';
import type { LinkRow } from '../links/link-source.ts';
import { rangeLinkSource } from '../links/range-store.ts';
import { type Digest, leafHash } from '../tree/hash.ts';

/** A recorded erasure of one group of one sealed event. */
interface SealedErasure {
  readonly seq: bigint;
  readonly eventId: string;
  readonly group: EventGroup;
  readonly commitment: Buffer;
  readonly requestId: string;
  readonly recordEventId: string | null;
}

export interface SealedEvent {
  readonly link: LinkRow;
  /** The entry as the stored row makes it; null when no row is there. */
  readonly entry: Buffer | null;
  /** True when the entry is the one that was sealed. */
  readonly fits: boolean;
  /** frame(actor salt), frame(framed actor columns), the same for payload: personal data. */
  readonly opening: Buffer;
  /** The half of it that is the payload's. */
  readonly payloadOpening: Buffer;
  readonly erasures: readonly SealedErasure[];
}

const NO_OPENING = frameFields([null, null, null, null]);
const NO_PAYLOAD = frameFields([null, null]);

/**
 * The events [from, to) of the chain in seq order, hot, archived and late: one batch in memory, so ask for a few
 * thousand. Rows are looked up by key, a partition at a time.
 */
export async function readSealedEvents(client: SqlClient, from: bigint, to: bigint): Promise<SealedEvent[]> {
  const links: LinkRow[] = [];
  for await (const slab of readTuples(client, rangeLinkSource({ from, to }))) links.push(...slab);
  const rows = new Map<string, EventRow[]>();
  for await (const slab of readTuples(client, eventRange(from, to))) {
    for (const row of slab) rows.set(keyOf(row), [...(rows.get(keyOf(row)) ?? []), row]);
  }
  const erasures = new Map<bigint, SealedErasure[]>();
  for (const erasure of await readErasureRange(client, from, to)) {
    erasures.set(erasure.seq, [...(erasures.get(erasure.seq) ?? []), erasure]);
  }
  return links.map((link) =>
    sealedEvent(link, rows.get(keyOf({ id: link.eventId, timestamp: link.timestamp })) ?? [], erasures.get(link.seq)),
  );
}

function sealedEvent(link: LinkRow, rows: readonly EventRow[], erasures: readonly SealedErasure[] = []): SealedEvent {
  const candidates = rows.map((row) => {
    const entry = eventEntry(row.bare, commitmentsOf(row, erasures));
    return { row, entry, fits: row.hashVersion === 1 && leafHash(entry).equals(link.leaf) };
  });
  const best = candidates.find((candidate) => candidate.fits) ?? candidates[0];
  if (best === undefined) {
    return { link, entry: null, fits: false, opening: NO_OPENING, payloadOpening: NO_PAYLOAD, erasures };
  }
  const { row, entry, fits } = best;
  const payloadOpening = frameFields([row.payloadSalt, row.payload]);
  const opening = Buffer.concat([frameFields([row.actorSalt, row.actor]), payloadOpening]);
  return { link, entry, fits, opening, payloadOpening, erasures };
}

/** Of an erased group the recorded commitment (docs/spec/audit-event-v1.md, section 2). */
function commitmentsOf(row: EventRow, erasures: readonly SealedErasure[]): Commitments {
  const recorded = (group: EventGroup): Digest | null =>
    erasures.find((erasure) => erasure.group === group)?.commitment ?? null;
  const { actor, payload } = commitEvent(row);
  return { actor: actor ?? recorded('actor'), payload: payload ?? recorded('payload') };
}

function keyOf({ id, timestamp }: { readonly id: Buffer; readonly timestamp: Buffer }): string {
  return id.toString('latin1') + timestamp.toString('latin1');
}

/** A keyed lookup for each link: a plain join would read every partition. */
function eventRange(from: bigint, to: bigint): TupleSource<EventRow> {
  const tables = EVENT_TABLES.map(
    (table) => `select ${RAW_EVENT_COLUMNS} from ${table} e
                 where e.id = l.event_id and e.event_timestamp = l.event_timestamp`,
  );
  return eventSource(
    `select r.* from (select event_id, event_timestamp from audit.chain_link
                       where seq >= ${from}::bigint and seq < ${to}::bigint offset 0) l
      cross join lateral (${tables.join(' union all ')}) r`,
  );
}

const erasureShape = z.object({
  seq: z.bigint(),
  event_id: z.string(),
  event_group: z.enum(['actor', 'payload']),
  commitment: z.instanceof(Buffer),
  request_id: z.string(),
  record_event_id: z.string().nullable(),
});

async function readErasureRange(client: SqlClient, from: bigint, to: bigint): Promise<SealedErasure[]> {
  const rows = await queryRows(
    client,
    erasureShape,
    `select l.seq, e.event_id::text, e.event_group, e.commitment, e.request_id::text, e.record_event_id::text
       from audit.chain_link l join audit.erasure e on e.event_id = l.event_id
      where l.seq >= $1::bigint and l.seq < $2::bigint
      order by l.seq, e.event_group`,
    [from, to],
  );
  return rows.map((row) => ({
    seq: row.seq,
    eventId: row.event_id,
    group: row.event_group,
    commitment: row.commitment,
    requestId: row.request_id,
    recordEventId: row.record_event_id,
  }));
}
