-- Subject keys: one key a natural person, mixed into what is encrypted about them, so that destroying it makes all of that
-- unreadable at once. Who a key belongs to is a keyed digest of the person's account (named secret `subject-ref`), in a table of
-- its own: a column more in encryption_keys would look like a change of every row to the state snapshots. A person's key is made
-- once: when it was destroyed, no other one takes its place. Breaks nothing: a new table, new functions, one purpose more.

alter table security_secret.encryption_keys drop constraint encryption_keys_purpose_check;
alter table security_secret.encryption_keys add constraint encryption_keys_purpose_check
  check (purpose in ('kek', 'epoch', 'subject', 'pseudonym', 'import-id', 'report-pseudonym', 'subject-ref'));
drop index security_secret.encryption_keys_one_secret;
create unique index encryption_keys_one_secret on security_secret.encryption_keys (purpose)
  where purpose in ('pseudonym', 'import-id', 'report-pseudonym', 'subject-ref') and status = 'active';

create table security_secret.subject_key (
  -- Lower-case hex of HMAC-SHA256.
  subject_ref char(64) primary key check (subject_ref ~ '^[0-9a-f]{64}$'),
  key_id varchar(128) not null unique references security_secret.encryption_keys (key_id)
);
grant select on security_secret.subject_key to auditkeep_engine;

-- A second copy of a subject key would survive its destruction.
create function security_secret.refuse_subject_copy() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if exists (select from security_secret.encryption_keys k where k.key_id = new.key_id and k.purpose = 'subject') then
    raise exception 'a subject key has a primary wrap only' using errcode = 'object_not_in_prerequisite_state';
  end if;
  return new;
end
$$;
create trigger no_subject_copy before insert or update on security_secret.key_wrap
  for each row when (new.kind <> 'primary') execute function security_secret.refuse_subject_copy();

-- Makes the keys of persons who have none, with their wraps and one event for all of them; gives how many. Of two that make the key
-- of one person at the same time the second waits for the first, and its key is not used. Refs are taken in one order, so that
-- two batches never wait for each other.
create function security_secret.create_subject_keys(
  p_refs text[], p_key_ids text[], p_wraps bytea[], p_kek_id text, p_service text, p_person text, p_now timestamptz
) returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_generation integer;
  v_made jsonb;
begin
  select kek_generation into v_generation from security_secret.encryption_keys
   where key_id = p_kek_id and purpose = 'kek' and status = 'active';
  if not found then
    raise exception 'the key-encryption key % is not active', p_kek_id using errcode = 'object_not_in_prerequisite_state';
  end if;
  with given as (
    select * from unnest(p_refs, p_key_ids, p_wraps) as g (ref, key_id, wrapped)
  ), claimed as (
    insert into security_secret.subject_key (subject_ref, key_id)
    select g.ref, g.key_id from given g order by g.ref
    on conflict do nothing
    returning key_id
  ), made as (
    insert into security_secret.encryption_keys (key_id, key_type, algorithm, purpose, created_at, rotation_interval_hours)
    select c.key_id, 'SUBJECT', 'AES-256-GCM', 'subject', p_now, null from claimed c
    returning key_id
  ), wrapped as (
    insert into security_secret.key_wrap (key_id, kind, kek_id, kek_generation, wrapped, created_at)
    select m.key_id, 'primary', p_kek_id, v_generation, g.wrapped, p_now from made m join given g on g.key_id = m.key_id
    returning key_id
  )
  select jsonb_agg(w.key_id order by w.key_id) into v_made from wrapped w;
  if v_made is null then
    return 0;
  end if;
  perform security_secret.record_key_event('created', null,
    jsonb_build_object('purpose', 'subject', 'count', jsonb_array_length(v_made), 'keyIds', v_made,
                       'kekId', p_kek_id, 'kekGeneration', v_generation),
    p_service, p_person, p_now);
  return jsonb_array_length(v_made);
end
$$;
revoke execute on function security_secret.refuse_subject_copy() from public;
revoke execute on function security_secret.create_subject_keys(text[], text[], bytea[], text, text, text, timestamptz) from public;
grant execute on function security_secret.create_subject_keys(text[], text[], bytea[], text, text, text, timestamptz)
  to auditkeep_engine;
