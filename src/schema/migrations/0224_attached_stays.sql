-- An attached unit stays below its hot table until the day that two persons signed: a split took it away before, and no event
-- said that the attachment was over. And what they signed binds all that identifies a unit: its name and both of its bounds
-- too, not rows, fingerprint and end alone. Breaks nothing: no step of ours splits a sealed unit; what was signed so far says
-- the bounds and the name that the unit has.

create or replace function retention.keep_attached() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if old.expires_at > retention.clock() then
    raise exception 'unit % is attached until %', old.relation_name, compliance.iso(old.expires_at) using errcode = 'AK108';
  end if;
  new.expires_at := null;
  return new;
end
$$;
drop trigger ak_unit_attached on retention.unit;
create trigger ak_unit_attached before update on retention.unit
  for each row when (old.state = 'sealed' and new.state in ('archived', 'split') and old.expires_at is not null)
  execute function retention.keep_attached();
alter table retention.unit enable always trigger ak_unit_attached;

-- The day itself cannot be moved by anything but the edges.
create function retention.keep_expiry() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  raise exception 'unit % keeps the day that was signed', old.relation_name using errcode = 'AK104';
end
$$;
create trigger ak_unit_expiry before update on retention.unit
  for each row when (old.state = 'sealed' and new.state = 'sealed' and old.expires_at is distinct from new.expires_at)
  execute function retention.keep_expiry();
alter table retention.unit enable always trigger ak_unit_expiry;

-- As before (0166), but for the bounds and the name.
-- Raises unless two persons have signed that this very unit is attached, and it is still time.
create or replace function retention.check_attach(p_restore uuid, p_unit retention.unit) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  request retention.restore_request;
  sealed retention.manifest;
  entry jsonb;
begin
  select * into request from retention.restore_request r where r.restore_id = p_restore;
  if not exists (select from compliance.object_decision d
                   join compliance.object_decision q on q.payload_sha256 = d.previous_decision_sha256
                    and q.object_id = d.object_id and q.object_hash = d.object_hash and q.person_id <> d.person_id
                  where d.object_id = request.restore_id and d.object_kind = 'restore' and d.meaning = 'approve'
                    and d.object_hash = request.sha256) then
    raise exception 'no two persons have signed that unit % is attached', p_unit.relation_name using errcode = 'AK109';
  end if;
  if request.until <= retention.clock() then
    raise exception 'the time of restore % is over', p_restore using errcode = 'AK127';
  end if;
  select e into entry from jsonb_array_elements(request.document::jsonb -> 'units') e where (e ->> 'unit_id')::bigint = p_unit.unit_id;
  select * into sealed from retention.manifest m where m.unit_id = p_unit.unit_id;
  if entry is null
     or ((entry ->> 'rows')::bigint, entry ->> 'fingerprint', entry ->> 'partition', entry ->> 'to', entry ->> 'from')
       is distinct from
        (sealed.row_count, encode(sealed.fingerprint, 'hex'), p_unit.relation_name, compliance.iso(p_unit.upper_bound),
         case when isfinite(p_unit.lower_bound) then compliance.iso(p_unit.lower_bound) end) then
    raise exception 'unit % is not in restore %, or not what it says', p_unit.relation_name, p_restore using errcode = 'AK126';
  end if;
end
$$;
