-- What was rolled up once stays so: roll-ups have a shorter life than a raw unit under a hold, and one that comes back below
-- its hot table (archive restore --attach) has to leave again without those that were destroyed. Breaks nothing: units
-- without the mark (0175) are looked at as before.

create or replace function retention.is_rolled_up(p_unit retention.unit) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  fits boolean;
begin
  if p_unit.table_name <> 'performance_metrics' or p_unit.category <> 'minute' or p_unit.rolled_up_at is not null then
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
