/** The retention module's queries: one function each. What they change goes through the guarded SQL functions. */
import { z } from 'zod';
import type { SqlClient } from '../db/database.ts';
import { quoteIdentifier } from '../db/identifier.ts';
import { queryOne, queryRows } from '../db/query.ts';
import { isoOf, parseInstant, type UtcInstant } from '../time/clock.ts';
import type { TimeRange } from './bounds.ts';
import { UNIT_STATES } from './edges.ts';
import { type BranchFacts, FAULTS, type Fault, type LeafFacts, type UnitFacts } from './facts.ts';
import { FAMILIES, type FamilyName } from './policy.ts';

const familyShape = z.enum(FAMILIES);
const unitShape = {
  unit_id: z.bigint(),
  state: z.enum(UNIT_STATES),
  held: z.boolean(),
  diverted: z.boolean(),
  row_count: z.bigint().nullable(),
  archived_at: z.string().nullable(),
  expires_at: z.string().nullable(),
};
const leafShape = z.object({
  table_name: familyShape,
  category: z.string(),
  schema_name: z.string(),
  hot_parent: z.string(),
  relation_name: z.string(),
  lower_bound: z.string().nullable(),
  upper_bound: z.string().nullable(),
  tombstone: z.boolean(),
  size_bytes: z.bigint().nullable(),
  estimated_rows: z.bigint(),
  unit: z.boolean(),
  ...{
    ...unitShape,
    unit_id: z.bigint().nullable(),
    state: z.enum(UNIT_STATES).nullable(),
    held: z.boolean().nullable(),
  },
});

/** What the catalog says about every branch: its leaves, lowest first, with bounds as PostgreSQL has them. */
export async function readBranches(client: SqlClient): Promise<readonly BranchFacts[]> {
  const rows = await queryRows(
    client,
    leafShape,
    `select b.table_name, b.category, f.schema_name, b.hot_parent, l.relation_name,
            l.lower_bound, l.upper_bound, l.tombstone,
            pg_catalog.pg_total_relation_size(l.relation) as size_bytes,
            greatest(c.reltuples, 0)::bigint as estimated_rows,
            u.unit_id is not null as unit, u.unit_id, u.state,
            retention.is_held(u.unit_id) as held, u.diverted_at is not null as diverted,
            u.row_count, u.archived_at, u.expires_at
       from retention.branch b
       join retention.family f on f.table_name = b.table_name
      cross join lateral retention.leaves(pg_catalog.format('%I.%I', f.schema_name, b.hot_parent)::regclass) l
       join pg_catalog.pg_class c on c.oid = l.relation
       left join retention.unit u on u.schema_name = f.schema_name and u.relation_name = l.relation_name
      order by b.table_name, b.category, l.lower_bound`,
  );
  const branches = new Map<string, BranchFacts & { leaves: LeafFacts[] }>();
  for (const row of rows) {
    const key = `${row.table_name}/${row.category}`;
    const branch = branches.get(key) ?? {
      table: row.table_name,
      category: row.category === '' ? null : row.category,
      parent: row.hot_parent,
      leaves: [],
    };
    branches.set(key, branch);
    branch.leaves.push(leafOf(row));
  }
  return [...branches.values()];
}

const faultShape = z.object({ relation: z.string(), fault: z.enum(FAULTS) });

/** What is wrong with hot partitions, by `schema.table`. */
export async function readFaults(client: SqlClient): Promise<ReadonlyMap<string, readonly Fault[]>> {
  const rows = await queryRows(
    client,
    faultShape,
    `select f.schema_name || '.' || p.relation_name as relation, p.fault
       from retention.partition_faults() p join retention.family f on f.table_name = p.table_name
      order by 1, 2`,
  );
  const faults = new Map<string, Fault[]>();
  for (const { relation, fault } of rows) faults.set(relation, [...(faults.get(relation) ?? []), fault]);
  return faults;
}

function leafOf(row: z.infer<typeof leafShape>): LeafFacts {
  const { unit_id: unitId, state, held } = row;
  return {
    name: row.relation_name,
    relation: `${row.schema_name}.${row.relation_name}`,
    from: boundOf(row.lower_bound),
    to: boundOf(row.upper_bound),
    tombstone: row.tombstone,
    sizeBytes: row.size_bytes ?? 0n,
    estimatedRows: row.estimated_rows,
    unit:
      unitId === null || state === null || held === null
        ? null
        : { unitId, state, held, diverted: row.diverted, rows: row.row_count, expiresAt: boundOf(row.expires_at) },
  };
}

/** MINVALUE and MAXVALUE are no instants. */
function boundOf(text: string | null): UtcInstant | null {
  if (text === null || text === '-infinity' || text === 'infinity') return null;
  const instant = parseInstant(text);
  if (instant === null) throw new Error(`not a partition bound: ${text}`);
  return instant;
}

const listedShape = z.object({
  table_name: familyShape,
  category: z.string(),
  schema_name: z.string(),
  relation_name: z.string(),
  lower_bound: z.string(),
  upper_bound: z.string(),
  ...unitShape,
});

/** Every unit of a table (of all, when null), oldest first, wherever its rows lie. */
export async function readUnits(client: SqlClient, table: FamilyName | null): Promise<readonly UnitFacts[]> {
  const rows = await queryRows(
    client,
    listedShape,
    `select u.table_name, u.category, u.schema_name, u.relation_name, u.lower_bound, u.upper_bound, u.unit_id, u.state,
            retention.is_held(u.unit_id) as held, u.diverted_at is not null as diverted, u.row_count, u.archived_at,
            u.expires_at
       from retention.unit u
      where $1::text is null or u.table_name = $1::text
      order by u.table_name, u.category, u.lower_bound`,
    [table],
  );
  return rows.map((row) => ({
    unitId: row.unit_id,
    table: row.table_name,
    category: row.category === '' ? null : row.category,
    relation: `${row.schema_name}.${row.relation_name}`,
    from: boundOf(row.lower_bound),
    to: boundOf(row.upper_bound),
    state: row.state,
    held: row.held,
    diverted: row.diverted,
    rows: row.row_count,
    archivedAt: row.archived_at,
    expiresAt: boundOf(row.expires_at),
  }));
}

const PARENTS = {
  audit_log: { schema: 'audit', time: 'event_timestamp', category: null },
  data_access_log: { schema: 'audit', time: 'accessed_at', category: 'retention_category' },
  security_events_log: { schema: 'audit', time: 'event_timestamp', category: null },
  performance_metrics: { schema: 'security_internal', time: 'timestamp', category: 'aggregation_period' },
  distributed_traces: { schema: 'security_internal', time: 'start_time', category: null },
} as const satisfies Record<FamilyName, { schema: string; time: string; category: string | null }>;

/** Rows of a hot range, read through the parent: nobody has a right on a partition. */
export async function countRows(
  client: SqlClient,
  unit: { table: FamilyName; category: string | null; from: UtcInstant | null; to: UtcInstant },
): Promise<bigint> {
  const parent = PARENTS[unit.table];
  const time = quoteIdentifier(parent.time);
  const filter = parent.category === null ? '$3::text is null' : `${quoteIdentifier(parent.category)} = $3::text`;
  const { rows } = await queryOne(
    client,
    z.object({ rows: z.bigint() }),
    `select count(*) as rows from ${quoteIdentifier(parent.schema, unit.table)}
      where ${time} >= $1::timestamptz and ${time} < $2::timestamptz and ${filter}`,
    [unit.from === null ? '-infinity' : isoOf(unit.from), isoOf(unit.to), unit.category],
  );
  return rows;
}

/** Makes one partition; false when it exists already. */
export async function createPartition(
  client: SqlClient,
  table: FamilyName,
  category: string | null,
  range: TimeRange,
): Promise<boolean> {
  const { made } = await queryOne(
    client,
    z.object({ made: z.boolean() }),
    'select retention.create_partition($1::text, $2::timestamptz, $3::timestamptz, $4::text) as made',
    [table, isoOf(range.from), isoOf(range.to), category ?? ''],
  );
  return made;
}

/** Fills a gap between two partitions; false when it is filled already. */
export async function fillGap(
  client: SqlClient,
  table: FamilyName,
  category: string | null,
  range: TimeRange,
): Promise<boolean> {
  const { filled } = await queryOne(
    client,
    z.object({ filled: z.boolean() }),
    'select retention.fill_gap($1::text, $2::timestamptz, $3::timestamptz, $4::text) as filled',
    [table, isoOf(range.from), isoOf(range.to), category ?? ''],
  );
  return filled;
}

/** Moves a DEFAULT partition's rows to where they belong and drops it; null where there is none. */
export async function repairDefault(
  client: SqlClient,
  table: FamilyName,
  category: string | null,
): Promise<bigint | null> {
  const text = 'select retention.repair_default($1::text, $2::text) as moved';
  return (await queryOne(client, z.object({ moved: z.bigint().nullable() }), text, [table, category ?? ''])).moved;
}

/** Makes a foreign partition a unit, its CHECK not yet proven; false when it is one already. */
export async function adoptPartition(
  client: SqlClient,
  table: FamilyName,
  category: string | null,
  name: string,
): Promise<boolean> {
  const { adopted } = await queryOne(
    client,
    z.object({ adopted: z.boolean() }),
    'select retention.adopt_partition($1::text, $2::text, $3::text) as adopted',
    [table, name, category ?? ''],
  );
  return adopted;
}

/** Proves an adopted partition's CHECK. Scans it. */
export async function proveBounds(client: SqlClient, table: FamilyName, name: string): Promise<void> {
  await client.query('select retention.prove_bounds($1::text, $2::text)', [table, name]);
}

const sealShape = z.object({
  state: z.enum(['hot', 'sealed']),
  diverted: z.boolean(),
  unlinked: z.number().nullable(),
  rows: z.number().nullable(),
  fingerprint: z.string().nullable(),
});

/** One step of sealing: the first call diverts new rows, a later one seals unless events still lack their link. */
export async function sealPartition(
  client: SqlClient,
  unit: { table: FamilyName; category: string | null; from: UtcInstant | null },
): Promise<z.infer<typeof sealShape>> {
  const { sealed } = await queryOne(
    client,
    z.object({ sealed: sealShape }),
    'select retention.seal_partition($1::text, $2::timestamptz, $3::text) as sealed',
    [unit.table, unit.from === null ? '-infinity' : isoOf(unit.from), unit.category ?? ''],
  );
  return sealed;
}

const moveShape = z.object({ unitId: z.number(), relation: z.string(), rows: z.number() });

/** Moves a sealed unit to the archive in the caller's transaction. */
export async function moveUnit(
  client: SqlClient,
  unit: { table: FamilyName; category: string | null; from: UtcInstant | null },
): Promise<z.infer<typeof moveShape>> {
  const { moved } = await queryOne(
    client,
    z.object({ moved: moveShape }),
    'select retention.move_unit($1::text, $2::timestamptz, $3::text) as moved',
    [unit.table, unit.from === null ? '-infinity' : isoOf(unit.from), unit.category ?? ''],
  );
  return moved;
}

/** Limits the next statements of this transaction; 0 lifts the limit. */
export async function limitStatements(client: SqlClient, timeoutMs: number): Promise<void> {
  await client.query(`select pg_catalog.set_config('statement_timeout', $1::text, true)`, [String(timeoutMs)]);
}
