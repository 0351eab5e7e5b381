-- Security policies, key metadata, rate limits and detected threats.
-- Breaks nothing: new tables.

create table security_internal.security_policies (
  id uuid primary key default gen_random_uuid(),
  resource_type varchar(64) not null,
  policy_name varchar(128) not null,
  requires_authentication boolean default true,
  requires_encryption boolean default true,
  max_input_size integer default 1048576,
  rate_limit_requests integer default 100,
  rate_limit_window_seconds integer default 60,
  validate_input boolean default true,
  check_sql_injection boolean default true,
  check_xss boolean default true,
  check_code_injection boolean default true,
  check_path_traversal boolean default true,
  log_security_events boolean default true,
  log_data_access boolean default false,
  retention_days integer default 90,
  created_at timestamptz default now(),
  updated_at timestamptz default now(),
  created_by uuid references security_confidential.users(id),
  is_active boolean default true,
  version integer default 1,
  unique (resource_type, policy_name)
);

create table security_secret.encryption_keys (
  id uuid primary key default gen_random_uuid(),
  key_id varchar(128) unique not null,
  key_type varchar(32) not null check (key_type in (
    'DEK', 'KEK', 'SGX_SEAL', 'SUBJECT', 'SECRET', 'SIGNING', 'ESCROW')),
  algorithm varchar(32) default 'AES-256-GCM',
  created_at timestamptz default now(),
  rotated_at timestamptz,
  expires_at timestamptz,
  rotation_interval_hours integer default 24,
  status varchar(20) default 'active' check (status in (
    'staged', 'active', 'rotating', 'archived', 'revoked', 'pending_destruction', 'destroyed', 'fenced')),
  usage_count integer default 0,
  last_used_at timestamptz,
  hsm_key_id varchar(256), -- the key itself is in the HSM or in key_wrap
  key_escrow_id varchar(256),
  created_by uuid references security_confidential.users(id)
);

create table security_internal.rate_limit_state (
  id uuid primary key default gen_random_uuid(),
  identifier varchar(256) not null, -- address, user id or hash of an API key
  identifier_type varchar(32) not null check (identifier_type in ('ip', 'user', 'api_key')),
  request_count integer default 0,
  window_start timestamptz default now(),
  window_size_seconds integer default 60,
  max_requests integer default 100,
  is_blocked boolean default false,
  blocked_until timestamptz,
  first_seen timestamptz default now(),
  last_request timestamptz default now(),
  unique (identifier, identifier_type)
);

create index idx_rate_limit_window_start on security_internal.rate_limit_state (window_start);

create table security_internal.security_threats (
  id uuid primary key default gen_random_uuid(),
  threat_type varchar(64) not null check (threat_type in (
    'sql_injection', 'xss', 'code_injection', 'path_traversal', 'brute_force', 'dos', 'suspicious_pattern', 'unknown')),
  severity varchar(20) default 'medium' check (severity in ('low', 'medium', 'high', 'critical')),
  risk_score numeric(3,2) check (risk_score >= 0.0 and risk_score <= 1.0),
  source_ip inet,
  user_id uuid references security_confidential.users(id),
  user_agent text,
  request_uri text,
  request_method varchar(10),
  threat_payload text, -- the input that was refused
  detection_method varchar(64),
  blocked boolean default true,
  session_id uuid,
  correlation_id uuid,
  additional_context jsonb,
  detected_at timestamptz default now(),
  resolved_at timestamptz,
  response_action varchar(64),
  analyst_notes text
);

create index idx_security_threats_type on security_internal.security_threats (threat_type);
create index idx_security_threats_severity on security_internal.security_threats (severity);
create index idx_security_threats_detected_at on security_internal.security_threats (detected_at);
create index idx_security_threats_source_ip on security_internal.security_threats (source_ip);
create index idx_security_threats_user_id on security_internal.security_threats (user_id);
