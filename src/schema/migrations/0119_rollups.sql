-- Raw performance metrics leave only when their hours and days are computed and proven: a roll-up says how many raw
-- values it stands for and their sum, smallest and largest (labels._rollup), and those of a unit add up to exactly its
-- rows. Breaks nothing: raw metrics stay hot until they are rolled up.

-- Hours and days of one sealed raw unit. Counters are summed, everything else is averaged. Ids follow from the unit and
-- the group, so that a second run stores nothing twice. Gives the number of roll-ups stored.
create function retention.roll_up(p_unit bigint) returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
  unit retention.unit;
  step text;
  stored bigint := 0;
  made bigint;
begin
  unit := retention.lock_unit(p_unit, array['sealed']);
  if unit.table_name <> 'performance_metrics' or unit.category <> 'minute' then
    raise exception '% is not a unit of raw metrics', unit.relation_name using errcode = 'AK101';
  end if;
  if retention.is_rolled_up(unit) then
    return 0;
  end if;
  foreach step in array array['hour', 'day'] loop
    execute format($q$
      insert into security_internal.performance_metrics (id, metric_name, metric_type, service_name, endpoint_path, value,
        unit, labels, timestamp, collection_interval_seconds, aggregation_period)
      select md5(jsonb_build_array($1, %1$L, g.at, g.metric_name, g.metric_type, g.service_name, g.endpoint_path, g.unit, g.labels)::text)::uuid,
             g.metric_name, g.metric_type, g.service_name, g.endpoint_path,
             case g.metric_type when 'counter' then g.total else g.mean end, g.unit,
             coalesce(g.labels, '{}') || jsonb_build_object('_rollup', jsonb_build_object(
               'unit', $1, 'count', g.n, 'sum', g.total, 'min', g.least, 'max', g.most)),
             g.at, %2$s, %1$L
        from (select date_trunc(%1$L, m.timestamp) as at,
                     m.metric_name, m.metric_type, m.service_name, m.endpoint_path, m.unit, m.labels,
                     count(*) as n, sum(m.value) as total, avg(m.value) as mean, min(m.value) as least, max(m.value) as most
                from %3$I.%4$I m group by 1, 2, 3, 4, 5, 6, 7) g $q$,
      step, case step when 'hour' then 3600 else 86400 end, unit.schema_name, unit.relation_name) using p_unit;
    get diagnostics made = row_count;
    stored := stored + made;
  end loop;
  if not retention.is_rolled_up(unit) then
    raise exception 'the roll-ups of % do not add up to its rows', unit.relation_name using errcode = 'AK111';
  end if;
  return stored;
end
$$;

-- Whether a unit needs no roll-ups, or the hours and the days that name it add up to its rows.
create function retention.is_rolled_up(p_unit retention.unit) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  fits boolean;
begin
  if p_unit.table_name <> 'performance_metrics' or p_unit.category <> 'minute' then
    return true;
  end if;
  execute format($q$
    select raw.n = 0 or 2 = (
        select count(*) from (
          select r.aggregation_period from security_internal.performance_metrics_all r
           where r.aggregation_period in ('hour', 'day')
             and r.timestamp >= $2 - interval '1 day' and r.timestamp < $3
             and r.labels -> '_rollup' ->> 'unit' = $1::text
           group by 1
          having sum((r.labels -> '_rollup' ->> 'count')::bigint) = raw.n
             and sum((r.labels -> '_rollup' ->> 'sum')::numeric) = raw.total) proven)
      from (select count(*) as n, sum(m.value) as total from %I.%I m) raw $q$, p_unit.schema_name, p_unit.relation_name)
    into fits using p_unit.unit_id, p_unit.lower_bound, p_unit.upper_bound;
  return coalesce(fits, false);
end
$$;

-- sealed -> archived, as before (0014), and: roll-ups proven, under nobody else's lease, holds by retention.is_held().
create or replace function retention.move_unit(p_table text, p_from timestamptz, p_category text default '') returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '100ms'
set timezone = 'UTC'
as $$
declare
  branch retention.branch := retention.branch_of(p_table, p_category);
  unit retention.unit;
  parent regclass;
  archive regclass;
  leaf regclass;
  tomb regclass;
  lowest boolean;
begin
  perform retention.take_structure();
  select * into unit from retention.unit u
    where u.table_name = p_table and u.category = branch.category and u.lower_bound = p_from and u.generation = 1
    for update;
  if not found or unit.state <> 'sealed' then
    raise exception 'no sealed unit of % begins at %', branch.hot_parent, p_from using errcode = 'AK104';
  end if;
  perform retention.check_lease(unit);
  if retention.is_held(unit.unit_id) then
    raise exception 'unit % is under a legal hold', unit.relation_name using errcode = 'AK105';
  end if;
  parent := format('%I.%I', unit.schema_name, branch.hot_parent)::regclass;
  archive := format('%I.%I', unit.schema_name, branch.archive_parent)::regclass;
  leaf := format('%I.%I', unit.schema_name, unit.relation_name)::regclass;
  perform retention.check_sealable(unit, leaf);
  if not retention.is_rolled_up(unit) then
    raise exception 'unit % is not rolled up yet', unit.relation_name using errcode = 'AK108';
  end if;
  tomb := retention.make_leaf(branch, retention.tombstone_name(branch.hot_parent, unit.lower_bound), true);
  execute format('alter table %s detach partition %s', parent, leaf);
  select not exists (select from retention.leaves(parent) l where l.upper_bound <= unit.lower_bound) into lowest;
  perform retention.attach_leaf(parent, tomb, case when lowest then '-infinity' else unit.lower_bound end, unit.upper_bound);
  perform retention.attach_leaf(archive, leaf, unit.lower_bound, unit.upper_bound);
  perform retention.prove_contiguous(parent);
  update retention.unit u set state = 'archived', archived_at = clock_timestamp() where u.unit_id = unit.unit_id;
  return jsonb_build_object('unitId', unit.unit_id, 'relation', unit.schema_name || '.' || unit.relation_name, 'rows', unit.row_count);
end
$$;

grant execute on function retention.roll_up(bigint) to auditkeep_engine;
