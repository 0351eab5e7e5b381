/**
 * Units whose events cannot change any more: sealed or archived partitions of the hot and the archive table. Each is
 * read by itself, through its parent and by the bounds of its time, so that what is no unit is simply everything else:
 * no list of partitions can leave rows out.
 */
import { z } from 'zod';
import type { SqlClient } from '../../db/database.ts';
import { queryOne, queryRows } from '../../db/query.ts';
import { microsText } from '../copy/pg-time.ts';
import type { TupleSource } from '../copy/tuples.ts';
import { EVENT_TABLES } from '../event/event-origin.ts';
import { type EventRow, eventSource, RAW_EVENT_COLUMNS } from '../event/event-source.ts';

/** Tables whose partitions may be units; late and quarantined rows are always read. */
const UNIT_PARENTS: readonly string[] = ['audit.audit_log', 'audit.audit_log_archive'];

/** One unit and what it is bound to. */
export interface StableUnit {
  /** `schema.table` of the partitioned table that it belongs to. */
  readonly parent: string;
  readonly relation: string;
  /** Microseconds since 2000-01-01 UTC, half-open. */
  readonly from: bigint;
  readonly to: bigint;
  /** SHA-256 in hex of everything that says whether this is still the same file read the same way. */
  readonly identity: string;
}

const unitShape = z.object({
  parent: z.string(),
  relation: z.string(),
  from: z.bigint(),
  to: z.bigint(),
  identity: z.string(),
});

/**
 * Every stable unit, the oldest first. The identity covers the server (another one after a restore), the relation, its
 * file, and the columns of it and of its parent: a column swapped for another one changes content without any row.
 */
export function readStableUnits(client: SqlClient): Promise<StableUnit[]> {
  return queryRows(
    client,
    unitShape,
    `select p.parent, c.relname::text as relation,
            (extract(epoch from l.lower_bound) * 1000000)::bigint - 946684800000000 as "from",
            (extract(epoch from l.upper_bound) * 1000000)::bigint - 946684800000000 as "to",
            encode(sha256(convert_to(concat_ws(' ', s.system_identifier, t.timeline_id, d.oid, c.oid, c.relfilenode,
              c.relkind, c.relhasrules, c.relrowsecurity, c.reltoastrelid,
              (select string_agg(concat_ws(' ', a.attrelid, a.attnum, a.attname, a.atttypid, a.atttypmod, a.attisdropped,
                                           a.attmissingval::text), ', ' order by a.attrelid, a.attnum)
                 from pg_catalog.pg_attribute a where a.attrelid in (c.oid, p.parent::regclass) and a.attnum > 0)),
              'UTF8')), 'hex') as identity
       from unnest($1::text[]) p(parent)
      cross join lateral retention.leaves(p.parent::regclass) l
       join pg_catalog.pg_class c on c.oid = l.relation
       join pg_catalog.pg_namespace n on n.oid = c.relnamespace
       join retention.unit u on u.schema_name = n.nspname and u.relation_name = c.relname
       join pg_catalog.pg_database d on d.datname = current_database()
      cross join pg_catalog.pg_control_system() s
      cross join pg_catalog.pg_control_checkpoint() t
      where u.state not in ('hot', 'restored', 'failed')
        and l.lower_bound > '0002-01-01 00:00:00+00' and l.upper_bound < '9999-01-01 00:00:00+00'
      order by l.lower_bound, p.parent`,
    [UNIT_PARENTS],
  );
}

/** The events of a unit. */
export function unitSource(unit: StableUnit): TupleSource<EventRow> {
  return eventSource(`select ${RAW_EVENT_COLUMNS} from ${unit.parent} e where ${within(unit)}`);
}

/** One event of a unit. */
export function unitCanarySource(unit: StableUnit): TupleSource<EventRow> {
  return eventSource(`select ${RAW_EVENT_COLUMNS} from ${unit.parent} e where ${within(unit)} limit 1`);
}

/** Every event that lies in none of the units. */
export function restSource(units: readonly StableUnit[]): TupleSource<EventRow> {
  const tables = EVENT_TABLES.map((table) => {
    const inside = units.filter((unit) => unit.parent === table);
    const where = inside.length === 0 ? '' : ` where ${outside(inside)}`;
    return `select ${RAW_EVENT_COLUMNS} from ${table} e${where}`;
  });
  return eventSource(tables.join(' union all '));
}

/** How many rows a unit has, and how many of them came after a transaction id. */
export interface UnitTraces {
  readonly rows: bigint;
  readonly fresh: bigint;
}

/**
 * Looks at every row of a unit without its content. Whoever changes a row, whatever triggers he switches off, leaves a new
 * version of it, and that has a younger transaction; whoever deletes one leaves one less.
 * @param horizon every transaction below it had ended when the unit was read
 */
export function readTraces(client: SqlClient, unit: StableUnit, horizon: bigint): Promise<UnitTraces> {
  return queryOne(
    client,
    z.object({ rows: z.bigint(), fresh: z.bigint() }),
    `select count(*) as rows, count(*) filter (where age(e.xmin) <= age($1::text::xid)) as fresh
       from ${unit.parent} e where ${within(unit)}`,
    [String(horizon % 2n ** 32n)],
  );
}

function within({ from, to }: Pick<StableUnit, 'from' | 'to'>): string {
  return `(e.event_timestamp >= ${literal(from)} and e.event_timestamp < ${literal(to)})`;
}

/** Everything that within() does not cover, with open ends. */
function outside(units: readonly StableUnit[]): string {
  const sorted = [...units].sort((a, b) => (a.from < b.from ? -1 : 1));
  const parts: string[] = [];
  let end: bigint | null = null;
  for (const { from, to } of sorted) {
    if (end === null) parts.push(`e.event_timestamp < ${literal(from)}`);
    else if (end < from) parts.push(within({ from: end, to: from }));
    end = to;
  }
  if (end !== null) parts.push(`e.event_timestamp >= ${literal(end)}`);
  return `(${[...parts, 'e.event_timestamp is null'].join(' or ')})`;
}

/** The bounds are numbers that we computed: COPY takes no parameters. */
function literal(micros: bigint): string {
  return `'${microsText(micros)}'::timestamptz`;
}
