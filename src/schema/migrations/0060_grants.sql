-- Who may do what with the tables outside the partitioned families. Tables are named one by one: GRANT ... ON ALL TABLES
-- would reach partitions, links of the chain, wrapped keys and decisions, which no application role may touch.
-- Breaks nothing: no role had a right before.

grant usage on schema security_public to app_readonly_role, app_readwrite_role, app_admin_role;
grant usage on schema security_internal to app_readwrite_role, app_admin_role, authenticated_users, admin_role;
grant usage on schema security_confidential to app_admin_role, authenticated_users, admin_role;
grant usage on schema security_secret to app_admin_role;

-- These two schemas hold neither partitions nor guarded tables, so a later table may get its rights by itself.
alter default privileges for role auditkeep_owner in schema security_public
  grant select on tables to app_readonly_role, app_readwrite_role, app_admin_role;
alter default privileges for role auditkeep_owner in schema security_confidential
  grant select, insert, update, delete on tables to app_admin_role;

grant select, insert, update on
  security_internal.roles, security_internal.user_roles, security_internal.jwt_tokens,
  security_internal.user_sessions, security_internal.security_policies, security_internal.rate_limit_state,
  security_internal.security_threats, security_internal.sgx_executions, security_internal.services,
  security_internal.api_endpoints, security_internal.blockchain_networks, security_internal.system_health
  to app_readwrite_role, app_admin_role;

-- Not ALL: TRUNCATE passes by row-level security, TRIGGER and REFERENCES would run an application's code as the writer.
grant select, insert, update, delete on
  security_confidential.users, security_confidential.service_configurations, security_confidential.smart_contracts,
  security_confidential.transactions, security_secret.sgx_enclaves, security_secret.sgx_sealed_data
  to app_admin_role;

-- States of keys change in the key functions only.
grant select on security_secret.encryption_keys to app_admin_role;

-- Row-level security narrows these to a user's own rows, and to all rows for an administrator.
grant select on
  security_confidential.users, security_confidential.transactions, security_internal.user_roles,
  security_internal.user_sessions, security_internal.jwt_tokens
  to authenticated_users;
grant select, insert, update, delete on
  security_confidential.users, security_confidential.transactions, security_internal.user_roles,
  security_internal.user_sessions, security_internal.jwt_tokens
  to admin_role;

-- The engine reads what it reports on; it writes here only what import brings in.
grant select on
  security_confidential.users, security_confidential.service_configurations, security_confidential.smart_contracts,
  security_confidential.transactions, security_internal.roles, security_internal.user_roles,
  security_internal.jwt_tokens, security_internal.user_sessions, security_internal.security_policies,
  security_internal.rate_limit_state, security_internal.security_threats, security_internal.sgx_executions,
  security_internal.services, security_internal.api_endpoints, security_internal.blockchain_networks,
  security_internal.system_health, security_secret.encryption_keys, security_secret.sgx_enclaves,
  security_secret.sgx_sealed_data
  to auditkeep_engine;
grant insert on security_internal.blockchain_networks, security_confidential.transactions to auditkeep_engine;

-- Every start compares the migrations of the database with those of the release.
grant select on ops.migration to auditkeep_engine;

-- The seed's audit_role reads every table of the schema; the partitioned families have their grants in 0017. What is in
-- a report is an envelope: a reader of this table sees who decided and when, not the content.
grant usage on schema audit to audit_role;
grant select on audit.compliance_reports to audit_role;
