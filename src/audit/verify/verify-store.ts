/** What verification reads besides streams of links and events. */
import { z } from 'zod';
import type { SqlClient } from '../../db/database.ts';
import { execute, queryRows } from '../../db/query.ts';
import { uuidText } from '../copy/pg-time.ts';
import { EVENT_TABLES } from '../event/event-origin.ts';
import { eventSource, RAW_EVENT_COLUMNS } from '../event/event-source.ts';
import type { Finding } from '../links/finding.ts';

/** Every event, hot, archived and late, in physical order. */
export const allEventsSource = eventSource(
  EVENT_TABLES.map((table) => `select ${RAW_EVENT_COLUMNS} from ${table} e`).join(' union all '),
);

/** Keeps partitions from being moved or dropped while the transaction reads them; before its first query. */
export async function lockChainTables(client: SqlClient): Promise<void> {
  await execute(client, `lock table ${EVENT_TABLES.join(', ')}, audit.chain_link in access share mode`);
}

const doubledShape = z.object({ event_id: z.string(), links: z.bigint(), seq: z.bigint() });

/**
 * Event ids that are linked more than once. Both links may fit their rows, so no sum shows them.
 * @param among the ids that may be; null reads all of them
 */
export function readDoubledIds(
  client: SqlClient,
  among: readonly Buffer[] | null,
): Promise<z.infer<typeof doubledShape>[]> {
  const links =
    among === null
      ? 'audit.chain_link l'
      : `(select distinct id from unnest($1::uuid[]) id offset 0) k
           cross join lateral (select seq, event_id from audit.chain_link where event_id = k.id offset 0) l`;
  return queryRows(
    client,
    doubledShape,
    `select l.event_id::text, count(*) as links, max(l.seq) as seq
       from ${links} group by l.event_id having count(*) > 1 order by 3`,
    among === null ? [] : [among.map(uuidText)],
  );
}

/** `schema.table` of every leaf that may hold events, by oid. */
export async function readPartitionNames(client: SqlClient): Promise<Map<number, string>> {
  const rows = await queryRows(
    client,
    z.object({ oid: z.coerce.number(), name: z.string() }),
    `select c.oid, n.nspname || '.' || c.relname as name
       from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      where n.nspname in ('audit', 'quarantine') and c.relkind = 'r'`,
  );
  return new Map(rows.map((row) => [row.oid, row.name]));
}

/** Writes findings where analysts look for them; at most one statement. Ids and hashes only, no event content. */
export async function insertSecurityEvents(
  client: SqlClient,
  input: { at: string; correlationId: string; findings: readonly Finding[] },
): Promise<void> {
  await execute(
    client,
    `insert into audit.security_events_log (event_type, severity, category, source_service, source_component,
                                            event_description, additional_context, correlation_id, event_timestamp)
     select 'chain.finding', case f ->> 'class' when 'unsealed' then 'medium' else 'critical' end,
            case f ->> 'class' when 'unsealed' then 'anomaly' else 'incident' end, 'auditkeep', 'chain-verify',
            'verification of the audit chain found: ' || (f ->> 'class'), f, $1::uuid, $2::timestamptz
       from jsonb_array_elements($3::jsonb) f`,
    [input.correlationId, input.at, JSON.stringify(input.findings)],
  );
}
