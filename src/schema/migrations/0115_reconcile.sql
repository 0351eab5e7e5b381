-- What every run does first, and what keeps two runs off one unit: leases, failed edges and their retry, partitions that
-- somebody took out of a hot table (also by a DETACH CONCURRENTLY that was cut short), neighbouring tombstones.
-- Breaks nothing: new functions only.

-- A worker's claim on a unit: it ends with the session that took it, at the latest after some seconds. False when another worker has one. Taking one's own again extends it.
create function retention.take_lease(p_unit bigint, p_holder uuid, p_seconds integer) returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if p_seconds not between 1 and 3600 or p_holder is null then
    raise exception 'a lease lasts 1 to 3600 seconds and has a holder' using errcode = 'AK102';
  end if;
  update retention.unit u
     set lease_holder = p_holder, lease_until = clock_timestamp() + make_interval(secs => p_seconds),
         lease_pid = pg_backend_pid()
   where u.unit_id = p_unit and (not retention.is_leased(u) or u.lease_holder = p_holder);
  return found;
end
$$;

create function retention.release_lease(p_unit bigint, p_holder uuid) returns void
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  update retention.unit u set lease_holder = null, lease_until = null, lease_pid = null
   where u.unit_id = p_unit and u.lease_holder = p_holder
$$;

-- any -> failed: an edge of it failed for a reason that no lock, hold or rule explains.
create function retention.fail_unit(p_unit bigint) returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  update retention.unit u set state = 'failed', failed_from = u.state
   where u.unit_id = p_unit
     and exists (select from retention.unit_edge e where e.from_state = u.state and e.to_state = 'failed' and u.state <> 'failed');
  return found;
end
$$;

-- failed -> where the edge began. The next run tries it again.
create function retention.retry_unit(p_unit bigint) returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  update retention.unit u set state = u.failed_from, failed_from = null where u.unit_id = p_unit and u.state = 'failed';
  return found;
end
$$;

-- Hot units whose table is missing from its parent: detached, half detached (rows in neither), or gone.
create function retention.stray_units()
returns table (unit_id bigint, relation_name text, parent text, state text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select u.unit_id, u.relation_name, format('%I.%I', u.schema_name, b.hot_parent),
         case when c.oid is null then 'gone' when i.inhdetachpending then 'half detached' else 'detached' end
    from retention.unit u
    join retention.branch b on b.table_name = u.table_name and b.category = u.category
    left join pg_class c on c.oid = to_regclass(format('%I.%I', u.schema_name, u.relation_name))
    left join pg_inherits i on i.inhrelid = c.oid
   where u.state in ('hot', 'sealed') and (i.inhrelid is null or i.inhdetachpending)
$$;

-- Brings a hot unit's table back below its parent, after finishing the DETACH CONCURRENTLY that somebody left half done.
-- The unit's own CHECK spares the scan; without it the table has been altered, and a person has to look.
create function retention.reattach_unit(p_unit bigint) returns text
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '100ms'
set timezone = 'UTC'
as $$
declare
  unit retention.unit;
  stray record;
  leaf regclass;
begin
  perform retention.take_structure();
  unit := retention.lock_unit(p_unit, array['hot', 'sealed']);
  select * into stray from retention.stray_units() s where s.unit_id = p_unit;
  if not found then
    return 'attached';
  end if;
  leaf := to_regclass(format('%I.%I', unit.schema_name, unit.relation_name));
  if leaf is null then
    raise exception 'the table of unit % is gone', unit.relation_name using errcode = 'AK111';
  end if;
  if stray.state = 'half detached' then
    execute format('alter table %s detach partition %s finalize', stray.parent, leaf);
  end if;
  if not exists (select from pg_constraint c where c.conrelid = leaf and c.conname = 'ak_bounds' and c.convalidated) then
    raise exception 'the bounds of % are not proven: ATTACH would scan it', unit.relation_name using errcode = 'AK107';
  end if;
  perform retention.attach_leaf(stray.parent::regclass, leaf, unit.lower_bound, unit.upper_bound);
  return stray.state;
end
$$;

-- Merges the lowest run of neighbouring tombstones of a branch into one; gives how many it replaced, 0 when none touch.
create function retention.merge_tombstones(p_table text, p_category text default '') returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '100ms'
set timezone = 'UTC'
as $$
declare
  most_at_once constant integer := 4;
  branch retention.branch := retention.branch_of(p_table, p_category);
  parent regclass := (select format('%I.%I', f.schema_name, branch.hot_parent)::regclass from retention.family f where f.table_name = p_table);
  run record;
  tomb regclass;
  occupied boolean;
begin
  perform retention.take_structure();
  execute format('lock table %s in share update exclusive mode', parent);
  select min(t.lower_bound) as lower_bound, max(t.upper_bound) as upper_bound, array_agg(t.relation order by t.lower_bound) as tombs
    into run
    from (select l.*, row_number() over (partition by l.island order by l.lower_bound) as place
            from (select l.relation, l.lower_bound, l.upper_bound, l.tombstone,
                         count(*) filter (where not l.tombstone or l.touches is false) over (order by l.lower_bound) as island
                    from (select l.*, l.lower_bound = lag(l.upper_bound) over (order by l.lower_bound) as touches
                            from retention.leaves(parent) l) l) l
           where l.tombstone) t
   where t.place <= most_at_once
   group by t.island having count(*) > 1 order by 1 limit 1;
  if run.tombs is null then
    return 0;
  end if;
  foreach tomb in array run.tombs loop
    execute format('alter table %s detach partition %s', parent, tomb);
    execute format('select exists (select from %s)', tomb) into occupied;
    if occupied then
      raise exception 'tombstone % holds rows', tomb using errcode = 'AK102';
    end if;
    execute format('drop table %s', tomb);
  end loop;
  perform retention.add_tombstone(branch, parent, run.lower_bound, run.upper_bound);
  return cardinality(run.tombs);
end
$$;

grant execute on function retention.take_lease(bigint, uuid, integer) to auditkeep_engine;
grant execute on function retention.release_lease(bigint, uuid) to auditkeep_engine;
grant execute on function retention.fail_unit(bigint) to auditkeep_engine;
grant execute on function retention.retry_unit(bigint) to auditkeep_engine;
grant execute on function retention.stray_units() to auditkeep_engine;
grant execute on function retention.reattach_unit(bigint) to auditkeep_engine;
grant execute on function retention.merge_tombstones(text, text) to auditkeep_engine;
