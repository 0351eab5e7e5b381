/** Rows and questions that the retention tests share. */
import { join } from 'node:path';
import { pino } from 'pino';
import { z } from 'zod';
import { sealChain } from '../../src/audit/seal/seal.ts';
import type { Actor } from '../../src/context.ts';
import type { Database, SqlClient } from '../../src/db/database.ts';
import { queryOne, queryRows } from '../../src/db/query.ts';
import { ensurePartitions } from '../../src/retention/partition.ts';
import { parseInstant, systemClock, type UtcInstant } from '../../src/time/clock.ts';
import { TestClock } from '../support/context.ts';
import type { TestDatabase } from '../support/database.ts';

const actor: Actor = { kind: 'service', name: 'test' };

/** The narrow context of retention operations, on the machine's clock or one that stands at `now`. */
export function retentionContext(db: Database, now?: string) {
  return { db, actor, clock: now === undefined ? systemClock : new TestClock(now), log: pino({ level: 'silent' }) };
}

export function instant(text: string): UtcInstant {
  const parsed = parseInstant(text);
  if (parsed === null) throw new RangeError(`not an instant: ${text}`);
  return parsed;
}

/** Months that have partitions: `2023-01`. */
export async function ensureMonths(db: Database, months: readonly string[], now?: string) {
  const ctx = retentionContext(db, now);
  return await ensurePartitions(
    ctx,
    'audit_log',
    months.map((month) => instant(`${month}-01T00:00:00Z`)),
  );
}

/** Inserts events one second apart from an instant on, in one statement, as an application would. */
export async function insertEvents(client: SqlClient, from: string, count: number): Promise<void> {
  await client.query(
    `insert into audit.audit_log (event_type, event_category, event_action, event_timestamp, user_email, additional_data)
     select 'test', 'system', 'CREATE', $1::timestamptz + n * interval '1 second', 'a@example.org', '{"n": 1.0}'
       from generate_series(0, $2::int - 1) n`,
    [from, count],
  );
}

/** Links every event that is not linked yet, with the real sealer. */
export async function linkAll(db: Database): Promise<void> {
  // A home that never signed, so that nothing is known about the log outside the database.
  const config = { home: join(import.meta.dirname, 'no-home'), origin: 'test.example/audit', witnesses: [] };
  await sealChain({ ...retentionContext(db), config });
}

/** How many test events lie where. */
export async function countByOrigin(db: Database): Promise<Readonly<Record<string, number>>> {
  const rows = await db.withClient((client) =>
    queryRows(
      client,
      z.object({ origin: z.string(), rows: z.bigint() }),
      `select origin, count(*) as rows from audit.audit_log_all where event_type = 'test' group by origin`,
    ),
  );
  return Object.fromEntries(rows.map((row) => [row.origin, Number(row.rows)]));
}

/** The state of the unit of a relation. */
export async function stateOf(db: Database, relation: string): Promise<string> {
  return await db.withClient(async (client) => {
    const row = await queryOne(
      client,
      z.object({ state: z.string() }),
      'select state from retention.unit where relation_name = $1',
      [relation],
    );
    return row.state;
  });
}

/** One value of one row. */
export async function scalar<T>(db: Database, shape: z.ZodType<T>, text: string, values: string[] = []): Promise<T> {
  return await db.withClient(async (client) => {
    const row = await queryOne(client, z.object({ value: shape }), text, values);
    return row.value;
  });
}

/** Runs statements in one transaction that is always rolled back; gives the failure, or null when all passed. */
export async function failureOf(db: Database, ...statements: string[]): Promise<unknown> {
  return await db.withClient(async (client) => {
    await client.query('begin');
    try {
      for (const statement of statements) await client.query(statement);
      return null;
    } catch (error) {
      return error;
    } finally {
      await client.query('rollback');
    }
  });
}

/** As if the last run had been long ago: a branch's partitions are gone, its tombstone ends at `end`. */
export async function rewind(admin: Database, table: string, category: string, end: string): Promise<void> {
  await admin.withClient((client) => rewindIn(client, table, category, end));
}

/** The same over a superuser's connection, also within its transaction. */
export async function rewindIn(client: SqlClient, table: string, category: string, end: string): Promise<void> {
  await client.query("set session_replication_role = 'replica'");
  await client.query('alter table retention.unit disable trigger ak_unit_change');
  await client.query('delete from retention.unit where table_name = $1 and category = $2', [table, category]);
  await client.query('alter table retention.unit enable always trigger ak_unit_change');
  await client.query(
    `do $$ declare leaf record; b retention.branch; parent regclass; begin
       select * into strict b from retention.branch where table_name = '${table}' and category = '${category}';
       parent := (select format('%I.%I', f.schema_name, b.hot_parent)::regclass from retention.family f where f.table_name = b.table_name);
       for leaf in select * from retention.leaves(parent) loop execute format('drop table %s', leaf.relation); end loop;
       perform retention.add_tombstone(b, parent, '-infinity', '${end}');
       for leaf in select * from retention.leaves(parent) loop execute format('alter table %s owner to auditkeep_owner', leaf.relation); end loop;
     end $$`,
  );
  await client.query('reset session_replication_role');
}

/** The plan that `approve` stands for. */
export const PLAN = '00000000-0000-4000-8000-00000000aaaa';

/**
 * Takes an archived or due unit to purge_approved. In this database check_disposal asks nobody: who may approve is tested
 * elsewhere.
 */
export async function approve(db: Pick<TestDatabase, 'admin'>, unitId: bigint): Promise<void> {
  await db.admin.withClient(async (client) => {
    await client.query(`create or replace function retention.check_disposal(p_unit bigint, p_plan uuid) returns void
      language plpgsql set search_path = pg_catalog, pg_temp as $$ begin end $$`);
    await client.query(`update retention.unit set state = 'purge_due' where unit_id = $1 and state = 'archived'`, [
      String(unitId),
    ]);
    await client.query(`update retention.unit set state = 'purge_approved', plan_id = $2 where unit_id = $1`, [
      String(unitId),
      PLAN,
    ]);
  });
}
