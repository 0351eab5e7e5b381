/** Rows under which every shipped control passes, and for each control the rows that make it fail, and only it. */
import type { Database } from '../../src/db/database.ts';

/** Rows that the base puts into each table with forced row-level security. */
export const BASE_COUNTS = { users: 3, user_roles: 1, jwt_tokens: 1, user_sessions: 1, transactions: 1 } as const;

const ADMIN = '10000000-0000-4000-8000-000000000001';
const CLERK = '10000000-0000-4000-8000-000000000002';
const GONE = '10000000-0000-4000-8000-000000000003';
const NETWORK = '20000000-0000-4000-8000-000000000001';
const REPORT = '30000000-0000-4000-8000-000000000001';

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

/** What the owner of the database can do and no role may: put an approved report there without the workflow. */
const forgeReport = (id: string) => [
  'alter table audit.compliance_reports disable trigger all',
  `insert into audit.compliance_reports
     (id, report_root, version, report_type, compliance_framework, report_period_start, report_period_end, period_zone,
      period_start_at, period_end_at, report_data_encrypted, report_hash, review_pdf_sha256, generated_by, engine_version,
      status, reviewed_by, reviewed_at, approved_by, approved_at)
   values ('${id}', '${id}', 1, 'framework', 'sox', '2026-01-01', '2026-01-31', 'UTC', '2026-01-01', '2026-02-01', 'x',
           repeat('0', 64), repeat('0', 64), gen_random_uuid(), '0', 'approved', gen_random_uuid(), now(),
           gen_random_uuid(), now())`,
  'alter table audit.compliance_reports enable trigger all',
];

const decisions = [
  'alter table compliance.decision disable trigger all',
  ...[
    ['submit', 'draft', 'pending_review', 'preparer'],
    ['review', 'pending_review', 'reviewed', 'reviewer'],
    ['approve', 'reviewed', 'approved', 'approver'],
  ].map(
    ([meaning, from, to, part]) =>
      `insert into compliance.decision (id, object_kind, object_id, object_root, meaning, from_status, to_status, person_id,
         part, key_fingerprint, payload, payload_sha256, previous_decision_sha256, signature, decided_at)
       values (gen_random_uuid(), 'report', '${REPORT}', '${REPORT}', '${meaning}', '${from}', '${to}', gen_random_uuid(),
         '${part}', 'x', '${meaning}', encode(sha256('${meaning}'), 'hex'), encode(sha256('before ${meaning}'), 'hex'),
         '-----BEGIN SSH SIGNATURE-----', now())`,
  ),
  'alter table compliance.decision enable trigger all',
];

/** For each control, changes after which it fails, and no other control changes its status. */
export const FAILING: Readonly<Record<string, readonly string[]>> = {
  'ac-02': [
    `insert into security_internal.user_sessions (user_id, session_token_hash, expires_at)
     values ('${GONE}', 'y', now() + interval '1 hour')`,
  ],
  'ac-03': ['update security_internal.user_roles set granted_by = user_id'],
  'ac-06': [`update security_confidential.users set password_iterations = 599999 where id = '${CLERK}'`],
  'ac-07': [`update security_internal.jwt_tokens set expires_at = now() - interval '1 minute'`],
  'ac-08': [
    `insert into audit.audit_log (event_type, event_category, event_action, user_id, result)
     select 'login', 'authentication', 'LOGIN', '${CLERK}', 'failure' from generate_series(1, 10)`,
  ],
  'ac-12': [`update security_confidential.users set mfa_enabled = false where id = '${ADMIN}'`],
  'lg-01': [
    `insert into audit.audit_log (event_type, event_category, event_action, event_timestamp)
     values ('unsealed', 'system', 'X', now() - interval '2 hours')`,
  ],
  'lg-03': [`select retention.create_partition('audit_log', '2019-05-01', '2019-06-01')`],
  'lg-05': forgeReport('30000000-0000-4000-8000-000000000002'),
  'op-01': [
    `select ops.finish_run(ops.start_run('archive', gen_random_uuid(), 1, null, now() - interval '2 hours'),
       now() - interval '1 hour', 'failed', 'x', '{}', 'DB_LOCKED')`,
  ],
  'op-03': [
    `insert into audit.security_events_log (event_type, severity, category, event_description, event_timestamp)
     values ('scan', 'critical', 'anomaly', 'x', now() - interval '4 days')`,
  ],
  'pr-01': [
    `insert into security_internal.user_sessions (user_id, session_token_hash, expires_at, is_active)
     values ('${CLERK}', 'y', now() - interval '31 days', false)`,
  ],
  'pr-06': [`update security_secret.encryption_keys set algorithm = 'DES-CBC' where key_id = 'key-1'`],
  'pr-07': [
    `insert into security_confidential.transactions (transaction_hash, network_id, value_encrypted, confirmed_at)
     values ('0xabc', '${NETWORK}', 'ak1.x', now() - interval '3 years')`,
  ],
};

/** How to take a change back; what is append-only stays and keeps failing. */
export const UNDOING: Readonly<Record<string, readonly string[]>> = {
  'ac-02': [`delete from security_internal.user_sessions where user_id = '${GONE}'`],
  'ac-03': [`update security_internal.user_roles set granted_by = '${CLERK}'`],
  'ac-06': ['update security_confidential.users set password_iterations = 600000'],
  'ac-07': [`update security_internal.jwt_tokens set expires_at = now() + interval '1 hour'`],
  'ac-12': [`update security_confidential.users set mfa_enabled = true where id = '${ADMIN}'`],
  'pr-01': ['delete from security_internal.user_sessions where not is_active'],
  'pr-06': [`update security_secret.encryption_keys set algorithm = 'AES-256-GCM' where key_id = 'key-1'`],
  'pr-07': [`delete from security_confidential.transactions where transaction_hash = '0xabc'`],
};

/** Inserts the base as the superuser. */
export const arrangeBase = (admin: Database) => runAll(admin, [...BASE, ...forgeReport(REPORT), ...decisions]);

/** Runs statements one after the other as the superuser. */
export function runAll(admin: Database, statements: readonly string[]): Promise<void> {
  return admin.withClient(async (client) => {
    for (const statement of statements) await client.query(statement);
  });
}
