-- The whole life of a unit as data: every edge with its guard, who takes it, what its one transaction does and what a
-- crash leaves. The trigger on retention.unit enforces it: an edge that is not in the table does not exist, one that is
-- blocked by holds asks retention.is_held(), one that leads to destruction asks retention.check_disposal(). Whoever
-- changes a unit (functions, raw SQL, even a superuser's) passes it.
-- Breaks nothing: states and edges are added; dropped -> purge_due and restored -> quarantined were never taken.

alter table retention.unit_edge
  add column disposal boolean not null default false,
  add column guard text not null default '',
  add column who text not null default '',
  add column does text not null default '',
  add column crash text not null default '';
comment on column retention.unit_edge.blocked_by_hold is 'retention.is_held(unit) stops it.';
comment on column retention.unit_edge.disposal is 'Leads to destruction: retention.check_disposal(unit, plan) has to pass.';
comment on column retention.unit_edge.from_state is 'new stands for a unit that is not there yet.';
comment on column retention.unit_edge.crash is 'What a crash in the middle of the edge leaves, before anybody runs again.';

alter table retention.unit drop constraint unit_state_check;
alter table retention.unit add constraint unit_state_check check (state in ('hot', 'sealed', 'archived', 'copied',
  'verified', 'locked', 'committed', 'quarantined', 'dropped', 'purge_due', 'purge_approved', 'purging', 'purged',
  'split', 'restored', 'expired', 'failed'));
alter table retention.unit
  add column plan_id uuid,
  add column parent_id bigint references retention.unit,
  add column quarantined_at timestamptz,
  add column purged_at timestamptz,
  add column expires_at timestamptz,
  add column lease_holder uuid,
  add column lease_until timestamptz,
  add column lease_pid integer,
  add check ((lease_holder is null) = (lease_until is null) and (lease_holder is null) = (lease_pid is null)),
  add check (state not in ('purge_approved', 'purging', 'purged') or plan_id is not null);
comment on column retention.unit.plan_id is 'The approved plan under which the unit is destroyed.';
comment on column retention.unit.parent_id is 'The unit that this one was split from or restored from.';
comment on column retention.unit.lease_pid is 'The session that claimed the unit: the claim ends with it, at the latest at lease_until.';
comment on column retention.unit.expires_at is 'When a restored copy is dropped.';

delete from retention.unit_edge;
insert into retention.unit_edge (from_state, to_state, blocked_by_hold, disposal, guard, who, does, crash) values
  ('new', 'hot', false, false, 'contiguous; no unit there before; a tombstone that gives way is empty',
   'create-partitions, import', 'CREATE, ATTACH, triggers, CHECK, unit row, event', 'nothing'),
  ('new', 'archived', false, false, 'generation 2 or later; its rows are proven to be those that left their origin',
   'collect-late, split', 'late rows or a sibling in a table of their own beside the late table, unit row, event', 'nothing'),
  ('new', 'restored', false, false, 'its fingerprint equals the manifest', 'archive restore',
   'a restored_ table in schema quarantine, unit row with its expiry, event', 'nothing'),
  ('hot', 'sealed', false, false,
   'ended; diverting since an earlier transaction; triggers on; bounds proven; every event linked; no open incident, or 90 days past the bound',
   'archive', 'counts, manifest, unit row, event', 'hot, diverting'),
  ('sealed', 'archived', true, false, 'structure lock free; roll-ups proven', 'archive',
   'DETACH, ATTACH to the archive, tombstone, unit row, event last', 'sealed'),
  ('sealed', 'split', false, false, 'structure lock free; siblings hold exactly the unit''s rows', 'split',
   'DETACH, siblings beside the late table, tombstone, DROP of the original, unit rows, event', 'sealed'),
  ('archived', 'split', false, false, 'structure lock free; siblings hold exactly the unit''s rows', 'split',
   'DETACH, siblings beside the late table, DROP of the original, unit rows, event', 'archived'),
  ('archived', 'copied', false, false, 'lease', 'cold archive', 'objects put, unit row', 'archived; orphan objects'),
  ('copied', 'verified', false, false, 'read back, fingerprint and chain equal', 'cold archive', 'unit row', 'copied'),
  ('verified', 'locked', false, false, 'the canary object proves the lock', 'cold archive', 'lock until, unit row', 'verified'),
  ('locked', 'committed', false, false, 'manifest signed and chained', 'cold archive', 'manifest, unit row, event', 'locked'),
  ('committed', 'quarantined', true, false, 'structure lock free', 'cold archive', 'out of the parent into schema quarantine, unit row, event', 'committed'),
  ('quarantined', 'dropped', true, false, 'a committed cold copy; 7 days in quarantine', 'cold archive', 'DROP, unit row, event', 'quarantined'),
  ('archived', 'purge_due', true, false, 'past its archive period, review wanted by policy', 'purge plan', 'unit row', 'archived'),
  ('dropped', 'purge_due', true, false, 'past its cold period, review wanted by policy', 'purge plan', 'unit row', 'dropped'),
  ('purge_due', 'purge_approved', true, true, 'a plan that two persons signed', 'purge approve', 'unit row with its plan, event', 'purge_due'),
  ('purge_due', 'archived', false, false, 'the table lies in its archive', 'purge review', 'unit row', 'purge_due'),
  ('purge_approved', 'archived', false, false, 'the table lies in its archive', 'purge review', 'unit row, plan forgotten', 'purge_approved'),
  ('purge_approved', 'quarantined', true, true, 'approval not expired; no drift; structure lock free', 'purge run',
   'out of the archive into schema quarantine, unit row, event', 'purge_approved'),
  ('purge_approved', 'purging', true, true, 'no table left; approval not expired; no drift', 'purge run',
   'destroys the wrapped key of the object, unit row, event', 'purge_approved'),
  ('quarantined', 'archived', false, false, 'structure lock free', 'purge review',
   'back beside the late table, unit row, plan forgotten, event', 'quarantined'),
  ('quarantined', 'purging', true, true, '7 days in quarantine; approval; structure lock free: the point of no return',
   'purge run', 'seq ranges and root kept, DROP, unit row, event', 'quarantined'),
  ('purging', 'purged', false, false, 'table and objects proven absent', 'purge run', 'certificate, unit row, event', 'purging'),
  ('restored', 'expired', false, false, 'past its expiry', 'archive', 'DROP of the copy, unit row, event', 'restored');

-- An edge that fails leads to failed and, on retry, back to where the edge started (retention.unit.failed_from).
insert into retention.unit_edge (from_state, to_state, blocked_by_hold, guard, who, does, crash)
select distinct from_state, 'failed', false, 'an edge failed for another reason than a lock, a hold or a rule',
       'the edge''s own run', 'unit row with failed_from, event', from_state
  from retention.unit_edge where from_state <> 'new'
union all
select distinct 'failed', from_state, false, 'failed_from', 'the reconciler', 'unit row, event', 'failed'
  from retention.unit_edge where from_state <> 'new';

-- Whether a hold reaches a unit. Consulted by every edge that is blocked by holds.
create function retention.is_held(p_unit bigint) returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select u.held from retention.unit u where u.unit_id = p_unit
$$;

-- Raises unless the unit may be destroyed under the plan. Called by the trigger on retention.unit for every edge of
-- disposal, inside the transaction that destroys; retention.unit still shows the state that the edge starts from.
create function retention.check_disposal(p_unit bigint, p_plan uuid) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  raise exception 'no approval allows that unit % is destroyed under plan %', p_unit, coalesce(p_plan::text, '(none)')
    using errcode = 'AK109';
end
$$;

create or replace function retention.check_unit_change() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  edge retention.unit_edge;
begin
  if tg_op = 'DELETE' then
    raise exception 'unit % cannot be deleted: its row is its history', old.unit_id using errcode = 'AK104';
  end if;
  if tg_op = 'INSERT' then
    if not exists (select from retention.unit_edge e where e.from_state = 'new' and e.to_state = new.state) then
      raise exception 'a unit does not begin %', new.state using errcode = 'AK104';
    end if;
    -- A first generation begins hot: what lies in an archive came there from a hot table.
    if (new.state = 'hot') <> (new.generation = 1) then
      raise exception 'a unit of generation % does not begin %', new.generation, new.state using errcode = 'AK104';
    end if;
    return new;
  end if;
  if (new.unit_id, new.table_name, new.category, new.lower_bound, new.upper_bound, new.generation, new.relation_name, new.parent_id)
     is distinct from
     (old.unit_id, old.table_name, old.category, old.lower_bound, old.upper_bound, old.generation, old.relation_name, old.parent_id) then
    raise exception 'the identity of unit % cannot change', old.unit_id using errcode = 'AK104';
  end if;
  if new.state <> old.state then
    select * into edge from retention.unit_edge e where e.from_state = old.state and e.to_state = new.state;
    if not found or (old.state = 'failed' and new.state <> old.failed_from)
       or (new.state = 'failed' and new.failed_from <> old.state) then
      raise exception 'unit % cannot go from % to %', old.unit_id, old.state, new.state using errcode = 'AK104';
    end if;
    if edge.blocked_by_hold and retention.is_held(old.unit_id) then
      raise exception 'unit % is under a legal hold and cannot go from % to %', old.unit_id, old.state, new.state
        using errcode = 'AK105';
    end if;
    if edge.disposal then
      perform retention.check_disposal(old.unit_id, new.plan_id);
    end if;
  end if;
  if new.plan_id is distinct from old.plan_id and new.state not in ('purge_approved', 'archived') then
    raise exception 'the plan of unit % cannot change while it is %', old.unit_id, new.state using errcode = 'AK104';
  end if;
  new.changed_at := clock_timestamp();
  return new;
end
$$;
