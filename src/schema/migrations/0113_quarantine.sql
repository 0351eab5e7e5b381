-- The way out: a unit whose destruction was approved leaves its parent for schema quarantine, is kept there for seven
-- days where verification still reads it, and is dropped. quarantine.<table> is an empty table that the quarantined
-- tables inherit from, so that whoever reads it reads them all. Breaks nothing: nothing is destroyed while
-- retention.check_disposal refuses.

do $$
declare
  family retention.family;
  place text;
begin
  for family in select * from retention.family loop
    place := format('quarantine.%I', family.table_name);
    execute format('create table %s (like %I.%I including all excluding indexes)', place, family.schema_name, family.table_name);
    execute format('comment on table %s is %L', place, 'Parent of the units of ' || family.table_name || ' that wait for their destruction. Empty itself.');
    perform retention.guard_leaf(family.table_name, place::regclass);
    execute format('create trigger ak_no_rows before insert on %s for each row execute function audit.refuse_change(%L)', place, family.table_name);
    execute format('grant select on %s to auditkeep_engine, auditkeep_view', place);
  end loop;
end
$$;

-- A repeated row is looked for in quarantine too.
create or replace function retention.twin_query(p_family retention.family, p_members text[]) returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select format('select count(*), count(*) filter (where row(%s)::text = row(%s)::text) from (%s) o, (select ($1).*) n',
    string_agg(case
        when a.attname in ('user_id', 'user_email', 'user_roles', 'session_id', 'ip_address', 'user_agent', 'actor_envelope')
          and p_family.table_name = 'audit_log'
          then format('case when o.actor_salt is null then n.%1$I else o.%1$I end', a.attname)
        when a.attname in ('resource_id', 'resource_path', 'old_values', 'new_values', 'additional_data', 'error_message',
            'payload_envelope') and p_family.table_name = 'audit_log'
          then format('case when o.payload_salt is null then n.%1$I else o.%1$I end', a.attname)
        else format('o.%I', a.attname) end, ', ' order by a.attnum),
    string_agg(format('n.%I', a.attname), ', ' order by a.attnum),
    (select string_agg(format('select m.* from %1$I.%2$I m where m.%3$I = ($1).%3$I and m.id = ($1).id',
        case suffix when 'quarantine' then 'quarantine' else p_family.schema_name end,
        p_family.table_name || case suffix when 'quarantine' then '' else suffix end,
        p_family.time_column), ' union all ')
       from unnest(p_members || case when '_archive' = any (p_members) then array['quarantine'] else '{}' end) suffix))
    from pg_attribute a
   where a.attrelid = format('%I.%I', p_family.schema_name, p_family.table_name || '_late')::regclass
     and a.attnum > 0 and not a.attisdropped
     and a.attname not in ('actor_salt', 'payload_salt', 'txid', 'hash_version', 'event_hash', 'previous_event_hash')
     and not (p_family.table_name = 'security_events_log' and a.attname in ('investigated', 'false_positive',
       'analyst_notes', 'incident_id', 'investigation_started', 'resolved_at'))
$$;

-- The unit of an id, locked, in one of the states that an edge begins from, under no other worker's lease.
create function retention.lock_unit(p_unit bigint, p_states text[]) returns retention.unit
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  unit retention.unit;
begin
  select * into unit from retention.unit u where u.unit_id = p_unit for update;
  if not found then
    raise exception 'there is no unit %', p_unit using errcode = 'AK101';
  end if;
  if unit.state <> all (p_states) then
    raise exception 'unit % is %, not %', unit.relation_name, unit.state, array_to_string(p_states, ' or ') using errcode = 'AK104';
  end if;
  perform retention.check_lease(unit);
  return unit;
end
$$;

-- purge_approved -> quarantined: out of its parent, into schema quarantine. Gives { unitId, relation, rows }.
create function retention.quarantine_unit(p_unit bigint) returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '100ms'
as $$
declare
  unit retention.unit;
  leaf regclass;
begin
  perform retention.take_structure();
  unit := retention.lock_unit(p_unit, array['purge_approved']);
  perform retention.check_disposal(p_unit, unit.plan_id);
  leaf := format('%I.%I', unit.schema_name, unit.relation_name)::regclass;
  perform retention.unhang(leaf);
  execute format('alter table %s set schema quarantine', leaf);
  execute format('alter table %s inherit quarantine.%I', leaf, unit.table_name);
  update retention.unit u set state = 'quarantined', schema_name = 'quarantine', quarantined_at = clock_timestamp()
    where u.unit_id = p_unit;
  return jsonb_build_object('unitId', p_unit, 'relation', 'quarantine.' || unit.relation_name, 'rows', unit.row_count);
end
$$;

-- quarantined -> archived: the review thought better of it, or a hold came in time. A first generation goes back among
-- the archive's partitions, others beside the late table. The plan is forgotten.
create function retention.rescue_unit(p_unit bigint) returns jsonb
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
begin
  perform retention.take_structure();
  unit := retention.lock_unit(p_unit, array['quarantined']);
  branch := retention.branch_of(unit.table_name, unit.category);
  select * into strict family from retention.family f where f.table_name = unit.table_name;
  leaf := format('%I.%I', unit.schema_name, unit.relation_name)::regclass;
  perform retention.unhang(leaf);
  execute format('alter table %s set schema %I', leaf, family.schema_name);
  if unit.generation = 1 then
    perform retention.attach_leaf(format('%I.%I', family.schema_name, branch.archive_parent)::regclass, leaf,
      unit.lower_bound, unit.upper_bound);
  else
    perform retention.hang_beside(unit.table_name, leaf);
  end if;
  update retention.unit u set state = 'archived', schema_name = family.schema_name, quarantined_at = null, plan_id = null
    where u.unit_id = p_unit;
  return jsonb_build_object('unitId', p_unit, 'relation', family.schema_name || '.' || unit.relation_name, 'rows', unit.row_count);
end
$$;

-- quarantined -> purging, the point of no return: proves once more that the table holds what its manifest says, then
-- drops it. Places in the chain, root and approval stay. Gives { unitId, relation, rows }.
create function retention.drop_unit(p_unit bigint, p_plan uuid) returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '100ms'
as $$
declare
  unit retention.unit;
  expected retention.manifest;
  found_rows bigint;
  found_print bytea;
begin
  perform retention.take_structure();
  unit := retention.lock_unit(p_unit, array['quarantined']);
  if unit.plan_id is distinct from p_plan then
    raise exception 'unit % is not destroyed under plan %', unit.relation_name, p_plan using errcode = 'AK109';
  end if;
  if unit.quarantined_at + interval '168 hours' > clock_timestamp() then
    raise exception 'unit % has been in quarantine for less than seven days', unit.relation_name using errcode = 'AK108';
  end if;
  -- Before the long proof, and by the trigger after it.
  perform retention.check_disposal(p_unit, p_plan);
  select * into strict expected from retention.manifest m where m.unit_id = p_unit;
  select f.row_count, f.fingerprint into found_rows, found_print
    from retention.fingerprint(unit.table_name, format('%I.%I', unit.schema_name, unit.relation_name)) f;
  if found_rows <> expected.row_count or found_print <> expected.fingerprint then
    raise exception 'unit % does not hold what its manifest says', unit.relation_name using errcode = 'AK111';
  end if;
  update retention.unit u set state = 'purging', purged_at = clock_timestamp() where u.unit_id = p_unit;
  execute format('drop table %I.%I', unit.schema_name, unit.relation_name);
  return jsonb_build_object('unitId', p_unit, 'relation', unit.schema_name || '.' || unit.relation_name, 'rows', unit.row_count);
end
$$;

-- purging -> purged, once the table is proven absent. For the function that writes the certificate, in its transaction.
create function retention.finish_purge(p_unit bigint) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  unit retention.unit;
begin
  unit := retention.lock_unit(p_unit, array['purging']);
  if to_regclass(format('%I.%I', unit.schema_name, unit.relation_name)) is not null then
    raise exception 'unit % is still there', unit.relation_name using errcode = 'AK104';
  end if;
  update retention.unit u set state = 'purged' where u.unit_id = p_unit;
end
$$;

-- What was destroyed, with its places in the chain: links whose events are in none of hot, archive, late and quarantine
-- have to be in here.
create view retention.purged_unit as
  select u.unit_id, u.table_name, u.category, u.lower_bound, u.upper_bound, u.generation, u.state, u.plan_id, u.purged_at,
         m.row_count, m.fingerprint, m.method, m.seqs
    from retention.unit u join retention.manifest m on m.unit_id = u.unit_id
   where u.state in ('purging', 'purged');

grant select on retention.purged_unit to auditkeep_engine, auditkeep_view;
grant execute on function retention.quarantine_unit(bigint) to auditkeep_engine;
grant execute on function retention.rescue_unit(bigint) to auditkeep_engine;
grant execute on function retention.drop_unit(bigint, uuid) to auditkeep_engine;
