-- The seed's roles on the partitioned families: applications append, auditors read, analysts read and keep their notes.
-- Grants are on parents, late tables and views; no partition has one. No default privileges here: they would reach every
-- future partition and guarded table of the schema.
-- Breaks nothing: no role had a right before.

grant usage on schema audit to audit_role, security_analyst_role, app_readwrite_role, app_admin_role;

grant select on
  audit.audit_log, audit.audit_log_archive, audit.audit_log_late, audit.audit_log_all,
  audit.data_access_log, audit.data_access_log_archive, audit.data_access_log_late, audit.data_access_log_all,
  audit.security_events_log, audit.security_events_log_archive, audit.security_events_log_late,
  audit.security_events_log_all
  to audit_role, security_analyst_role;
-- What is in a report is an envelope: a reader of this table sees who decided and when, not the content.
grant select on audit.compliance_reports to audit_role;

-- The leaf's trigger lets these columns change until its partition is sealed, and nothing else ever.
grant update (investigated, false_positive, analyst_notes, incident_id, investigation_started, resolved_at)
  on audit.security_events_log to security_analyst_role;

-- Salts, txid and hash_version stay the database's own, so that no writer can choose them.
grant insert (id, event_type, event_category, event_action, user_id, user_email, user_roles, session_id, ip_address,
  user_agent, request_id, correlation_id, resource_type, resource_id, resource_path, old_values, new_values,
  security_classification, data_sensitivity, result, error_message, event_timestamp, server_name, service_name, version,
  additional_data, event_hash, previous_event_hash, actor_envelope, payload_envelope)
  on audit.audit_log to app_readwrite_role, app_admin_role;
-- Enough for RETURNING and a conflict target.
grant select (event_timestamp, id) on audit.audit_log to app_readwrite_role, app_admin_role;
grant insert, select (accessed_at, retention_category, id)
  on audit.data_access_log to app_readwrite_role, app_admin_role;
grant insert, select (event_timestamp, id) on audit.security_events_log to app_readwrite_role, app_admin_role;

-- The seed's SELECT, INSERT, UPDATE on security_internal without UPDATE, which the leaves refuse to everybody.
grant select, insert on security_internal.performance_metrics, security_internal.distributed_traces
  to app_readwrite_role, app_admin_role;
