-- The five partitioned families of the seed, each with an archive of the same shape and a late table. Keys carry the
-- partition columns, time columns are NOT NULL, nothing refers to another table. Archives are made LIKE their hot
-- tables, so that ATTACH of a moved leaf finds nothing to scan or build. Breaks nothing: new tables only.

create table audit.audit_log (
  id                      uuid not null default gen_random_uuid(),
  event_type              varchar(64) not null,
  event_category          varchar(32) not null
    check (event_category in ('authentication', 'authorization', 'data_access', 'data_modification', 'system', 'security', 'admin')),
  event_action            varchar(64) not null,
  user_id                 uuid,
  user_email              varchar(256),
  user_roles              text[],
  session_id              uuid,
  ip_address              inet,
  user_agent              text,
  request_id              uuid,
  correlation_id          uuid,
  resource_type           varchar(64),
  resource_id             varchar(128),
  resource_path           varchar(512),
  old_values              jsonb,
  new_values              jsonb,
  security_classification varchar(32) default 'internal',
  data_sensitivity        varchar(32) default 'normal' check (data_sensitivity in ('normal', 'sensitive', 'highly_sensitive')),
  result                  varchar(32) default 'success' check (result in ('success', 'failure', 'error', 'partial')),
  error_message           text,
  event_timestamp         timestamptz not null default now()
    constraint audit_log_event_timestamp_check check (
      isfinite(event_timestamp)
      and event_timestamp >= '0001-01-01 00:00:00+00'::timestamptz
      and event_timestamp < '10000-01-01 00:00:00+00'::timestamptz),
  server_name             varchar(64),
  service_name            varchar(64),
  version                 varchar(32),
  additional_data         jsonb,
  event_hash              char(64),
  previous_event_hash     char(64),
  -- audit-event/v1: envelopes and salts of the two personal groups, the writer's transaction, the list of fields
  actor_envelope          text,
  payload_envelope        text,
  actor_salt              bytea default public.gen_random_bytes(16)
    constraint audit_log_actor_salt_check check (
      case when actor_salt is not null then octet_length(actor_salt) = 16
           else num_nonnulls(user_id, user_email, user_roles, session_id, ip_address, user_agent, actor_envelope) = 0 end),
  payload_salt            bytea default public.gen_random_bytes(16)
    constraint audit_log_payload_salt_check check (
      case when payload_salt is not null then octet_length(payload_salt) = 16
           else num_nonnulls(resource_id, resource_path, old_values, new_values, additional_data, error_message, payload_envelope) = 0 end),
  txid                    bigint not null default (pg_current_xact_id()::text::bigint),
  hash_version            smallint not null default 1,
  primary key (event_timestamp, id)
) partition by range (event_timestamp);
comment on table audit.audit_log is 'Events. Sealed into audit.chain_link by a job; never updated, never deleted but by retention.';

create index idx_audit_log_event_type on audit.audit_log (event_type);
create index idx_audit_log_user_id on audit.audit_log (user_id);
create index idx_audit_log_resource_type on audit.audit_log (resource_type);
create index idx_audit_log_correlation_id on audit.audit_log (correlation_id);
create index idx_audit_log_additional_data_gin on audit.audit_log using gin (additional_data);
create index idx_audit_log_event_action_fts on audit.audit_log using gin (to_tsvector('english', event_action));
create index idx_audit_log_txid on audit.audit_log (txid);

create table audit.data_access_log (
  id                  uuid not null default gen_random_uuid(),
  user_id             uuid,
  table_name          varchar(128) not null,
  column_names        text[],
  row_identifier      varchar(256),
  access_type         varchar(32) not null check (access_type in ('SELECT', 'INSERT', 'UPDATE', 'DELETE')),
  query_hash          char(64),
  data_classification varchar(32),
  access_granted      boolean default true,
  access_reason       varchar(256),
  session_id          uuid,
  request_id          uuid,
  ip_address          inet,
  execution_time_ms   integer,
  rows_affected       integer,
  accessed_at         timestamptz not null default now(),
  retention_category  varchar(32) default 'standard' check (retention_category in ('standard', 'extended', 'permanent')),
  primary key (accessed_at, retention_category, id)
) partition by list (retention_category);
create table audit.data_access_log_standard partition of audit.data_access_log
  for values in ('standard') partition by range (accessed_at);
create table audit.data_access_log_extended partition of audit.data_access_log
  for values in ('extended') partition by range (accessed_at);
create table audit.data_access_log_permanent partition of audit.data_access_log
  for values in ('permanent', null) partition by range (accessed_at);

create table audit.security_events_log (
  id                    uuid not null default gen_random_uuid(),
  event_type            varchar(64) not null,
  severity              varchar(20) not null check (severity in ('info', 'low', 'medium', 'high', 'critical')),
  category              varchar(32) not null
    check (category in ('threat_detection', 'access_violation', 'policy_violation', 'anomaly', 'incident', 'vulnerability')),
  source_ip             inet,
  source_user_id        uuid,
  source_service        varchar(64),
  source_component      varchar(64),
  event_description     text not null,
  threat_indicators     text[],
  attack_vectors        text[],
  automated_response    boolean default false,
  response_actions      text[],
  blocked               boolean default false,
  investigated          boolean default false,
  false_positive        boolean,
  analyst_notes         text,
  incident_id           uuid,
  additional_context    jsonb,
  correlation_id        uuid,
  event_timestamp       timestamptz not null default now(),
  investigation_started timestamptz,
  resolved_at           timestamptz,
  retention_days        integer default 2555
    constraint security_events_log_retention_days_check check (retention_days between 1 and 36500),
  archived              boolean default false,
  primary key (event_timestamp, id)
) partition by range (event_timestamp);
create index idx_security_events_type on audit.security_events_log (event_type);
create index idx_security_events_severity on audit.security_events_log (severity);
create index idx_security_events_source_ip on audit.security_events_log (source_ip);
create index idx_security_events_context_gin on audit.security_events_log using gin (additional_context);
create index idx_security_events_description_fts on audit.security_events_log using gin (to_tsvector('english', event_description));

create table security_internal.performance_metrics (
  id                          uuid not null default gen_random_uuid(),
  metric_name                 varchar(128) not null,
  metric_type                 varchar(32) not null check (metric_type in ('counter', 'gauge', 'histogram', 'summary')),
  service_name                varchar(128),
  endpoint_path               varchar(512),
  value                       numeric(15,4) not null,
  unit                        varchar(32),
  labels                      jsonb,
  timestamp                   timestamptz not null default now(),
  collection_interval_seconds integer default 60,
  aggregation_period          varchar(32) default 'minute' check (aggregation_period in ('minute', 'hour', 'day')),
  primary key (aggregation_period, timestamp, id)
) partition by list (aggregation_period);
create index idx_performance_metrics_name_timestamp on security_internal.performance_metrics (metric_name, timestamp);
create index idx_performance_metrics_service_timestamp on security_internal.performance_metrics (service_name, timestamp);
create index idx_performance_metrics_timestamp on security_internal.performance_metrics (timestamp);
create index idx_performance_metrics_labels_gin on security_internal.performance_metrics using gin (labels);
create table security_internal.performance_metrics_minute partition of security_internal.performance_metrics
  for values in ('minute') partition by range (timestamp);
create table security_internal.performance_metrics_hour partition of security_internal.performance_metrics
  for values in ('hour') partition by range (timestamp);
create table security_internal.performance_metrics_day partition of security_internal.performance_metrics
  for values in ('day') partition by range (timestamp);

create table security_internal.distributed_traces (
  id                    uuid not null default gen_random_uuid(),
  trace_id              varchar(64) not null,
  span_id               varchar(32) not null,
  parent_span_id        varchar(32),
  operation_name        varchar(256) not null,
  service_name          varchar(128) not null,
  start_time            timestamptz not null,
  end_time              timestamptz,
  duration_microseconds bigint,
  status_code           varchar(32),
  error_message         text,
  tags                  jsonb,
  logs                  jsonb,
  user_id               uuid,
  session_id            uuid,
  cpu_time_microseconds bigint,
  memory_usage_bytes    bigint,
  primary key (start_time, id),
  unique (start_time, trace_id, span_id)
) partition by range (start_time);

-- Archives: the same columns, checks, keys and indexes, partitioned by the same bounds.
create table audit.audit_log_archive (like audit.audit_log including all) partition by range (event_timestamp);
create table audit.security_events_log_archive (like audit.security_events_log including all) partition by range (event_timestamp);
create table security_internal.distributed_traces_archive (like security_internal.distributed_traces including all)
  partition by range (start_time);
create table audit.data_access_log_archive (like audit.data_access_log including all) partition by list (retention_category);
create table audit.data_access_log_archive_standard partition of audit.data_access_log_archive
  for values in ('standard') partition by range (accessed_at);
create table audit.data_access_log_archive_extended partition of audit.data_access_log_archive
  for values in ('extended') partition by range (accessed_at);
create table audit.data_access_log_archive_permanent partition of audit.data_access_log_archive
  for values in ('permanent', null) partition by range (accessed_at);
create table security_internal.performance_metrics_archive (like security_internal.performance_metrics including all)
  partition by list (aggregation_period);
create table security_internal.performance_metrics_archive_minute partition of security_internal.performance_metrics_archive
  for values in ('minute') partition by range (timestamp);
create table security_internal.performance_metrics_archive_hour partition of security_internal.performance_metrics_archive
  for values in ('hour') partition by range (timestamp);
create table security_internal.performance_metrics_archive_day partition of security_internal.performance_metrics_archive
  for values in ('day') partition by range (timestamp);

-- Late tables: rows for ranges whose partition is gone. A plain index, no key: a differing double is kept.
create table audit.audit_log_late (like audit.audit_log including all excluding indexes);
create index idx_audit_log_late_key on audit.audit_log_late (event_timestamp, id);
create index idx_audit_log_late_txid on audit.audit_log_late (txid);
create table audit.data_access_log_late (like audit.data_access_log including all excluding indexes);
create index idx_data_access_log_late_key on audit.data_access_log_late (accessed_at, id);
create table audit.security_events_log_late (like audit.security_events_log including all excluding indexes);
create index idx_security_events_log_late_key on audit.security_events_log_late (event_timestamp, id);
create table security_internal.performance_metrics_late (like security_internal.performance_metrics including all excluding indexes);
create index idx_performance_metrics_late_key on security_internal.performance_metrics_late (timestamp, id);
create table security_internal.distributed_traces_late (like security_internal.distributed_traces including all excluding indexes);
create index idx_distributed_traces_late_key on security_internal.distributed_traces_late (start_time, id);

insert into retention.family (table_name, schema_name, time_column, category_column) values
  ('audit_log',           'audit',             'event_timestamp', null),
  ('data_access_log',     'audit',             'accessed_at',     'retention_category'),
  ('security_events_log', 'audit',             'event_timestamp', null),
  ('performance_metrics', 'security_internal', 'timestamp',       'aggregation_period'),
  ('distributed_traces',  'security_internal', 'start_time',      null);
insert into retention.branch (table_name, category, hot_parent, archive_parent, step) values
  ('audit_log',           '',          'audit_log',                    'audit_log_archive',                    '1 month'),
  ('security_events_log', '',          'security_events_log',          'security_events_log_archive',          '1 month'),
  ('distributed_traces',  '',          'distributed_traces',           'distributed_traces_archive',           '1 day'),
  ('data_access_log',     'standard',  'data_access_log_standard',     'data_access_log_archive_standard',     '1 month'),
  ('data_access_log',     'extended',  'data_access_log_extended',     'data_access_log_archive_extended',     '1 month'),
  ('data_access_log',     'permanent', 'data_access_log_permanent',    'data_access_log_archive_permanent',    '1 month'),
  ('performance_metrics', 'minute',    'performance_metrics_minute',   'performance_metrics_archive_minute',   '1 day'),
  ('performance_metrics', 'hour',      'performance_metrics_hour',     'performance_metrics_archive_hour',     '1 month'),
  ('performance_metrics', 'day',       'performance_metrics_day',      'performance_metrics_archive_day',      '1 month');

-- The engine reads all members and writes the hot parents only; what it did not give (salts, txid, hash_version) is
-- the database's. Nobody is granted anything on a partition.
grant select on audit.audit_log, audit.audit_log_archive, audit.audit_log_late,
  audit.data_access_log, audit.data_access_log_archive, audit.data_access_log_late,
  audit.security_events_log, audit.security_events_log_archive, audit.security_events_log_late,
  security_internal.performance_metrics, security_internal.performance_metrics_archive, security_internal.performance_metrics_late,
  security_internal.distributed_traces, security_internal.distributed_traces_archive, security_internal.distributed_traces_late
  to auditkeep_engine, auditkeep_view;
grant insert on audit.data_access_log, audit.security_events_log, security_internal.performance_metrics,
  security_internal.distributed_traces to auditkeep_engine;
grant insert (id, event_type, event_category, event_action, user_id, user_email, user_roles, session_id, ip_address,
  user_agent, request_id, correlation_id, resource_type, resource_id, resource_path, old_values, new_values,
  security_classification, data_sensitivity, result, error_message, event_timestamp, server_name, service_name, version,
  additional_data, actor_envelope, payload_envelope) on audit.audit_log to auditkeep_engine;
