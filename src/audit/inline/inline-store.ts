/** Queries on the inline profile. */
import { z } from 'zod';
import type { SqlClient } from '../../db/database.ts';
import { queryRows } from '../../db/query.ts';
import { EVENT_TABLES } from '../event/event-origin.ts';
import type { InlineRow, InlineSegment } from './inline-judge.ts';

/** The declared segments, oldest first. */
export function readInlineSegments(client: SqlClient): Promise<InlineSegment[]> {
  return queryRows(
    client,
    z.object({ genesis: z.string(), head: z.string(), size: z.coerce.number() }),
    'select genesis_hash as genesis, head_hash as head, size from audit.inline_segment order by segment',
  );
}

/** Every row with a hash column filled, hot, archived and late, with its hash computed by the database's own functions. */
export function readInlineRows(client: SqlClient): Promise<InlineRow[]> {
  const branch = (table: string) => `select e.tableoid::regclass::text as partition, row(e.*)::audit.audit_log as event
      from ${table} e where e.event_hash is not null or e.previous_event_hash is not null`;
  return queryRows(
    client,
    z.object({
      eventId: z.string(),
      partition: z.string(),
      hash: z.string().nullable(),
      previous: z.string().nullable(),
      computed: z.string().nullable(),
    }),
    `select (n.event).id::text as "eventId", n.partition, (n.event).event_hash::text as hash,
            (n.event).previous_event_hash::text as previous,
            encode(sha256('\\x03'::bytea || case when (n.event).previous_event_hash ~ '^[0-9a-f]{64}$'
                                                 then decode((n.event).previous_event_hash, 'hex') end
                          || audit.event_leaf(n.event)), 'hex') as computed
       from (${EVENT_TABLES.map(branch).join(' union all ')}) n
      order by (n.event).txid, (n.event).event_timestamp, (n.event).id`,
  );
}
