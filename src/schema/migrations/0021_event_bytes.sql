-- audit-event/v1 a second time, in SQL: an implementation of docs/spec/audit-event-v1.md that shares nothing with the
-- TypeScript one, so that tests can hold the two against each other, and an auditor can recompute a leaf in psql.
-- Breaks nothing: functions only.

create function audit.frame(value bytea) returns bytea
language sql immutable
set search_path = pg_catalog, pg_temp
return case when value is null then '\xffffffff'::bytea else int4send(octet_length(value)) || value end;

create function audit.frame_text(value text) returns bytea
language sql stable
set search_path = pg_catalog, pg_temp
return audit.frame(convert_to(value, 'UTF8'));

create function audit.event_commitment(event audit.audit_log, event_group text) returns bytea
language sql stable
set search_path = pg_catalog, pg_temp
return case event_group
  when 'actor' then case when event.actor_salt is null
    then (select e.commitment from audit.erasure e where e.event_id = event.id and e.event_group = 'actor')
    else public.hmac(
      convert_to(e'auditkeep-event/v1/actor\n', 'UTF8')
        || audit.frame(uuid_send(event.user_id)) || audit.frame_text(event.user_email::text)
        || audit.frame_text(to_jsonb(event.user_roles)::text) || audit.frame(uuid_send(event.session_id))
        || audit.frame_text(event.ip_address::text) || audit.frame_text(event.user_agent::text)
        || audit.frame_text(event.actor_envelope::text),
      event.actor_salt, 'sha256') end
  when 'payload' then case when event.payload_salt is null
    then (select e.commitment from audit.erasure e where e.event_id = event.id and e.event_group = 'payload')
    else public.hmac(
      convert_to(e'auditkeep-event/v1/payload\n', 'UTF8')
        || audit.frame_text(event.resource_id::text) || audit.frame_text(event.resource_path::text)
        || audit.frame_text(event.old_values::text) || audit.frame_text(event.new_values::text)
        || audit.frame_text(event.additional_data::text) || audit.frame_text(event.error_message::text)
        || audit.frame_text(event.payload_envelope::text),
      event.payload_salt, 'sha256') end
end;

create function audit.event_entry(event audit.audit_log) returns bytea
language sql stable
set search_path = pg_catalog, pg_temp
return convert_to(e'auditkeep-event/v1\n', 'UTF8')
  || audit.frame(uuid_send(event.id)) || audit.frame(timestamptz_send(event.event_timestamp))
  || audit.frame_text(event.event_type::text) || audit.frame_text(event.event_category::text)
  || audit.frame_text(event.event_action::text) || audit.frame(uuid_send(event.request_id))
  || audit.frame(uuid_send(event.correlation_id)) || audit.frame_text(event.resource_type::text)
  || audit.frame_text(event.security_classification::text) || audit.frame_text(event.data_sensitivity::text)
  || audit.frame_text(event.result::text) || audit.frame_text(event.server_name::text)
  || audit.frame_text(event.service_name::text) || audit.frame_text(event.version::text)
  || audit.frame(audit.event_commitment(event, 'actor')) || audit.frame(audit.event_commitment(event, 'payload'));

create function audit.event_leaf(event audit.audit_log) returns bytea
language sql stable
set search_path = pg_catalog, pg_temp
return sha256('\x00'::bytea || audit.event_entry(event));

grant execute on function audit.frame(bytea), audit.frame_text(text), audit.event_commitment(audit.audit_log, text),
  audit.event_entry(audit.audit_log), audit.event_leaf(audit.audit_log) to auditkeep_engine;
