/** Creates the roles, extensions and schemas that everything else stands on, as the installing login. */
import { readFile } from 'node:fs/promises';
import type { SqlClient } from '../db/database.ts';
import { transact } from '../db/transaction.ts';

/** Every role of the product itself. */
export const ROLES = {
  owner: 'auditkeep_owner',
  view: 'auditkeep_view',
  engine: 'auditkeep_engine',
  report: 'auditkeep_report',
  maint: 'auditkeep_maint',
} as const;

/** The seed's roles, for applications; nobody logs in as one. */
export const APPLICATION_ROLES = [
  'app_readonly_role',
  'app_readwrite_role',
  'app_admin_role',
  'audit_role',
  'security_analyst_role',
  'authenticated_users',
  'admin_role',
] as const;

/** Our schemas and who owns each. */
export const SCHEMAS = {
  security_public: ROLES.owner,
  security_internal: ROLES.owner,
  security_confidential: ROLES.owner,
  security_secret: ROLES.owner,
  audit: ROLES.owner,
  config: ROLES.owner,
  ops: ROLES.owner,
  retention: ROLES.owner,
  quarantine: ROLES.owner,
  privacy: ROLES.owner,
  compliance: ROLES.owner,
  facts: ROLES.view,
  /** pg-boss makes and upgrades what is in it. */
  pgboss: ROLES.owner,
} as const;

const TRIES = 5;

/**
 * Runs roles.sql in one transaction; safe to run again. The login needs what preflight.ts checks.
 * Roles are shared by the cluster while our lock is the database's, so two databases migrated at once can meet here:
 * the loser is told "tuple concurrently updated" and finds the work done when it tries again.
 */
export async function installRoles(client: SqlClient): Promise<void> {
  const sql = await readFile(new URL('./roles.sql', import.meta.url), 'utf8');
  for (let attempt = 1; ; attempt += 1) {
    try {
      await transact(client, () => client.query(sql));
      return;
    } catch (error) {
      if (attempt === TRIES || !(error instanceof Error) || !/concurrently updated/.test(error.message)) throw error;
    }
  }
}
