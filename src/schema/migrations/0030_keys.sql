-- Wrapped keys and the functions that create them: the key row, its wrap and the audit event in one transaction.
-- A key never lies in the database in the clear; encryption_keys carries metadata, key_wrap the wrapped bytes.
-- Breaks nothing: new columns are null in existing rows, the tables are new.

alter table security_secret.encryption_keys
  -- What the key is for. Null: a key that the applications keep, or one written before this migration.
  add column purpose varchar(32) check (purpose in ('kek', 'epoch', 'subject', 'pseudonym', 'import-id', 'report-pseudonym')),
  add column data_class varchar(16) check (data_class in ('internal', 'confidential', 'secret')),
  -- The UTC day whose new data an epoch key encrypts.
  add column epoch_day date,
  -- Of a KEK: 1, 2, ... in the order of rotation.
  add column kek_generation integer check (kek_generation > 0),
  add constraint encryption_keys_purpose_complete check (
    (purpose is distinct from 'epoch' or (key_type = 'DEK' and data_class is not null and epoch_day is not null))
    and (purpose is distinct from 'kek' or (key_type = 'KEK' and kek_generation is not null)));

-- Two workers that both find no key for today's first cell must not make two. A key that was revoked during its day makes
-- room for another.
create unique index encryption_keys_one_epoch on security_secret.encryption_keys (data_class, epoch_day)
  where purpose = 'epoch' and status = 'active';
create unique index encryption_keys_one_secret on security_secret.encryption_keys (purpose)
  where purpose in ('pseudonym', 'import-id', 'report-pseudonym') and status = 'active';
create unique index encryption_keys_one_kek on security_secret.encryption_keys ((true))
  where purpose = 'kek' and status = 'active';

create table security_secret.key_wrap (
  key_id varchar(128) not null references security_secret.encryption_keys (key_id),
  -- primary: for daily use; recovery and escrow: for the two ways back after the KEK is lost.
  kind varchar(16) not null check (kind in ('primary', 'recovery', 'escrow')),
  kek_id varchar(128) not null references security_secret.encryption_keys (key_id),
  kek_generation integer not null check (kek_generation > 0),
  -- RFC 3394 over key and SHA-256 of the wrap's context: 64 bytes become 72.
  wrapped bytea not null check (octet_length(wrapped) = 72),
  created_at timestamptz not null default now(),
  primary key (key_id, kind, kek_id)
);
comment on table security_secret.key_wrap is
  'Wrapped keys; written by the functions of security_secret only. A deleted primary wrap of a subject key is what erasure means.';
grant select on security_secret.key_wrap to auditkeep_engine;

-- The event of a key function, in the transaction of the change.
create function security_secret.record_key_event(
  p_action text, p_key_id text, p_details jsonb, p_service text, p_person text, p_now timestamptz
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  insert into audit.audit_log (id, event_timestamp, event_type, event_category, event_action, user_email,
                               resource_type, resource_id, result, service_name, additional_data)
  values (gen_random_uuid(), p_now, 'key.' || lower(p_action), 'security', upper(p_action), p_person,
          'encryption_key', p_key_id, 'success', p_service, p_details);
end
$$;

-- Registers the KEK that this installation wraps with, when there is none; gives the id of the active one, so that of
-- two hosts that start at once on an empty database one learns that its KEK lost.
create function security_secret.register_kek(
  p_kek_id text, p_generation integer, p_provider text, p_service text, p_person text, p_now timestamptz
) returns text
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_active text;
begin
  insert into security_secret.encryption_keys
    (key_id, key_type, algorithm, purpose, kek_generation, hsm_key_id, created_at, rotation_interval_hours)
  values (p_kek_id, 'KEK', 'AES-256-KW', 'kek', p_generation, p_provider || ':' || p_kek_id, p_now, null)
  on conflict do nothing;
  if found then
    perform security_secret.record_key_event('created', p_kek_id,
      jsonb_build_object('purpose', 'kek', 'generation', p_generation, 'provider', p_provider),
      p_service, p_person, p_now);
  end if;
  select key_id into v_active from security_secret.encryption_keys where purpose = 'kek' and status = 'active';
  return v_active;
end
$$;

-- Creates an epoch key or a named secret with its primary wrap. Gives the id of the key that counts: another worker may
-- have made one at the same moment, and then this one is never used.
create function security_secret.create_key(
  p_key_id text, p_purpose text, p_data_class text, p_epoch_day date, p_kek_id text, p_wrapped bytea,
  p_service text, p_person text, p_now timestamptz
) returns text
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_generation integer;
  v_existing text;
begin
  select kek_generation into v_generation from security_secret.encryption_keys
   where key_id = p_kek_id and purpose = 'kek' and status = 'active';
  if not found then
    raise exception 'the key-encryption key % is not active', p_kek_id using errcode = 'object_not_in_prerequisite_state';
  end if;
  insert into security_secret.encryption_keys
    (key_id, key_type, algorithm, purpose, data_class, epoch_day, created_at, rotation_interval_hours)
  values (p_key_id, case when p_purpose = 'epoch' then 'DEK' else 'SECRET' end,
          case when p_purpose = 'epoch' then 'AES-256-GCM' else 'HMAC-SHA256' end,
          p_purpose, p_data_class, p_epoch_day, p_now, case when p_purpose = 'epoch' then 24 end)
  on conflict do nothing;
  if not found then
    select key_id into strict v_existing from security_secret.encryption_keys
     where purpose = p_purpose and status = 'active'
       and (p_purpose <> 'epoch' or (data_class = p_data_class and epoch_day = p_epoch_day));
    return v_existing;
  end if;
  insert into security_secret.key_wrap (key_id, kind, kek_id, kek_generation, wrapped, created_at)
  values (p_key_id, 'primary', p_kek_id, v_generation, p_wrapped, p_now);
  perform security_secret.record_key_event('created', p_key_id,
    jsonb_strip_nulls(jsonb_build_object('purpose', p_purpose, 'dataClass', p_data_class, 'epochDay', p_epoch_day,
                                         'kekId', p_kek_id, 'kekGeneration', v_generation)),
    p_service, p_person, p_now);
  return p_key_id;
end
$$;

-- Counts a block of uses beforehand, so that no cell costs an update. The seed's column is an integer: it stops at its end.
create function security_secret.reserve_key_usage(p_key_id text, p_count integer, p_now timestamptz) returns void
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  update security_secret.encryption_keys
     set usage_count = least(coalesce(usage_count, 0)::bigint + greatest(p_count, 0), 2147483647)::integer,
         last_used_at = greatest(last_used_at, p_now)
   where key_id = p_key_id;
$$;

grant execute on function security_secret.register_kek(text, integer, text, text, text, timestamptz) to auditkeep_engine;
grant execute on function security_secret.create_key(text, text, text, date, text, bytea, text, text, timestamptz)
  to auditkeep_engine;
grant execute on function security_secret.reserve_key_usage(text, integer, timestamptz) to auditkeep_engine;
