-- Waivers (a control's exceptions are accepted, until when and why) and attestations (a person says how a requirement without a
-- control stands). Each is text that its person signs, in a namespace of its own (docs/spec/decision-v1.md); append-only, and
-- readers check the signature again. Breaks nothing: new tables. SQLSTATEs as in 0043.

create table compliance.waiver (
  id uuid primary key,
  control text not null check (control ~ '^[a-z]{2}-[0-9]{2}$'),
  valid_from timestamptz not null,
  expires_at timestamptz not null,
  person_id uuid not null references compliance.person (id),
  key_fingerprint text not null,
  payload text not null,
  payload_sha256 char(64) not null unique check (payload_sha256 = encode(sha256(convert_to(payload, 'UTF8')), 'hex')),
  signature text not null check (signature like '-----BEGIN SSH SIGNATURE-----%'),
  recorded_at timestamptz not null default now(),
  check (expires_at > valid_from and expires_at <= valid_from + interval '366 days')
);
create index waiver_control on compliance.waiver (control, expires_at);

create table compliance.attestation (
  id uuid primary key,
  framework text not null check (framework <> ''),
  requirement text not null check (requirement <> ''),
  period_start date not null,
  period_end date not null check (period_end >= period_start),
  outcome text not null check (outcome in ('met', 'not-met', 'not-applicable')),
  person_id uuid not null references compliance.person (id),
  key_fingerprint text not null,
  payload text not null,
  payload_sha256 char(64) not null unique check (payload_sha256 = encode(sha256(convert_to(payload, 'UTF8')), 'hex')),
  signature text not null check (signature like '-----BEGIN SSH SIGNATURE-----%'),
  recorded_at timestamptz not null default now()
);
create index attestation_requirement on compliance.attestation (framework, requirement);

-- Stores what a person signed just now: a waiver takes a policy owner, an attestation anybody with a part in reports.
create function compliance.record_statement(p_payload text, p_signature text) returns void
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
             when 'auditkeep-waiver/v1' then '{policy_owner}'::text[]
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
  if signed ->> 'format' = 'auditkeep-waiver/v1' then
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
grant execute on function compliance.record_statement(text, text) to auditkeep_engine;

do $$
declare
  guarded text;
begin
  foreach guarded in array array['waiver', 'attestation'] loop
    execute format('create trigger append_only before update or delete on compliance.%I
                    for each row execute function compliance.refuse_change()', guarded);
    execute format('create trigger no_truncate before truncate on compliance.%I
                    for each statement execute function compliance.refuse_change()', guarded);
    execute format('alter table compliance.%I enable always trigger append_only', guarded);
    execute format('alter table compliance.%I enable always trigger no_truncate', guarded);
    execute format('grant select on compliance.%I to auditkeep_engine, auditkeep_view', guarded);
  end loop;
end
$$;
