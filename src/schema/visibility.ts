/**
 * Proves that row-level security hides nothing from the role that asks. A filtered table looks empty, not forbidden, so
 * only rows that are known to be there can tell: ops.plant_canaries puts one into each table, and the transaction that
 * looks for them is rolled back, so that no canary is ever counted as a user.
 */
import { z } from 'zod';
import type { SqlClient } from '../db/database.ts';
import { sqlStateOf } from '../db/errors.ts';
import { quoteIdentifier } from '../db/identifier.ts';
import { execute, queryOne, queryRows } from '../db/query.ts';
import { AuditkeepError } from '../errors.ts';

const plantedShape = z.object({ schema: z.string(), table: z.string(), id: z.string() });

/**
 * Looks for one known row in every table under forced row-level security, as the connection's role (the engine's) and as
 * the owner of the report views.
 * Changes nothing. Must not be called inside a transaction.
 * @throws DB_ROWS_HIDDEN naming the tables whose rows the role does not see
 */
export async function checkVisibility(client: SqlClient): Promise<void> {
  await execute(client, 'begin');
  let hidden: string[];
  try {
    hidden = await findHidden(client);
  } catch (error) {
    // The owner, as whom the canaries are planted, may be filtered too: PostgreSQL names the table.
    if (sqlStateOf(error) === '42501' && error instanceof Error) throw rowsHidden([error.message], error);
    throw error;
  } finally {
    await execute(client, 'rollback');
  }
  if (hidden.length > 0) throw rowsHidden(hidden);
}

async function findHidden(client: SqlClient): Promise<string[]> {
  const planted = await queryRows(
    client,
    plantedShape,
    'select schema_name as schema, table_name as table, id from ops.plant_canaries()',
  );
  const hidden: string[] = [];
  for (const { schema, table, id } of planted) {
    const seen = await queryOne(
      client,
      z.object({ directly: z.boolean(), inReports: z.boolean() }),
      `select exists (select from ${quoteIdentifier(schema, table)} where id = $1::uuid) as directly,
              $2::text in (select facts.seen_canaries($1::uuid)) as "inReports"`,
      [id, `${schema}.${table}`],
    );
    if (!seen.directly || !seen.inReports) hidden.push(`${schema}.${table}`);
  }
  return hidden;
}

function rowsHidden(hidden: readonly string[], cause?: unknown): AuditkeepError {
  return new AuditkeepError('DB_ROWS_HIDDEN', {
    message: `row-level security hides rows from the engine: ${hidden.join(', ')}`,
    hint: 'as a superuser give auditkeep_owner, auditkeep_engine and auditkeep_view BYPASSRLS, or restore the policies auditkeep_access (docs/guide/dba.md)',
    details: { hidden },
    cause,
  });
}
