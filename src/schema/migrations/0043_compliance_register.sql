-- The only way into the register of persons, and what decisions (0044) ask of it. The database checks order, distinctness, roles, key
-- validity and that the signed text says what happens; the signature itself is checked before and after by the program.
-- SQLSTATEs: AK001 unknown report, AK002 transition, AK003 separation of duties, AK004 role missing, AK005 unknown
-- person, AK006 key not valid, AK007 nonce unknown, used or expired, AK008 somebody decided first, AK009 payload,
-- AK010 interim, AK011 superseded, AK012 comment missing, AK014 register change refused, AK015 not distributable.
-- Breaks nothing: new.

create function compliance.iso(at timestamptz) returns text
language sql immutable
set search_path = pg_catalog, pg_temp
return to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"');

-- As ssh-keygen -l prints it: SHA256: and the unpadded base64 of the key blob's hash.
create function compliance.key_fingerprint(p_public_key text) returns text
language sql immutable
set search_path = pg_catalog, pg_temp
return 'SHA256:' || rtrim(encode(sha256(decode(split_part(p_public_key, ' ', 2), 'base64')), 'base64'), '=');

-- The newest act and those it stands on. An act that nobody signed drops out when the next one follows the last that holds.
create function compliance.current_acts() returns setof integer
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with recursive line as (
    select a.sequence, a.previous_act_sha256 from compliance.person_act a
     where a.sequence = (select max(newest.sequence) from compliance.person_act newest)
    union all
    select b.sequence, b.previous_act_sha256 from line
      join compliance.person_act b on b.payload_sha256 = line.previous_act_sha256
  )
  select line.sequence from line
$$;

-- The person of an e-mail address, the service person included; null for nobody.
create function compliance.person_id(p_email text) returns uuid
language sql stable
set search_path = pg_catalog, pg_temp
return (select p.id from compliance.person p
         where p.email = lower(p_email)
           and (p.act_sequence is null or p.act_sequence in (select compliance.current_acts())));

create function compliance.has_role(p_person uuid, p_role text, p_at timestamptz) returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
return exists (
  select from compliance.person_role r
    left join compliance.person_role_end e
      on e.person_role_id = r.id and e.act_sequence in (select compliance.current_acts())
   where r.act_sequence in (select compliance.current_acts()) and r.person_id = p_person and r.role = p_role and r.effective_at <= p_at
     and (e.effective_at is null or e.effective_at > p_at));

create function compliance.has_key(p_person uuid, p_fingerprint text, p_at timestamptz) returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
return exists (
  select from compliance.person_key k
    left join compliance.person_key_end e
      on e.fingerprint = k.fingerprint and e.act_sequence in (select compliance.current_acts())
   where k.act_sequence in (select compliance.current_acts()) and k.person_id = p_person and k.fingerprint = p_fingerprint and k.effective_at <= p_at
     and (e.effective_at is null or e.effective_at > p_at));

-- What the next change of the register has to say about itself, besides the act that it follows: its signers name that.
create function compliance.begin_person_act(
  out installation_id uuid, out incarnation integer, out sequence integer, out issued_at text)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  select i.installation_id, i.incarnation into installation_id, incarnation
    from compliance.installation i order by i.incarnation desc limit 1;
  sequence := coalesce((select max(a.sequence) from compliance.person_act a), 0) + 1;
  issued_at := compliance.iso(now());
end
$$;

create function compliance.apply_person_change(p_change jsonb, p_sequence integer, p_effective_at timestamptz)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  person uuid := compliance.person_id(p_change ->> 'email');
  ended uuid;
begin
  if p_change ->> 'kind' = 'person' then
    if person is not null then
      raise exception 'the person is in the register already' using errcode = 'AK014';
    end if;
    insert into compliance.person (email, name, act_sequence)
    values (p_change ->> 'email', p_change ->> 'name', p_sequence);
    return;
  end if;
  if not exists (select from compliance.person p where p.id = person and p.kind = 'human') then
    raise exception 'a change names a person who is not in the register' using errcode = 'AK005';
  end if;
  case p_change ->> 'kind'
    when 'role' then
      if compliance.has_role(person, p_change ->> 'role', 'infinity') then
        raise exception 'the person has this role already' using errcode = 'AK014';
      end if;
      insert into compliance.person_role (person_id, role, act_sequence, effective_at)
      values (person, p_change ->> 'role', p_sequence, p_effective_at);
    when 'role-end' then
      select r.id into ended from compliance.person_role r
       where r.person_id = person and r.role = p_change ->> 'role'
         and r.act_sequence in (select compliance.current_acts())
         and not exists (select from compliance.person_role_end e
                          where e.person_role_id = r.id and e.act_sequence in (select compliance.current_acts()));
      if ended is null then
        raise exception 'the person does not have this role' using errcode = 'AK014';
      end if;
      insert into compliance.person_role_end (person_role_id, act_sequence, effective_at)
      values (ended, p_sequence, p_effective_at);
    when 'key' then
      if exists (select from compliance.person_key k
                  where k.fingerprint = compliance.key_fingerprint(p_change ->> 'public_key')
                    and k.act_sequence in (select compliance.current_acts())) then
        raise exception 'the key is in the register already' using errcode = 'AK014';
      end if;
      insert into compliance.person_key (fingerprint, person_id, public_key, act_sequence, effective_at)
      values (compliance.key_fingerprint(p_change ->> 'public_key'), person, p_change ->> 'public_key', p_sequence,
              p_effective_at);
    when 'key-end' then
      if not exists (select from compliance.person_key k
                      where k.person_id = person and k.fingerprint = p_change ->> 'fingerprint'
                        and k.act_sequence in (select compliance.current_acts()))
         or exists (select from compliance.person_key_end e
                     where e.fingerprint = p_change ->> 'fingerprint'
                       and e.act_sequence in (select compliance.current_acts())) then
        raise exception 'the person does not have this key, or it was ended' using errcode = 'AK014';
      end if;
      insert into compliance.person_key_end (fingerprint, act_sequence, effective_at, reason)
      values (p_change ->> 'fingerprint', p_sequence, p_effective_at, p_change ->> 'reason');
    else
      raise exception 'unknown kind of change' using errcode = 'AK014';
  end case;
end
$$;

-- The person behind a signature of the register: a key officer with a key that counts.
create function compliance.check_officer(p_signature jsonb, p_at timestamptz) returns uuid
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  person uuid := compliance.person_id(p_signature ->> 'email');
begin
  if person is null then
    raise exception 'a signer is not in the register' using errcode = 'AK005';
  end if;
  if not compliance.has_role(person, 'key_officer', p_at) then
    raise exception 'a signer is no key officer' using errcode = 'AK004';
  end if;
  if not compliance.has_key(person, p_signature ->> 'fingerprint', p_at) then
    raise exception 'a signing key is not valid for its person' using errcode = 'AK006';
  end if;
  return person;
end
$$;

-- Records a signed change of the register. The first act founds it: its own two key officers sign. Later ones need two
-- key officers whom the act does not concern; what adds authority waits 24 hours unless a third signs, what ends it
-- waits for nobody. The act that a new one follows is the one its signers name: readers, who check signatures, pass over
-- acts that do not hold, and so must whoever makes the next.
create function compliance.record_person_act(p_payload text, p_signatures jsonb) returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  act jsonb := p_payload::jsonb;
  due record;
  previous compliance.person_act;
  dated timestamptz := (act ->> 'time')::timestamptz;
  effective timestamptz := (act ->> 'effective_at')::timestamptz;
  founding boolean;
  signers integer;
  adds boolean := exists (select from jsonb_array_elements(act -> 'changes') c where c ->> 'kind' not in ('role-end', 'key-end'));
  ends boolean := exists (select from jsonb_array_elements(act -> 'changes') c where c ->> 'kind' in ('role-end', 'key-end'));
  change jsonb;
  signature jsonb;
  person uuid;
begin
  lock table compliance.person_act in share row exclusive mode;
  select * into due from compliance.begin_person_act();
  founding := act ->> 'previous_act_sha256' is null;
  select a.* into previous from compliance.person_act a where a.payload_sha256 = act ->> 'previous_act_sha256';
  if act ->> 'format' is distinct from 'auditkeep-person-act/v1'
     or act ->> 'installation_id' is distinct from due.installation_id::text
     or (act ->> 'incarnation')::integer is distinct from due.incarnation then
    raise exception 'the signed change belongs to another installation' using errcode = 'AK009';
  end if;
  if (act ->> 'sequence')::integer is distinct from due.sequence
     or (previous.sequence is null and not founding) then
    raise exception 'the register changed since this change was prepared' using errcode = 'AK008';
  end if;
  if jsonb_array_length(act -> 'changes') = 0 then
    raise exception 'the act changes nothing' using errcode = 'AK014';
  end if;
  select count(distinct s ->> 'email') into signers from jsonb_array_elements(p_signatures) s;
  if signers < 2 or signers <> jsonb_array_length(p_signatures) then
    raise exception 'two different key officers have to sign' using errcode = 'AK003';
  end if;
  if dated is null or dated < clock_timestamp() - interval '15 minutes' or dated > clock_timestamp() then
    raise exception 'the change was signed too long ago' using errcode = 'AK007';
  end if;
  if dated < (previous.payload::jsonb ->> 'time')::timestamptz then
    raise exception 'the change is dated before the one that it follows' using errcode = 'AK014';
  end if;
  if effective is null or effective < dated then
    raise exception 'the change takes effect before it was made' using errcode = 'AK014';
  end if;
  if ends and effective <> dated then
    raise exception 'what ends a role or key takes effect at once: make it a change of its own' using errcode = 'AK014';
  end if;
  if adds and not founding and signers < 3 and effective < dated + interval '24 hours' then
    raise exception 'with two signatures the change takes effect after 24 hours' using errcode = 'AK014';
  end if;
  insert into compliance.person_act (sequence, payload, payload_sha256, previous_act_sha256, effective_at)
  values (due.sequence, p_payload, encode(sha256(convert_to(p_payload, 'UTF8')), 'hex'), previous.payload_sha256,
          effective);
  for change in select c from jsonb_array_elements(act -> 'changes') c loop
    perform compliance.apply_person_change(change, due.sequence, effective);
  end loop;
  for signature in select s from jsonb_array_elements(p_signatures) s loop
    -- The founders' roles come from the act they sign.
    person := compliance.check_officer(signature, case when founding then greatest(effective, now()) else now() end);
    if not founding and exists (select from jsonb_array_elements(act -> 'changes') c
                                 where c ->> 'email' = signature ->> 'email') then
      raise exception 'nobody signs a change that concerns themselves' using errcode = 'AK003';
    end if;
    insert into compliance.person_act_signature (act_sequence, person_id, key_fingerprint, signature)
    values (due.sequence, person, signature ->> 'fingerprint', signature ->> 'signature');
  end loop;
  return due.sequence;
end
$$;

grant execute on function compliance.begin_person_act() to auditkeep_engine;
grant execute on function compliance.record_person_act(text, jsonb) to auditkeep_engine;
