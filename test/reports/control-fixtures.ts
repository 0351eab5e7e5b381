/** Rows for the tests of evaluation; those of the controls themselves are in templates/fixtures. */
import type { Database } from '../../src/db/database.ts';

/** Rows that the base puts into each table with forced row-level security. */
export const BASE_COUNTS = { users: 3, user_roles: 1, jwt_tokens: 1, user_sessions: 1, transactions: 1 } as const;

const ADMIN = '10000000-0000-4000-8000-000000000001';
const CLERK = '10000000-0000-4000-8000-000000000002';
const GONE = '10000000-0000-4000-8000-000000000003';
const NETWORK = '20000000-0000-4000-8000-000000000001';

const BASE = [
  `insert into security_confidential.users (id, username, email, password_hash, password_salt, account_status, mfa_enabled)
   values ('${ADMIN}', 'admin', 'admin@example.org', 'x', 'x', 'active', true),
          ('${CLERK}', 'clerk', 'clerk@example.org', 'x', 'x', 'active', false),
          ('${GONE}', 'gone', 'gone@example.org', 'x', 'x', 'disabled', false)`,
  `insert into security_internal.roles (id, name, is_system_role)
   values ('40000000-0000-4000-8000-000000000001', 'keeper', true)`,
  `insert into security_internal.user_roles (user_id, role_id, granted_by, expires_at)
   values ('${ADMIN}', '40000000-0000-4000-8000-000000000001', '${CLERK}', now() + interval '90 days')`,
  `insert into security_internal.jwt_tokens (user_id, token_hash, issued_at, expires_at)
   values ('${CLERK}', 'x', now(), now() + interval '1 hour')`,
  `insert into security_internal.user_sessions (user_id, session_token_hash, expires_at)
   values ('${CLERK}', 'x', now() + interval '1 hour')`,
  `insert into security_secret.encryption_keys (key_id, key_type) values ('key-1', 'DEK')`,
  `insert into security_internal.blockchain_networks (id, network_name, network_type, rpc_endpoints)
   values ('${NETWORK}', 'test', 'custom', '{}')`,
  `insert into security_confidential.transactions (transaction_hash, network_id, anonymization_level, confirmed_at)
   values ('s1.old', '${NETWORK}', 1, now() - interval '3 years')`,
  `insert into audit.audit_log (event_type, event_category, event_action, user_id, event_timestamp)
   values ('login', 'authentication', 'LOGIN', '${CLERK}', now() - interval '3 hours')`,
  `insert into audit.security_events_log
     (event_type, severity, category, event_description, event_timestamp, investigated, investigation_started)
   values ('scan', 'high', 'anomaly', 'x', now() - interval '5 days', true, now() - interval '4 days')`,
  `select ops.finish_run(ops.start_run('seal', gen_random_uuid(), 1, null, now() - interval '2 hours'),
     now() - interval '1 hour', 'done', 'x', '{}', null)`,
];

/** Inserts the base as the superuser. */
export const arrangeBase = (admin: Database) => runAll(admin, BASE);

/** Runs statements one after the other as the superuser. */
export function runAll(admin: Database, statements: readonly string[]): Promise<void> {
  return admin.withClient(async (client) => {
    for (const statement of statements) await client.query(statement);
  });
}
