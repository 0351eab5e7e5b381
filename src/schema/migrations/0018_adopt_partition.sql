-- Partitions that somebody else made (yearly, odd bounds) become units as they are: bounds are read from the catalog,
-- never recomputed. Two steps, because proving the CHECK scans the leaf. Breaks nothing: functions only.

-- Gives an attached leaf its triggers, its CHECK (not yet proven) and its unit. True when it was adopted, false when it
-- is a unit already.
create function retention.adopt_partition(p_table text, p_relation text, p_category text default '') returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '100ms'
set timezone = 'UTC'
as $$
declare
  branch retention.branch := retention.branch_of(p_table, p_category);
  family retention.family;
  parent regclass;
  leaf record;
begin
  select * into strict family from retention.family f where f.table_name = p_table;
  parent := format('%I.%I', family.schema_name, branch.hot_parent)::regclass;
  execute format('lock table %s in share update exclusive mode', parent);
  perform retention.prove_contiguous(parent);
  select * into leaf from retention.leaves(parent) l where l.relation_name = p_relation and not l.tombstone;
  if not found then
    raise exception '% is no partition of % that could be adopted', p_relation, branch.hot_parent using errcode = 'AK101';
  end if;
  if exists (select from retention.unit u where u.schema_name = family.schema_name and u.relation_name = p_relation) then
    return false;
  end if;
  perform retention.guard_leaf(p_table, leaf.relation);
  execute format('alter table %s add constraint ak_bounds check (%s) not valid',
    leaf.relation, pg_get_partition_constraintdef(leaf.relation));
  insert into retention.unit (table_name, category, lower_bound, upper_bound, schema_name, relation_name, state)
  values (p_table, branch.category, leaf.lower_bound, leaf.upper_bound, family.schema_name, p_relation, 'hot');
  return true;
end
$$;

-- Proves the CHECK of an adopted leaf: a scan under SHARE UPDATE EXCLUSIVE, while writers go on.
create function retention.prove_bounds(p_table text, p_relation text) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  unit retention.unit;
begin
  select * into unit from retention.unit u where u.table_name = p_table and u.relation_name = p_relation;
  if not found then
    raise exception '% is no unit of %', p_relation, p_table using errcode = 'AK101';
  end if;
  execute format('alter table %I.%I validate constraint ak_bounds', unit.schema_name, unit.relation_name);
end
$$;

grant execute on function retention.adopt_partition(text, text, text) to auditkeep_engine;
grant execute on function retention.prove_bounds(text, text) to auditkeep_engine;
