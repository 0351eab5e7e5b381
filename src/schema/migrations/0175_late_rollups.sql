-- Raw metrics that arrived late are rolled up too, before they may go towards destruction or be split: a unit remembers
-- that its hours and days were proven (rolled_up_at). Breaks nothing: late units that were collected before wait for the
-- next archival run, which rolls them up.

alter table retention.unit add column rolled_up_at timestamptz;
comment on column retention.unit.rolled_up_at is 'When the hours and days of a unit of raw metrics were proven to add up to its rows.';

-- As before (0119), and: of a late unit (generation 2, 3, ..., not a sibling) that lies archived; remembers the
-- proof; counts roll-ups that go to the late table too.
create or replace function retention.roll_up(p_unit bigint) returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
  unit retention.unit;
  step text;
  stored bigint := 0;
begin
  unit := retention.lock_unit(p_unit, array['sealed', 'archived']);
  if unit.table_name <> 'performance_metrics' or unit.category <> 'minute' then
    raise exception '% is not a unit of raw metrics', unit.relation_name using errcode = 'AK101';
  end if;
  if unit.state = 'archived' and (unit.generation = 1 or unit.parent_id is not null) then
    raise exception 'unit % was rolled up before it was archived', unit.relation_name using errcode = 'AK104';
  end if;
  if unit.rolled_up_at is not null then
    return 0;
  end if;
  if not retention.is_rolled_up(unit) then
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
    end loop;
    if not retention.is_rolled_up(unit) then
      raise exception 'the roll-ups of % do not add up to its rows', unit.relation_name using errcode = 'AK111';
    end if;
    -- Counted where they lie: the INSERT does not count those that a tombstone sent to the late table.
    select count(*) into stored from security_internal.performance_metrics_all r
     where r.aggregation_period in ('hour', 'day') and r.timestamp >= unit.lower_bound - interval '1 day'
       and r.timestamp < unit.upper_bound and r.labels -> '_rollup' ->> 'unit' = p_unit::text;
  end if;
  update retention.unit u set rolled_up_at = clock_timestamp() where u.unit_id = p_unit;
  return stored;
end
$$;

-- Whoever changes the unit: raw rows go towards destruction, or into siblings, only once their roll-ups are proven. A
-- first generation proved them when it was archived, siblings when what they were split from was.
create function retention.require_roll_ups() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  raise exception 'unit % is not rolled up yet', new.relation_name using errcode = 'AK108';
end
$$;
create trigger ak_unit_rolled_up before update of state on retention.unit
  for each row when (
    new.table_name = 'performance_metrics' and new.category = 'minute' and new.parent_id is null and new.rolled_up_at is null
    and (old.state = 'sealed' and new.state = 'split'
         or new.generation > 1 and old.state = 'archived' and new.state in ('split', 'copied', 'purge_due')))
  execute function retention.require_roll_ups();

update retention.unit_edge set guard = guard || '; roll-ups proven'
 where (from_state, to_state) in (('sealed', 'split'), ('archived', 'split'), ('archived', 'copied'), ('archived', 'purge_due'));

-- Units of raw metrics that arrived late and wait to be rolled up.
create function retention.unrolled_units()
returns table (unit_id bigint, relation_name text, lower_bound timestamptz, upper_bound timestamptz)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select u.unit_id, u.schema_name || '.' || u.relation_name, u.lower_bound, u.upper_bound
    from retention.unit u
   where u.table_name = 'performance_metrics' and u.category = 'minute' and u.generation > 1 and u.state = 'archived'
     and u.parent_id is null and u.rolled_up_at is null
$$;
grant execute on function retention.unrolled_units() to auditkeep_engine;
