-- A hold on some rows (ids, a user) stopped units that it does not reach on their way into quarantine: the trigger on the unit
-- looked for the rows where they had just left from, and rows that lie nowhere count as held. Now the unit is judged before
-- its table moves. Breaks nothing: name, arguments, result and grants stay; what a hold reaches is still refused.
create or replace function retention.quarantine_unit(p_unit bigint) returns jsonb
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
  update retention.unit u set state = 'quarantined', schema_name = 'quarantine', quarantined_at = clock_timestamp()
    where u.unit_id = p_unit;
  perform retention.unhang(leaf);
  execute format('alter table %s set schema quarantine', leaf);
  execute format('alter table %s inherit quarantine.%I', leaf, unit.table_name);
  return jsonb_build_object('unitId', p_unit, 'relation', 'quarantine.' || unit.relation_name, 'rows', unit.row_count);
end
$$;
