/** What fixtures do to a database: rows as the owner writes them, triggers off, and everything in one transaction. */
import { z } from 'zod';
import type { SqlClient } from '../db/database.ts';
import { quoteIdentifier } from '../db/identifier.ts';
import { execute, queryOne, queryRows, type SqlValue } from '../db/query.ts';
import type { FixtureCell, FixtureChange } from './fixture.ts';

/** The role that writes from here on, until the end of the transaction: the owner of the tables, or the controls' login. */
export async function actAs(client: SqlClient, role: 'auditkeep_owner' | 'auditkeep_report'): Promise<void> {
  await execute(client, `set local role ${quoteIdentifier(role)}`);
}

/** The transaction's own time as text, and the number of accounts and reports: none in a database that nobody uses. */
export function readStart(client: SqlClient): Promise<{ readonly now: string; readonly used: bigint }> {
  return queryOne(
    client,
    z.object({ now: z.string(), used: z.bigint() }),
    `select now()::text as now, (select count(*) from security_confidential.users)
       + (select count(*) from audit.compliance_reports) + (select count(*) from audit.audit_log) as used`,
  );
}

/** Rows are written as they are given, without what triggers of tables and their partitions would add or refuse. As the owner. */
export async function silenceTriggers(client: SqlClient, tables: Iterable<string>): Promise<void> {
  const found = await queryRows(
    client,
    z.object({ schema: z.string(), name: z.string() }),
    `select n.nspname::text as schema, c.relname::text as name
       from unnest($1::text[]) t(name)
      cross join lateral (select t.name::regclass as relid union select p.relid from pg_partition_tree(t.name::regclass) p) r
       join pg_class c on c.oid = r.relid
       join pg_namespace n on n.oid = c.relnamespace`,
    [[...tables]],
  );
  for (const { schema, name } of found) {
    await execute(client, `alter table ${quoteIdentifier(schema, name)} disable trigger user`);
  }
}

/** Empties, sets and inserts, in this order. */
export async function applyChange(client: SqlClient, change: FixtureChange): Promise<void> {
  for (const table of change.empty ?? []) await execute(client, `delete from ${quoted(table)}`);
  for (const [table, row] of Object.entries(change.set ?? {})) {
    const { columns, places, values } = placesOf(row);
    const assigned = columns.map((column, index) => `${column} = ${places[index]}`);
    await execute(client, `update ${quoted(table)} set ${assigned.join(', ')}`, values);
  }
  for (const [table, rows] of Object.entries(change.rows ?? {})) {
    for (const row of rows) {
      const { columns, places, values } = placesOf(row);
      const into = `insert into ${quoted(table)} (${columns.join(', ')}) overriding system value`;
      await execute(client, `${into} values (${places.join(', ')})`, values);
    }
  }
}

function quoted(table: string): string {
  return quoteIdentifier(...table.split('.'));
}

function placesOf(row: Readonly<Record<string, FixtureCell>>) {
  const values: SqlValue[] = [];
  const places = Object.values(row).map((cell) => {
    if (cell === null || typeof cell !== 'object') return `$${values.push(cell)}`;
    if ('ago' in cell) return `now() - $${values.push(cell.ago)}::interval`;
    if ('in' in cell) return `now() + $${values.push(cell.in)}::interval`;
    return `(now() at time zone 'UTC')::date - $${values.push(cell.day)}::integer`;
  });
  return { columns: Object.keys(row).map((column) => quoteIdentifier(column)), places, values };
}
