-- SGX enclaves, what ran in them and what they sealed.
-- Breaks nothing: new tables.

create table security_secret.sgx_enclaves (
  id uuid primary key default gen_random_uuid(),
  enclave_id varchar(128) unique not null,
  mr_enclave char(64) not null, -- SHA-256 in hex, as are all char(64)
  mr_signer char(64) not null,
  isv_prod_id integer not null,
  isv_svn integer not null,
  attestation_status varchar(32) default 'pending'
    check (attestation_status in ('pending', 'valid', 'invalid', 'expired', 'revoked')),
  quote_data text, -- base64
  signature_data text,
  platform_info jsonb,
  created_at timestamptz default now(),
  last_attestation timestamptz,
  attestation_expires_at timestamptz,
  is_active boolean default true,
  health_status varchar(20) default 'healthy' check (health_status in ('healthy', 'degraded', 'unhealthy'))
);

create table security_internal.sgx_executions (
  id uuid primary key default gen_random_uuid(),
  execution_id varchar(128) unique not null,
  enclave_id uuid not null references security_secret.sgx_enclaves(id),
  user_id uuid references security_confidential.users(id),
  session_id uuid,
  script_hash char(64) not null,
  input_data_hash char(64),
  output_data_hash char(64),
  execution_time_ms integer,
  memory_usage_bytes integer,
  cpu_time_ms integer,
  execution_status varchar(20) default 'pending'
    check (execution_status in ('pending', 'running', 'completed', 'failed', 'timeout')),
  error_message text,
  input_validated boolean default false,
  output_validated boolean default false,
  threats_detected text[],
  risk_score numeric(3,2),
  started_at timestamptz default now(),
  completed_at timestamptz
);

create index idx_sgx_executions_enclave_id on security_internal.sgx_executions (enclave_id);
create index idx_sgx_executions_user_id on security_internal.sgx_executions (user_id);
create index idx_sgx_executions_status on security_internal.sgx_executions (execution_status);
create index idx_sgx_executions_started_at on security_internal.sgx_executions (started_at);

create table security_secret.sgx_sealed_data (
  id uuid primary key default gen_random_uuid(),
  data_id varchar(128) unique not null,
  enclave_id uuid not null references security_secret.sgx_enclaves(id),
  sealing_policy varchar(32) default 'MRENCLAVE'
    check (sealing_policy in ('MRENCLAVE', 'MRSIGNER', 'HYBRID')),
  sealed_blob bytea not null,
  original_size integer,
  sealed_size integer,
  compression_ratio numeric(5,2),
  description text,
  tags text[],
  content_type varchar(64),
  integrity_hash char(64) not null, -- SHA-256 of sealed_blob; a job checks it
  additional_data text, -- authenticated with the blob
  created_at timestamptz default now(),
  last_accessed timestamptz,
  access_count integer default 0,
  expires_at timestamptz,
  created_by uuid references security_confidential.users(id),
  access_policy jsonb -- who may unseal
);
