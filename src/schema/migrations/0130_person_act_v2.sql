-- Acts of the register become auditkeep-person-act/v2: the proof of a key names the installation, and officers can
-- acknowledge a void act or decision, so that it is told apart from new findings (docs/spec/decision-v1.md). Acts of v1 stay
-- as they are and are read as they were; none is recorded any more. Breaks nothing that is stored; a release without v2
-- cannot change the register any more.

-- That what officers acknowledge exists as they saw it. Whether it is void, only readers can tell.
create function compliance.check_acknowledgement(p_change jsonb) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (
    select from compliance.person_act a
     where p_change ->> 'subject' = 'act' and a.sequence::text = p_change ->> 'id'
       and a.payload_sha256 = p_change ->> 'payload_sha256'
    union all
    select from compliance.decision d
     where p_change ->> 'subject' = 'decision' and d.id::text = p_change ->> 'id'
       and d.payload_sha256 = p_change ->> 'payload_sha256') then
    raise exception 'what is acknowledged is not there' using errcode = 'AK014';
  end if;
end
$$;

-- Records a signed change of the register. The first act founds it: its own two key officers sign. Later ones need two
-- key officers whom the act does not concern; what adds authority waits 24 hours unless a third signs, what ends it
-- waits for nobody. The act that a new one follows is the one its signers name: readers, who check signatures, pass over
-- acts that do not hold, and so must whoever makes the next.
create or replace function compliance.record_person_act(p_payload text, p_signatures jsonb) returns integer
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
  adds boolean := exists (select from jsonb_array_elements(act -> 'changes') c where c ->> 'kind' in ('person', 'role', 'key'));
  ends boolean := exists (select from jsonb_array_elements(act -> 'changes') c where c ->> 'kind' in ('role-end', 'key-end'));
  change jsonb;
  signature jsonb;
  person uuid;
begin
  lock table compliance.person_act in share row exclusive mode;
  select * into due from compliance.begin_person_act();
  founding := act ->> 'previous_act_sha256' is null;
  select a.* into previous from compliance.person_act a where a.payload_sha256 = act ->> 'previous_act_sha256';
  if act ->> 'format' is distinct from 'auditkeep-person-act/v2'
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
    if change ->> 'kind' = 'acknowledge' then
      perform compliance.check_acknowledgement(change);
    else
      perform compliance.apply_person_change(change, due.sequence, effective);
    end if;
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
