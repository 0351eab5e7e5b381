-- A range comes back as a table of its own (archive restore): a copy of an archived unit in schema quarantine, proven to hold
-- what the manifest says, with an expiry. quarantine.restored_<table> is an empty table that the copies inherit from: people
-- read them there, and erasure, which lists tables once and then goes through them, finds a copy that was made meanwhile.
-- No view, report, hold or verification reads copies: they are not members of anything that is counted.
-- Breaks nothing: nothing was restored yet. drop_unit keeps its name, arguments and grants and tells the copies that it drops.

do $$
declare
  family retention.family;
  place text;
  reader text;
begin
  for family in select * from retention.family loop
    place := format('quarantine.%I', 'restored_' || family.table_name);
    execute format('create table %s (like %I.%I including all excluding indexes)', place, family.schema_name, family.table_name);
    execute format('comment on table %s is %L', place, 'Parent of the restored copies of ' || family.table_name || '. Empty itself.');
    perform retention.guard_leaf(family.table_name, place::regclass);
    execute format('create trigger ak_no_rows before insert on %s for each row execute function audit.refuse_change(%L)', place, family.table_name);
    execute format('grant select on %s to auditkeep_engine, auditkeep_view', place);
    -- Who may read the archive may read what came back from it.
    foreach reader in array array['audit_role', 'security_analyst_role'] loop
      if has_table_privilege(reader, format('%I.%I', family.schema_name, family.table_name || '_archive'), 'select') then
        execute format('grant select on %s to %I', place, reader);
      end if;
    end loop;
  end loop;
end
$$;
grant usage on schema quarantine to audit_role, security_analyst_role;

update retention.unit_edge set guard = 'past its expiry, or what it is a copy of is destroyed', who = 'housekeeping, purge run'
 where from_state = 'restored' and to_state = 'expired';
update retention.unit_edge set does = 'seq ranges and root kept, DROP of it and of its restored copies, unit rows, event'
 where from_state = 'quarantined' and to_state = 'purging';

-- As before (0122), and a copy is reached by no hold: what it is a copy of is held.
create or replace function retention.reaches(p_hold retention.hold, p_unit retention.unit) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
  condition text := retention.hold_condition(p_hold, p_unit.table_name);
  leaf regclass := to_regclass(format('%I.%I', p_unit.schema_name, p_unit.relation_name));
  hit boolean;
begin
  if condition is null or p_unit.upper_bound <= p_hold.held_from or p_unit.lower_bound >= p_hold.held_to
     or p_unit.state in ('purging', 'purged', 'split', 'restored', 'expired') then
    return false;
  end if;
  -- Without a predicate on rows the bounds decide; so they do where the rows lie in no table here and cannot be matched.
  if leaf is null or (p_hold.held_user is null and p_hold.resource_type is null and p_hold.ids is null) then
    return true;
  end if;
  execute format('select exists (select from %s e where %s)', leaf, condition) into hit;
  return hit;
end
$$;

-- Rows of an audit_log relation that are not what the chain linked: the fingerprint takes leaves from the links.
create function retention.count_unlike_leaf(p_relation regclass) returns bigint
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  unlike bigint;
begin
  execute format('select count(*) from %s e join audit.chain_link l on l.event_id = e.id and l.event_timestamp = e.event_timestamp
                   where audit.event_leaf(row(%s)::audit.audit_log) is distinct from l.leaf', p_relation, retention.columns_of('audit_log', 'e'))
    into unlike;
  return unlike;
end
$$;

-- new -> restored: copies an archived unit for p_days days and proves the copy. Gives { unitId, relation, rows, fingerprint,
-- expiresAt }. Nobody's lock waits for it but an erasure of the unit's rows, which then reaches the copy.
create function retention.restore_unit(p_unit bigint, p_days integer) returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '100ms'
set timezone = 'UTC'
as $$
declare
  unit retention.unit;
  branch retention.branch;
  family retention.family;
  sealed retention.manifest;
  name text;
  copy regclass;
  generation integer;
  made retention.unit;
  found_rows bigint;
  found_print bytea;
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    -- An older snapshot would bring back what was erased since.
    raise exception 'restore_unit needs READ COMMITTED' using errcode = 'AK104';
  end if;
  if p_days not between 1 and 90 or p_days is null then
    raise exception 'a copy is kept for 1 to 90 days, not %', p_days using errcode = 'AK102';
  end if;
  unit := retention.lock_unit(p_unit, array['archived']);
  if exists (select from retention.unit c where c.parent_id = p_unit and c.state = 'restored') then
    raise exception 'a copy of % is there already', unit.relation_name using errcode = 'AK104';
  end if;
  branch := retention.branch_of(unit.table_name, unit.category);
  select * into strict family from retention.family f where f.table_name = unit.table_name;
  select * into strict sealed from retention.manifest m where m.unit_id = p_unit;
  execute format('lock table %I.%I in share mode', unit.schema_name, unit.relation_name);
  generation := retention.next_generation(branch, unit.lower_bound);
  name := 'restored_' || retention.leaf_name(branch.hot_parent, unit.lower_bound, unit.upper_bound) || '_g' || generation;
  if length(name) > 63 then
    name := format('restored_%s_u%s_g%s', unit.table_name, p_unit, generation);
  end if;
  copy := retention.make_beside(branch, name, unit.lower_bound, unit.upper_bound);
  execute format('insert into %s (%s) select %s from %I.%I e', copy, retention.columns_of(unit.table_name),
    retention.columns_of(unit.table_name, 'e'), unit.schema_name, unit.relation_name);
  execute format('alter table %s set schema quarantine', copy);
  execute format('alter table %s inherit quarantine.%I', copy, 'restored_' || unit.table_name);
  select f.row_count, f.fingerprint into found_rows, found_print from retention.fingerprint(unit.table_name, copy::text) f;
  if found_rows <> sealed.row_count or found_print <> sealed.fingerprint
     or (unit.table_name = 'audit_log' and retention.count_unlike_leaf(copy) > 0) then
    raise exception 'unit % does not hold what its manifest says', unit.relation_name using errcode = 'AK111';
  end if;
  insert into retention.unit (table_name, category, lower_bound, upper_bound, generation, schema_name, relation_name, state,
    row_count, parent_id, expires_at)
  values (unit.table_name, unit.category, unit.lower_bound, unit.upper_bound, generation, 'quarantine', name, 'restored',
    found_rows, p_unit, retention.clock() + make_interval(hours => 24 * p_days))
  returning * into made;
  return jsonb_build_object('unitId', made.unit_id, 'relation', copy::text, 'rows', found_rows,
    'fingerprint', encode(found_print, 'hex'), 'expiresAt', compliance.iso(made.expires_at));
end
$$;
grant execute on function retention.restore_unit(bigint, integer) to auditkeep_engine;

-- restored -> expired: the copy goes.
create function retention.drop_copy(p_unit bigint) returns text
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  unit retention.unit;
begin
  unit := retention.lock_unit(p_unit, array['restored']);
  execute format('drop table %I.%I', unit.schema_name, unit.relation_name);
  update retention.unit u set state = 'expired' where u.unit_id = p_unit;
  return unit.schema_name || '.' || unit.relation_name;
end
$$;

create function retention.expire_copy(p_unit bigint) returns text
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '100ms'
as $$
begin
  if not exists (select from retention.unit u where u.unit_id = p_unit and u.expires_at <= retention.clock()) then
    raise exception 'copy % has not expired', p_unit using errcode = 'AK108';
  end if;
  return retention.drop_copy(p_unit);
end
$$;
grant execute on function retention.expire_copy(bigint) to auditkeep_engine;

-- What is destroyed is destroyed in its copies too, also in those that were made before it was split off: the trigger lets
-- no unit begin to be destroyed while one is left, and drop_unit takes them along. Its result has { copies } more.
create function retention.copies_of(p_unit bigint) returns setof bigint
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with recursive origin as (
    select u.unit_id, u.parent_id from retention.unit u where u.unit_id = p_unit
    union all
    select u.unit_id, u.parent_id from retention.unit u join origin o on u.unit_id = o.parent_id)
  select c.unit_id from retention.unit c where c.state = 'restored' and c.parent_id in (select o.unit_id from origin o) order by 1
$$;

create function retention.refuse_copies_left() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if exists (select from retention.copies_of(new.unit_id)) then
    raise exception 'a restored copy of unit % is left', new.relation_name using errcode = 'AK104';
  end if;
  return new;
end
$$;
create trigger ak_unit_copies before update on retention.unit
  for each row when (new.state = 'purging' and old.state <> 'purging') execute function retention.refuse_copies_left();

alter function retention.drop_unit(bigint, uuid) rename to drop_unit_itself;
revoke execute on function retention.drop_unit_itself(bigint, uuid) from auditkeep_engine;

create function retention.drop_unit(p_unit bigint, p_plan uuid) returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '100ms'
as $$
declare
  copies jsonb;
begin
  select coalesce(jsonb_agg(retention.drop_copy(c)), '[]') into copies from retention.copies_of(p_unit) c;
  return retention.drop_unit_itself(p_unit, p_plan) || jsonb_build_object('copies', copies);
end
$$;
grant execute on function retention.drop_unit(bigint, uuid) to auditkeep_engine;
