-- Hot, archived and late rows of each family as one relation; origin says where a row lies. Aged rows leave the hot
-- tables and nobody who reads these views notices. security_events_log.archived is true in the archive by this view.
-- Breaks nothing: views only.
create view audit.audit_log_all as
  select h.*, 'hot'::text as origin from audit.audit_log h
  union all select a.*, 'archive'::text from audit.audit_log_archive a
  union all select l.*, 'late'::text from audit.audit_log_late l;

create view audit.data_access_log_all as
  select h.*, 'hot'::text as origin from audit.data_access_log h
  union all select a.*, 'archive'::text from audit.data_access_log_archive a
  union all select l.*, 'late'::text from audit.data_access_log_late l;

create view audit.security_events_log_all as
  select h.*, 'hot'::text as origin from audit.security_events_log h
  union all
  select a.id, a.event_type, a.severity, a.category, a.source_ip, a.source_user_id, a.source_service, a.source_component,
         a.event_description, a.threat_indicators, a.attack_vectors, a.automated_response, a.response_actions, a.blocked,
         a.investigated, a.false_positive, a.analyst_notes, a.incident_id, a.additional_context, a.correlation_id,
         a.event_timestamp, a.investigation_started, a.resolved_at, a.retention_days, true as archived, 'archive'::text
    from audit.security_events_log_archive a
  union all select l.*, 'late'::text from audit.security_events_log_late l;

create view security_internal.performance_metrics_all as
  select h.*, 'hot'::text as origin from security_internal.performance_metrics h
  union all select a.*, 'archive'::text from security_internal.performance_metrics_archive a
  union all select l.*, 'late'::text from security_internal.performance_metrics_late l;

create view security_internal.distributed_traces_all as
  select h.*, 'hot'::text as origin from security_internal.distributed_traces h
  union all select a.*, 'archive'::text from security_internal.distributed_traces_archive a
  union all select l.*, 'late'::text from security_internal.distributed_traces_late l;

grant select on audit.audit_log_all, audit.data_access_log_all, audit.security_events_log_all,
  security_internal.performance_metrics_all, security_internal.distributed_traces_all to auditkeep_engine, auditkeep_view;
