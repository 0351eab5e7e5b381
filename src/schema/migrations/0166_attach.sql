-- archive restore --attach: an archived unit goes back below its hot table for a while, as it was sealed, once two records
-- managers have signed which ones and until when. Its tombstone gives way, its divert stays (new rows of its range still
-- come late), and no archival run takes it before its time. Breaks nothing: a new kind of decision, a new edge.

alter table compliance.object_rule drop constraint object_rule_object_kind_check;
alter table compliance.object_rule add constraint object_rule_object_kind_check
  check (object_kind in ('plan', 'hold', 'release', 'policy', 'restore'));
insert into compliance.object_rule (object_kind, meaning, role) values
  ('restore', 'request', 'records_manager'),
  ('restore', 'approve', 'records_manager');

create table retention.restore_request (
  restore_id uuid primary key,
  -- RFC 8785 text: units with bounds, rows and fingerprint, and until when. What two persons sign is its hash.
  document   text not null,
  sha256     char(64) not null unique check (sha256 = encode(sha256(convert_to(document, 'UTF8')), 'hex')),
  until      timestamptz not null check (isfinite(until)),
  reason     text not null check (btrim(reason) <> ''),
  login      text not null default session_user,
  drafted_at timestamptz not null default retention.clock()
);
comment on table retention.restore_request is 'Units that are to hang below their hot tables again; one counts once two records managers have signed its hash.';
create trigger append_only before update or delete on retention.restore_request
  for each row execute function compliance.refuse_change();
create trigger no_truncate before truncate on retention.restore_request
  for each statement execute function compliance.refuse_change();
alter table retention.restore_request enable always trigger append_only, enable always trigger no_truncate;
grant select on retention.restore_request to auditkeep_engine, auditkeep_view;

comment on column retention.unit.expires_at is 'When a restored copy is dropped; of a unit that was attached again: when it may be archived.';

-- As before (0122), and the kind restore.
create or replace function retention.object_hash(p_kind text, p_id uuid) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return case p_kind
    when 'policy' then (select v.sha256 from retention.policy_version v where v.policy_id = p_id and v.shortens)
    when 'hold' then (select h.sha256 from retention.hold h where h.hold_id = p_id)
    when 'release' then (select r.sha256 from retention.hold_release r where r.release_id = p_id)
    when 'restore' then (select r.sha256 from retention.restore_request r where r.restore_id = p_id)
    when 'plan' then retention.plan_hash(p_id) end;
end
$$;

create function retention.draft_restore(p_document text) returns uuid
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
  said jsonb := p_document::jsonb;
begin
  if said ->> 'format' is distinct from 'auditkeep-attach/v1' or jsonb_array_length(said -> 'units') = 0 then
    raise exception 'nothing is to be attached' using errcode = 'AK126';
  end if;
  if (said ->> 'until')::timestamptz not between retention.clock() and retention.clock() + interval '2160 hours' then
    raise exception 'a unit is attached for at most 90 days' using errcode = 'AK102';
  end if;
  insert into retention.restore_request (restore_id, document, sha256, until, reason)
  values ((said ->> 'restore_id')::uuid, p_document, encode(sha256(convert_to(p_document, 'UTF8')), 'hex'),
    (said ->> 'until')::timestamptz, said ->> 'reason');
  return (said ->> 'restore_id')::uuid;
end
$$;
grant execute on function retention.draft_restore(text) to auditkeep_engine;

-- Raises unless two persons have signed that this very unit is attached, and it is still time.
create function retention.check_attach(p_restore uuid, p_unit retention.unit) returns void
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
  if entry is null or ((entry ->> 'rows')::bigint, entry ->> 'fingerprint', entry ->> 'to')
       is distinct from (sealed.row_count, encode(sealed.fingerprint, 'hex'), compliance.iso(p_unit.upper_bound)) then
    raise exception 'unit % is not in restore %, or not what it says', p_unit.relation_name, p_restore using errcode = 'AK126';
  end if;
end
$$;

-- archived -> sealed in the caller's transaction: DETACH from the archive, the tombstone gives way, ATTACH below the hot
-- table. Gives { unitId, relation, rows }.
create function retention.attach_unit(p_unit bigint, p_restore uuid) returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '100ms'
set timezone = 'UTC'
as $$
declare
  unit retention.unit;
  branch retention.branch;
  family retention.family;
  leaf regclass;
  parent regclass;
  tomb record;
begin
  perform retention.take_structure();
  unit := retention.lock_unit(p_unit, array['archived']);
  if unit.generation <> 1 then
    raise exception 'unit % lies beside the late table: it has no place among partitions', unit.relation_name using errcode = 'AK104';
  end if;
  perform retention.check_attach(p_restore, unit);
  branch := retention.branch_of(unit.table_name, unit.category);
  select * into strict family from retention.family f where f.table_name = unit.table_name;
  parent := format('%I.%I', family.schema_name, branch.hot_parent)::regclass;
  leaf := format('%I.%I', unit.schema_name, unit.relation_name)::regclass;
  perform retention.check_sealable(unit, leaf);
  select * into tomb from retention.leaves(parent) l
   where l.tombstone and l.lower_bound <= unit.lower_bound and l.upper_bound >= unit.upper_bound;
  if not found then
    raise exception '% has no room for unit %', branch.hot_parent, unit.relation_name using errcode = 'AK102';
  end if;
  perform retention.unhang(leaf);
  perform retention.carve_tombstone(branch, parent, tomb.relation, tomb.lower_bound, tomb.upper_bound,
    unit.lower_bound, unit.upper_bound);
  perform retention.attach_leaf(parent, leaf, unit.lower_bound, unit.upper_bound);
  perform retention.prove_contiguous(parent);
  update retention.unit u set state = 'sealed', archived_at = null,
      expires_at = (select r.until from retention.restore_request r where r.restore_id = p_restore)
    where u.unit_id = p_unit;
  return jsonb_build_object('unitId', p_unit, 'relation', unit.schema_name || '.' || unit.relation_name, 'rows', unit.row_count);
end
$$;
grant execute on function retention.attach_unit(bigint, uuid) to auditkeep_engine;

insert into retention.unit_edge (from_state, to_state, blocked_by_hold, disposal, guard, who, does, crash) values
  ('archived', 'sealed', false, false, 'two persons signed it; first generation; structure lock free', 'archive restore --attach',
   'DETACH from the archive, tombstone gives way, ATTACH to the hot table, unit row with its time, event', 'archived');

-- An attached unit is archived again when its time is over, not before.
create function retention.keep_attached() returns trigger
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
create trigger ak_unit_attached before update on retention.unit
  for each row when (old.state = 'sealed' and new.state = 'archived' and old.expires_at is not null)
  execute function retention.keep_attached();
