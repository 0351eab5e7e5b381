/** Creates the roles, extensions and schemas that everything else stands on, as the installing login. */
import { readFile } from 'node:fs/promises';
import type { SqlClient } from '../db/database.ts';
import { transact } from '../db/transaction.ts';

/** Every role the product knows. */
export const ROLES = {
  owner: 'auditkeep_owner',
  view: 'auditkeep_view',
  engine: 'auditkeep_engine',
  report: 'auditkeep_report',
  maint: 'auditkeep_maint',
} as const;

/** Runs roles.sql in one transaction; safe to run again. The login needs CREATEROLE and CREATE on the database. */
export async function installRoles(client: SqlClient): Promise<void> {
  const sql = await readFile(new URL('./roles.sql', import.meta.url), 'utf8');
  await transact(client, async () => {
    await client.query(sql);
  });
}
