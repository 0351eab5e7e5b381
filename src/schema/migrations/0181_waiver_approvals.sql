-- A waiver counts when two policy owners signed it: the second signs its hash, in a text of its own. Waivers may name what they cover
-- (auditkeep-waiver/v2). Breaks nothing: waivers of v1 stay and cover every exception of their control once they are approved; a release
-- without v2 can add none any more.

create table compliance.waiver_approval (
  id uuid primary key,
  waiver_id uuid not null references compliance.waiver (id),
  person_id uuid not null references compliance.person (id),
  key_fingerprint text not null,
  payload text not null,
  payload_sha256 char(64) not null unique check (payload_sha256 = encode(sha256(convert_to(payload, 'UTF8')), 'hex')),
  signature text not null check (signature like '-----BEGIN SSH SIGNATURE-----%'),
  recorded_at timestamptz not null default now(),
  unique (waiver_id, person_id)
);
create trigger append_only before update or delete on compliance.waiver_approval
  for each row execute function compliance.refuse_change();
create trigger no_truncate before truncate on compliance.waiver_approval
  for each statement execute function compliance.refuse_change();
alter table compliance.waiver_approval enable always trigger append_only, enable always trigger no_truncate;
grant select on compliance.waiver_approval to auditkeep_engine, auditkeep_view;

-- Whose waiver is approved may not approve it; SQLSTATE AK001 where there is no such waiver, AK003 for one's own.
create function compliance.insert_waiver_approval(p_payload text, p_signature text, p_person uuid) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  signed jsonb := p_payload::jsonb;
  waiver compliance.waiver;
begin
  select * into waiver from compliance.waiver w
   where w.id::text = signed ->> 'waiver' and w.payload_sha256 = signed ->> 'waiver_sha256';
  if waiver.id is null then
    raise exception 'there is no waiver of this id and hash' using errcode = 'AK001';
  end if;
  if waiver.person_id = p_person then
    raise exception 'nobody approves their own waiver' using errcode = 'AK003';
  end if;
  insert into compliance.waiver_approval (id, waiver_id, person_id, key_fingerprint, payload, payload_sha256, signature)
  values ((signed ->> 'id')::uuid, waiver.id, p_person, signed ->> 'key_fingerprint', p_payload,
          encode(sha256(convert_to(p_payload, 'UTF8')), 'hex'), p_signature);
end
$$;

-- Stores what a person signed just now: a waiver or its approval takes a policy owner, an attestation anybody with a part in reports.
create or replace function compliance.record_statement(p_payload text, p_signature text) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  signed jsonb := p_payload::jsonb;
  due record;
  person uuid := compliance.person_id(signed ->> 'person');
  dated timestamptz := (signed ->> 'time')::timestamptz;
  roles text[];
begin
  select * into due from compliance.begin_person_act();
  roles := case signed ->> 'format'
             when 'auditkeep-waiver/v2' then '{policy_owner}'::text[]
             when 'auditkeep-waiver-approval/v1' then '{policy_owner}'::text[]
             when 'auditkeep-attestation/v1' then '{preparer,reviewer,approver,policy_owner}'::text[] end;
  if roles is null or signed ->> 'installation_id' is distinct from due.installation_id::text
     or (signed ->> 'incarnation')::integer is distinct from due.incarnation then
    raise exception 'the signed text belongs to another installation or release' using errcode = 'AK009';
  end if;
  if not exists (select from compliance.person p where p.id = person and p.kind = 'human') then
    raise exception 'the person is not in the register' using errcode = 'AK005';
  end if;
  if not exists (select from unnest(roles) r(role) where compliance.has_role(person, r.role, now())) then
    raise exception 'the person has none of the roles %', array_to_string(roles, ', ') using errcode = 'AK004';
  end if;
  if not compliance.has_key(person, signed ->> 'key_fingerprint', now()) then
    raise exception 'the signing key is not valid for this person' using errcode = 'AK006';
  end if;
  if dated is null or dated < clock_timestamp() - interval '15 minutes' or dated > clock_timestamp() then
    raise exception 'the text was signed too long ago' using errcode = 'AK007';
  end if;
  if signed ->> 'format' = 'auditkeep-waiver-approval/v1' then
    perform compliance.insert_waiver_approval(p_payload, p_signature, person);
  elsif signed ->> 'format' = 'auditkeep-waiver/v2' then
    insert into compliance.waiver (id, control, valid_from, expires_at, person_id, key_fingerprint, payload, payload_sha256, signature)
    values ((signed ->> 'id')::uuid, signed ->> 'control', (signed ->> 'valid_from')::timestamptz,
            (signed ->> 'expires_at')::timestamptz, person, signed ->> 'key_fingerprint', p_payload,
            encode(sha256(convert_to(p_payload, 'UTF8')), 'hex'), p_signature);
  else
    insert into compliance.attestation (id, framework, requirement, period_start, period_end, outcome, person_id,
                                        key_fingerprint, payload, payload_sha256, signature)
    values ((signed ->> 'id')::uuid, signed ->> 'framework', signed ->> 'requirement', (signed ->> 'period_start')::date,
            (signed ->> 'period_end')::date, signed ->> 'outcome', person, signed ->> 'key_fingerprint', p_payload,
            encode(sha256(convert_to(p_payload, 'UTF8')), 'hex'), p_signature);
  end if;
end
$$;
