-- Every event wherever it lies (hot, archive, late) with its place in the chain. event_hash and previous_event_hash are
-- the link's: in the table itself they stay NULL. A row that is not sealed yet has NULL in all four.
-- Breaks nothing: a view only.

create view audit.audit_log_sealed as
select e.id, e.event_type, e.event_category, e.event_action, e.user_id, e.user_email, e.user_roles, e.session_id,
       e.ip_address, e.user_agent, e.request_id, e.correlation_id, e.resource_type, e.resource_id, e.resource_path,
       e.old_values, e.new_values, e.security_classification, e.data_sensitivity, e.result, e.error_message,
       e.event_timestamp, e.server_name, e.service_name, e.version, e.additional_data,
       encode(l.chain_hash, 'hex')::char(64) as event_hash,
       case l.seq when 0 then repeat('0', 64) else encode(p.chain_hash, 'hex') end::char(64) as previous_event_hash,
       e.actor_envelope, e.payload_envelope, e.actor_salt, e.payload_salt, e.txid, e.hash_version,
       l.seq, l.leaf, e.origin
  from audit.audit_log_all e
  left join audit.chain_link l on l.event_id = e.id and l.event_timestamp = e.event_timestamp
  left join audit.chain_link p on p.seq = l.seq - 1;

grant select on audit.audit_log_sealed to auditkeep_engine, auditkeep_view;
