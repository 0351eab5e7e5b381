-- Users, their roles, tokens and sessions.
-- Breaks nothing: new tables.

create table security_confidential.users (
  id uuid primary key default gen_random_uuid(),
  username varchar(64) unique not null,
  email varchar(256) unique not null,
  password_hash text not null,
  password_salt text not null,
  password_iterations integer default 600000,
  password_last_changed timestamptz default now(),
  account_status varchar(20) default 'active' check (account_status in ('active', 'disabled', 'locked', 'suspended')),
  failed_login_attempts integer default 0,
  lockout_until timestamptz,
  last_login timestamptz,
  last_login_ip inet,
  mfa_enabled boolean default false,
  mfa_secret_encrypted text, -- envelope
  backup_codes_encrypted text[], -- one envelope each
  first_name_encrypted text,
  last_name_encrypted text,
  phone_encrypted text,
  created_at timestamptz default now(),
  updated_at timestamptz default now(),
  created_by uuid,
  updated_by uuid,
  version integer default 1
);

create index idx_users_status on security_confidential.users (account_status);
create index idx_users_last_login on security_confidential.users (last_login);

create table security_internal.roles (
  id uuid primary key default gen_random_uuid(),
  name varchar(64) unique not null,
  description text,
  permissions text[],
  is_system_role boolean default false,
  created_at timestamptz default now(),
  updated_at timestamptz default now()
);

create table security_internal.user_roles (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references security_confidential.users(id) on delete cascade,
  role_id uuid not null references security_internal.roles(id) on delete cascade,
  granted_by uuid references security_confidential.users(id),
  granted_at timestamptz default now(),
  expires_at timestamptz,
  is_active boolean default true,
  unique (user_id, role_id)
);

create table security_internal.jwt_tokens (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references security_confidential.users(id) on delete cascade,
  token_hash text not null, -- SHA-256, never the token
  token_type varchar(20) default 'access' check (token_type in ('access', 'refresh')),
  issued_at timestamptz not null,
  expires_at timestamptz not null,
  revoked_at timestamptz,
  device_fingerprint text,
  ip_address inet,
  user_agent text,
  is_active boolean default true
);

create index idx_jwt_tokens_user_id on security_internal.jwt_tokens (user_id);
create index idx_jwt_tokens_hash on security_internal.jwt_tokens (token_hash);
create index idx_jwt_tokens_expires on security_internal.jwt_tokens (expires_at);
create index idx_jwt_tokens_active on security_internal.jwt_tokens (is_active, expires_at);

create table security_internal.user_sessions (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references security_confidential.users(id) on delete cascade,
  session_token_hash text not null,
  device_info jsonb,
  ip_address inet,
  user_agent text,
  location_data jsonb,
  created_at timestamptz default now(),
  last_activity timestamptz default now(),
  expires_at timestamptz not null,
  is_active boolean default true
);

-- Row-level security looks a user's own sessions up by this column.
create index idx_user_sessions_user_id on security_internal.user_sessions (user_id);
