-- What the seed's application roles may do with the partitioned families: write events, read what they are for, change
-- nothing. The seed gave security_analyst_role ALL on audit, which lets an analyst delete the trail; here it reads and
-- writes the investigation columns of security events while their partition is hot. Column lists leave out what is the
-- database's own (salts, txid, hash_version, the hashes of the chain). Grants are on parents only. Breaks nothing.
grant usage on schema audit to audit_role, security_analyst_role, app_admin_role, app_readwrite_role;
grant usage on schema security_internal to app_readwrite_role, app_admin_role;

grant insert (id, event_type, event_category, event_action, user_id, user_email, user_roles, session_id, ip_address,
  user_agent, request_id, correlation_id, resource_type, resource_id, resource_path, old_values, new_values,
  security_classification, data_sensitivity, result, error_message, event_timestamp, server_name, service_name, version,
  additional_data, actor_envelope, payload_envelope)
  on audit.audit_log to app_readwrite_role, app_admin_role;
-- RETURNING and conflict targets need to read the key.
grant select (event_timestamp, id) on audit.audit_log to app_readwrite_role, app_admin_role;
grant insert on audit.data_access_log, audit.security_events_log to app_readwrite_role, app_admin_role;
grant select (accessed_at, retention_category, id) on audit.data_access_log to app_readwrite_role, app_admin_role;
grant select (event_timestamp, id) on audit.security_events_log to app_readwrite_role, app_admin_role;
grant select, insert on security_internal.performance_metrics, security_internal.distributed_traces
  to app_readwrite_role, app_admin_role;

grant select on audit.audit_log_all, audit.data_access_log_all, audit.security_events_log_all,
  audit.audit_log, audit.audit_log_archive, audit.audit_log_late,
  audit.data_access_log, audit.data_access_log_archive, audit.data_access_log_late,
  audit.security_events_log, audit.security_events_log_archive, audit.security_events_log_late
  to audit_role, security_analyst_role;
grant update (investigated, false_positive, analyst_notes, incident_id, investigation_started, resolved_at)
  on audit.security_events_log to security_analyst_role;
