-- Signed decisions on what is under retention: a plan, a legal hold, the release of one, a policy. One person requests, and
-- where two are needed another approves; both sign (docs/spec/decision-v1.md, section 3). Apart from compliance.decision,
-- whose rows refer to reports and to the steps that a report takes (docs/decisions/0120). Breaks nothing: new.
-- SQLSTATEs of 0043, and AK120 unknown object, AK121 not possible now.

-- The time that guards of retention go by.
create function retention.clock() returns timestamptz
language sql volatile
set search_path = pg_catalog, pg_temp
return clock_timestamp();
grant execute on function retention.clock() to auditkeep_engine;

create table compliance.object_rule (
  object_kind text not null check (object_kind in ('plan', 'hold', 'release', 'policy')),
  meaning text not null check (meaning in ('request', 'approve')),
  role text not null,
  primary key (object_kind, meaning)
);
comment on table compliance.object_rule is 'Who may request and who may approve what; a hold is requested and needs no second person.';
insert into compliance.object_rule (object_kind, meaning, role) values
  ('plan',    'request', 'records_manager'),
  ('plan',    'approve', 'records_manager'),
  ('hold',    'request', 'legal'),
  ('release', 'request', 'legal'),
  ('release', 'approve', 'legal'),
  ('policy',  'request', 'policy_owner'),
  ('policy',  'approve', 'policy_owner');

-- A nonce: issued by begin_object_decision, used by at most one decision, for 15 minutes.
create table compliance.object_decision_request (
  id uuid primary key default gen_random_uuid(),
  object_kind text not null,
  object_id uuid not null,
  object_hash char(64) not null check (object_hash ~ '^[0-9a-f]{64}$'),
  meaning text not null,
  person_id uuid not null references compliance.person (id),
  issued_at timestamptz not null,
  expires_at timestamptz not null check (expires_at = issued_at + interval '15 minutes'),
  foreign key (object_kind, meaning) references compliance.object_rule
);

create table compliance.object_decision (
  id uuid primary key references compliance.object_decision_request (id),
  sequence bigint generated always as identity unique,
  object_kind text not null,
  object_id uuid not null,
  object_hash char(64) not null check (object_hash ~ '^[0-9a-f]{64}$'),
  meaning text not null,
  person_id uuid not null references compliance.person (id),
  key_fingerprint text not null,
  -- RFC 8785 text, exactly the bytes that are signed.
  payload text not null,
  payload_sha256 char(64) not null unique
    check (payload_sha256 = encode(sha256(convert_to(payload, 'UTF8')), 'hex')),
  -- An approval follows its request.
  previous_decision_sha256 char(64) references compliance.object_decision (payload_sha256),
  signature text not null check (signature like '-----BEGIN SSH SIGNATURE-----%'),
  decided_at timestamptz not null,
  recorded_at timestamptz not null default retention.clock(),
  foreign key (object_kind, meaning) references compliance.object_rule,
  check ((meaning = 'approve') = (previous_decision_sha256 is not null)),
  unique (object_id, meaning),
  constraint separate_duties unique (object_id, person_id)
);

do $$
declare
  guarded text;
begin
  foreach guarded in array array['object_rule', 'object_decision_request', 'object_decision'] loop
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

-- What a decision on an object signs, except the key.
create function compliance.object_payload(p_request compliance.object_decision_request) returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
return (
  select jsonb_build_object(
    'format', 'auditkeep-object-decision/v1',
    'installation_id', i.installation_id,
    'incarnation', i.incarnation,
    'decision_id', p_request.id,
    'object', jsonb_build_object('kind', p_request.object_kind, 'id', p_request.object_id),
    'object_hash', p_request.object_hash,
    'meaning', p_request.meaning,
    'person', (select p.email from compliance.person p where p.id = p_request.person_id),
    'person_name', (select p.name from compliance.person p where p.id = p_request.person_id),
    'previous_decision_sha256', (select d.payload_sha256 from compliance.object_decision d
      where d.object_id = p_request.object_id and d.meaning = 'request' and p_request.meaning = 'approve'),
    'time', compliance.iso(p_request.issued_at))
    from compliance.installation i order by i.incarnation desc limit 1);

-- Whether a person may decide this on an object now; gives the hash of the object.
create function compliance.check_object_decision(p_kind text, p_id uuid, p_meaning text, p_person uuid) returns text
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  rule compliance.object_rule;
  hash text := retention.object_hash(p_kind, p_id);
  requested compliance.object_decision;
begin
  select * into rule from compliance.object_rule r where r.object_kind = p_kind and r.meaning = p_meaning;
  if rule.meaning is null then
    raise exception '"%" is not possible on a %', p_meaning, p_kind using errcode = 'AK121';
  end if;
  if hash is null then
    raise exception 'there is no % with the id %', p_kind, p_id using errcode = 'AK120';
  end if;
  if p_person is null then
    raise exception 'the person is not in the register' using errcode = 'AK005';
  end if;
  if not exists (select from compliance.person p where p.id = p_person and p.kind = 'human')
     or not compliance.has_role(p_person, rule.role, retention.clock()) then
    raise exception 'the person does not have the role %', rule.role using errcode = 'AK004';
  end if;
  if exists (select from compliance.object_decision d where d.object_id = p_id and d.meaning = p_meaning) then
    raise exception 'this % has its % already', p_kind, p_meaning using errcode = 'AK121';
  end if;
  if p_meaning = 'approve' then
    select * into requested from compliance.object_decision d where d.object_id = p_id and d.meaning = 'request';
    if requested.id is null or requested.object_hash <> hash then
      raise exception 'nobody has requested this %', p_kind using errcode = 'AK121';
    end if;
    if requested.person_id = p_person then
      raise exception 'the person who requested does not approve' using errcode = 'AK003';
    end if;
  end if;
  return hash;
end
$$;

-- Issues a nonce for 15 minutes and gives the payload to sign, to which the signer adds key_fingerprint.
create function compliance.begin_object_decision(p_kind text, p_id uuid, p_meaning text, p_email text) returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  person uuid := compliance.person_id(p_email);
  hash text := compliance.check_object_decision(p_kind, p_id, p_meaning, person);
  issued timestamptz := date_trunc('milliseconds', retention.clock());
  request compliance.object_decision_request;
begin
  insert into compliance.object_decision_request
    (object_kind, object_id, object_hash, meaning, person_id, issued_at, expires_at)
  values (p_kind, p_id, hash, p_meaning, person, issued, issued + interval '15 minutes')
  returning * into request;
  return compliance.object_payload(request);
end
$$;

-- Stores a signed decision and lets it take effect.
create function compliance.record_object_decision(p_payload text, p_signature text) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  signed jsonb := p_payload::jsonb;
  request compliance.object_decision_request;
begin
  select * into request from compliance.object_decision_request q
   where q.id = (signed ->> 'decision_id')::uuid for update;
  if request.id is null or request.expires_at <= retention.clock()
     or exists (select from compliance.object_decision d where d.id = request.id) then
    raise exception 'the decision id is unknown, used or expired' using errcode = 'AK007';
  end if;
  perform retention.before_decision(request.object_kind, request.object_id, request.meaning);
  if compliance.check_object_decision(request.object_kind, request.object_id, request.meaning, request.person_id)
     <> request.object_hash then
    raise exception 'the object is not the one that was signed for' using errcode = 'AK009';
  end if;
  if not compliance.has_key(request.person_id, signed ->> 'key_fingerprint', retention.clock()) then
    raise exception 'the signing key is not valid for this person' using errcode = 'AK006';
  end if;
  if signed is distinct from compliance.object_payload(request)
       || jsonb_build_object('key_fingerprint', signed ->> 'key_fingerprint') then
    raise exception 'the signed text does not say what the database knows' using errcode = 'AK009';
  end if;
  insert into compliance.object_decision
    (id, object_kind, object_id, object_hash, meaning, person_id, key_fingerprint, payload, payload_sha256,
     previous_decision_sha256, signature, decided_at)
  values
    (request.id, request.object_kind, request.object_id, request.object_hash, request.meaning, request.person_id,
     signed ->> 'key_fingerprint', p_payload, encode(sha256(convert_to(p_payload, 'UTF8')), 'hex'),
     signed ->> 'previous_decision_sha256', p_signature, request.issued_at);
end
$$;

grant execute on function compliance.begin_object_decision(text, uuid, text, text) to auditkeep_engine;
grant execute on function compliance.record_object_decision(text, text) to auditkeep_engine;
