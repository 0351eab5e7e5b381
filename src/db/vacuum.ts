/** VACUUM as the maintenance login. It cannot run in a function or a transaction, and says in warnings what it left. */
import { z } from 'zod';
import { type Database, openDatabase, type SqlClient } from './database.ts';
import { quoteIdentifier } from './identifier.ts';
import { queryOne } from './query.ts';
import { isSameDatabase } from './same-database.ts';

export interface Vacuumed {
  readonly schema: string;
  readonly table: string;
  /** Null when no dead row is left; otherwise why old versions of rows may still be on disk. */
  readonly left: string | null;
}

/**
 * Takes dead rows out of tables and their indexes, one by one. A warning (PostgreSQL skips what the login does not own
 * with no more than that) and rows that an old snapshot still sees count as left, and everything where the url leads to
 * another database than the one whose rows it is about.
 * @throws DB_UNREACHABLE, DB_AUTHENTICATION, DB_PRIVILEGE
 */
export async function vacuumTables(
  of: Database,
  url: string,
  tables: readonly { readonly schema: string; readonly table: string }[],
): Promise<Vacuumed[]> {
  const db = openDatabase({ url, applicationName: 'auditkeep-vacuum', maxConnections: 1 });
  try {
    if (!(await isSameDatabase(of, db))) {
      return tables.map((place) => ({ ...place, left: 'the maintenance login is one of another database' }));
    }
    return await db.withClient(async (client) => {
      const done: Vacuumed[] = [];
      for (const place of tables) done.push({ ...place, left: await vacuumTable(client, place) });
      return done;
    });
  } finally {
    await db.end();
  }
}

async function vacuumTable(
  client: SqlClient,
  { schema, table }: { readonly schema: string; readonly table: string },
): Promise<string | null> {
  const warnings: string[] = [];
  const hear = (notice: { readonly severity?: string | undefined; readonly message?: string | undefined }) => {
    if (notice.severity !== 'INFO') warnings.push(notice.message ?? 'a warning without words');
  };
  client.on('notice', hear);
  try {
    // Without index_cleanup a few dead rows would be left in the indexes.
    await client.query(`vacuum (index_cleanup on) ${quoteIdentifier(schema, table)}`);
  } finally {
    client.off('notice', hear);
  }
  const [warning] = warnings;
  if (warning !== undefined) return warning;
  const { dead } = await queryOne(
    client,
    z.object({ dead: z.bigint() }),
    `select pg_catalog.pg_stat_get_dead_tuples(c.oid) as dead
       from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      where n.nspname = $1::text and c.relname = $2::text`,
    [schema, table],
  );
  return dead === 0n ? null : `${dead} dead rows are still visible to an older transaction`;
}
