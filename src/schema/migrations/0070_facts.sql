-- Schema facts: what controls of compliance reports may read, and all that auditkeep_report may read. Views of
-- auditkeep_view, which bypasses row-level security, so that no row hides from a control. They carry ids, states and
-- times: no name, e-mail address, secret or payload. Breaks nothing: new views.

grant usage on schema audit, ops, compliance, retention, security_internal, security_confidential, security_secret
  to auditkeep_view;
grant select on
  security_confidential.users, security_internal.roles, security_internal.user_roles, security_internal.jwt_tokens,
  security_internal.user_sessions, security_secret.encryption_keys, security_confidential.transactions,
  audit.compliance_reports, compliance.decision, ops.migration
  to auditkeep_view;

-- Makes what stands for an actor without an id a keyed digest: a plain one is reversed by hashing a list of addresses.
-- Random, of this installation, and for the view's owner alone: neither the engine nor a control can read it.
create table privacy.actor_salt (
  one boolean primary key default true check (one),
  salt bytea not null default public.gen_random_bytes(32) check (octet_length(salt) = 32)
);
insert into privacy.actor_salt default values;
grant usage on schema privacy to auditkeep_view;
grant select on privacy.actor_salt to auditkeep_view;

set local role auditkeep_view;

create view facts.installation as
  select max(m.name)::text as schema_version from ops.migration m;

-- Hot, archived and late events. actor_key stands for the actor, also where the source gave an address and no id, and
-- reports show it as a pseudonym. A salt of zero rows gives no key at all rather than a bare digest.
create view facts.event as
  select e.id as event_id, e.event_timestamp, e.event_type::text, e.event_category::text, e.event_action::text,
         e.user_id as account_id,
         coalesce(e.user_id::text,
                  'address:' || encode(public.hmac(convert_to(lower(e.user_email), 'UTF8'),
                                                   (select s.salt from privacy.actor_salt s), 'sha256'), 'hex')) as actor_key,
         e.result::text, e.resource_type::text, e.data_sensitivity::text, e.service_name::text, e.origin
    from audit.audit_log_all e;

create view facts.security_event as
  select s.id as security_event_id, s.event_timestamp, s.event_type::text, s.severity::text, s.category::text,
         s.source_user_id as account_id, s.blocked, s.investigated, s.investigation_started, s.resolved_at,
         s.false_positive, s.origin
    from audit.security_events_log_all s;

create view facts.data_access as
  select d.id as access_id, d.accessed_at, d.user_id as account_id, d.table_name::text, d.access_type::text,
         d.access_granted, d.access_reason is not null as has_reason, d.data_classification::text,
         d.retention_category::text, d.origin
    from audit.data_access_log_all d;

create view facts.account as
  select u.id as account_id, coalesce(u.account_status, 'active')::text as status,
         coalesce(u.mfa_enabled, false) as mfa_enabled, coalesce(u.password_iterations, 0) as password_iterations,
         u.password_last_changed, u.failed_login_attempts, u.lockout_until, u.last_login, u.created_at
    from security_confidential.users u;

-- A role is privileged when the applications ship it as a system role, or it may administrate or do everything.
create view facts.role_grant as
  select g.id as grant_id, g.user_id as account_id, r.name::text as role_name, g.granted_by, g.granted_at, g.expires_at,
         coalesce(g.is_active, false) as is_active,
         coalesce(r.is_system_role, false) or r.name ~* 'admin'
           or coalesce('*' = any (r.permissions) or array_to_string(r.permissions, ' ') ~* 'admin', false) as is_privileged
    from security_internal.user_roles g
    join security_internal.roles r on r.id = g.role_id;

create view facts.token as
  select t.id as token_id, t.user_id as account_id, t.token_type::text, t.issued_at, t.expires_at, t.revoked_at,
         coalesce(t.is_active, false) as is_active
    from security_internal.jwt_tokens t;

create view facts.session as
  select s.id as session_id, s.user_id as account_id, s.created_at, s.last_activity, s.expires_at,
         coalesce(s.is_active, false) as is_active
    from security_internal.user_sessions s;

create view facts.encryption_key as
  select k.key_id::text, k.key_type::text, k.purpose::text, k.data_class::text, k.algorithm::text, k.status::text,
         k.created_at, k.rotated_at, k.expires_at, k.rotation_interval_hours, k.epoch_day
    from security_secret.encryption_keys k;

create view facts.stored_transaction as
  select t.id as transaction_id, coalesce(t.anonymized, false) as anonymized, t.anonymization_level, t.status::text, t.created_at, t.confirmed_at,
         coalesce(t.confirmed_at, t.created_at) as effective_at,
         t.user_id is not null as names_user,
         t.from_address_encrypted is not null or t.to_address_encrypted is not null
           or t.value_encrypted is not null as holds_details
    from security_confidential.transactions t;

create view facts.chain_link as
  select l.seq, l.event_id, l.event_timestamp from audit.chain_link l;

create view facts.chain_head as
  select h.size, encode(h.chain_hash, 'hex') as chain_hash, h.incarnation, h.sealed_at from audit.chain_head h;

create view facts.checkpoint as
  select c.origin as log_origin, c.size, encode(c.root, 'hex') as root, c.signed_at from audit.checkpoint c;

create view facts.retention_unit as
  select u.unit_id, u.table_name, u.category, u.lower_bound, u.upper_bound, u.generation, u.relation_name, u.state, u.held,
         u.sealed_at, u.archived_at
    from retention.unit u;

create view facts.job_run as
  select r.id as run_id, r.job, r.attempt, r.queue_job_id, r.due_at, r.started_at, r.finished_at, r.outcome, r.error_code
    from ops.run r;

create view facts.report as
  select r.id as report_id, r.report_root, r.version, r.compliance_framework::text as framework, r.status::text,
         r.period_start_at, r.period_end_at, r.generated_at, r.generated_by, r.reviewed_by, r.reviewed_at, r.approved_by,
         r.approved_at, r.archive_reason
    from audit.compliance_reports r;

create view facts.decision as
  select d.id as decision_id, d.object_id as report_id, d.object_root as report_root, d.meaning, d.from_status, d.to_status,
         d.person_id, d.part, d.decided_at
    from compliance.decision d;

grant usage on schema facts to auditkeep_report, auditkeep_engine, auditkeep_owner;
grant select on all tables in schema facts to auditkeep_report;
grant create on schema facts to auditkeep_owner;
set local role auditkeep_owner;
