-- Blockchain networks, contracts and transactions.
-- Breaks nothing: new tables.

create table security_internal.blockchain_networks (
  id uuid primary key default gen_random_uuid(),
  network_name varchar(64) unique not null,
  network_type varchar(32) not null check (network_type in ('neo_n3', 'neo_x', 'ethereum', 'bitcoin', 'custom')),
  rpc_endpoints text[] not null,
  chain_id integer,
  block_time_seconds integer,
  connection_encrypted boolean default true,
  certificate_pinning boolean default true,
  api_key_encrypted text, -- envelope
  status varchar(20) default 'active' check (status in ('active', 'inactive', 'maintenance')),
  last_block_height bigint,
  last_sync timestamptz,
  created_at timestamptz default now(),
  updated_at timestamptz default now()
);

create table security_confidential.smart_contracts (
  id uuid primary key default gen_random_uuid(),
  contract_address varchar(128) not null,
  network_id uuid not null references security_internal.blockchain_networks(id),
  contract_name varchar(128),
  contract_version varchar(32),
  abi_hash char(64),
  bytecode_hash char(64),
  security_audit_status varchar(32) default 'pending'
    check (security_audit_status in ('pending', 'in_progress', 'passed', 'failed', 'expired')),
  audit_report_encrypted text, -- envelope
  vulnerability_count integer default 0,
  risk_score numeric(3,2),
  deployed_by uuid references security_confidential.users(id),
  deployed_at timestamptz,
  deployment_transaction_hash varchar(128),
  owner_address varchar(128),
  access_control_list jsonb,
  is_active boolean default true,
  is_verified boolean default false,
  created_at timestamptz default now(),
  updated_at timestamptz default now(),
  unique (contract_address, network_id)
);

create table security_confidential.transactions (
  id uuid primary key default gen_random_uuid(),
  transaction_hash varchar(128) unique not null,
  network_id uuid not null references security_internal.blockchain_networks(id),
  from_address_encrypted text,
  to_address_encrypted text,
  value_encrypted text, -- the amount in the smallest unit, never a number
  gas_used bigint,
  gas_price bigint,
  block_height bigint,
  block_hash varchar(128),
  transaction_index integer,
  status varchar(20) default 'pending' check (status in ('pending', 'confirmed', 'failed', 'replaced')),
  anonymized boolean default false,
  pseudonym_from varchar(64), -- p1.<key id>.<43 base64url> fits exactly
  pseudonym_to varchar(64),
  contract_id uuid references security_confidential.smart_contracts(id),
  function_signature varchar(128),
  input_data_hash char(64),
  created_at timestamptz default now(),
  confirmed_at timestamptz,
  user_id uuid references security_confidential.users(id)
);

-- Row-level security looks a user's own transactions up by this column.
create index idx_transactions_user_id on security_confidential.transactions (user_id);
