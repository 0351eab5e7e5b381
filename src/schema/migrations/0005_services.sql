-- Registered services, their configuration, endpoints and health.
-- Breaks nothing: new tables.

create table security_internal.services (
  id uuid primary key default gen_random_uuid(),
  service_name varchar(128) unique not null,
  service_type varchar(64) not null,
  version varchar(32) not null,
  description text,
  capabilities text[],
  dependencies text[],
  status varchar(20) default 'active'
    check (status in ('active', 'inactive', 'maintenance', 'deprecated')),
  health_status varchar(20) default 'unknown'
    check (health_status in ('healthy', 'degraded', 'unhealthy', 'unknown')),
  last_health_check timestamptz,
  average_response_time_ms numeric(10,2),
  success_rate numeric(5,2),
  error_rate numeric(5,2),
  configuration_encrypted text, -- envelope over JSON
  secrets_vault_path varchar(256),
  created_at timestamptz default now(),
  updated_at timestamptz default now(),
  deployed_at timestamptz,
  owner_team varchar(64),
  maintainer_email varchar(256)
);

create table security_confidential.service_configurations (
  id uuid primary key default gen_random_uuid(),
  service_id uuid not null references security_internal.services(id) on delete cascade,
  config_key varchar(128) not null,
  config_value_encrypted text, -- envelope
  config_type varchar(32) default 'string'
    check (config_type in ('string', 'number', 'boolean', 'json', 'secret')),
  classification varchar(32) default 'internal'
    check (classification in ('public', 'internal', 'confidential', 'secret')),
  encryption_key_id varchar(128) references security_secret.encryption_keys(key_id),
  encrypted_at timestamptz default now(),
  created_at timestamptz default now(),
  updated_at timestamptz default now(),
  version integer default 1,
  is_active boolean default true,
  unique (service_id, config_key)
);

create table security_internal.api_endpoints (
  id uuid primary key default gen_random_uuid(),
  service_id uuid not null references security_internal.services(id),
  path varchar(512) not null,
  http_method varchar(10) not null,
  endpoint_name varchar(128),
  description text,
  requires_authentication boolean default true,
  requires_authorization boolean default true,
  allowed_roles text[], -- roles.name
  rate_limit_requests integer default 100,
  rate_limit_window_seconds integer default 60,
  validate_input boolean default true,
  max_request_size integer default 1048576,
  allowed_content_types text[] default '{"application/json"}',
  enable_metrics boolean default true,
  enable_tracing boolean default true,
  enable_logging boolean default true,
  is_active boolean default true,
  deprecated_at timestamptz,
  created_at timestamptz default now(),
  updated_at timestamptz default now(),
  unique (service_id, path, http_method)
);

create table security_internal.system_health (
  id uuid primary key default gen_random_uuid(),
  component_type varchar(64) not null, -- database, sgx_enclave, api, ...
  component_name varchar(128) not null,
  instance_id varchar(128),
  status varchar(20) not null check (status in ('healthy', 'degraded', 'unhealthy', 'unknown')),
  status_reason text,
  response_time_ms numeric(10,2),
  error_rate numeric(5,2),
  availability_percentage numeric(5,2),
  cpu_usage_percentage numeric(5,2),
  memory_usage_percentage numeric(5,2),
  disk_usage_percentage numeric(5,2),
  health_check_timestamp timestamptz default now(),
  health_check_duration_ms integer,
  version varchar(32),
  environment varchar(32) default 'production',
  additional_metrics jsonb
);
