-- A split hangs its siblings beside the late table, and only them: a restored copy of the unit is a child of it too, was hung
-- there as well and counted its rows twice in every reader of all places; one that had expired made the split fail for good.
-- As before (0114) but for that line. Breaks nothing: copies that a split has hung there are taken out again.

do $$
declare
  hung record;
begin
  for hung in select i.inhrelid::regclass as copy, i.inhparent::regclass as late
                from retention.unit u join retention.family f on f.table_name = u.table_name
                join pg_inherits i on i.inhrelid = to_regclass(format('%I.%I', u.schema_name, u.relation_name))
                 and i.inhparent = to_regclass(format('%I.%I', f.schema_name, f.table_name || '_late'))
               where u.state = 'restored' loop
    execute format('alter table %s no inherit %s', hung.copy, hung.late);
  end loop;
end
$$;

create or replace function retention.split_unit(p_unit bigint) returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '100ms'
set timezone = 'UTC'
as $$
declare
  most_siblings constant integer := 120;
  unit retention.unit;
  branch retention.branch;
  family retention.family;
  expected retention.manifest;
  part record;
  parts integer;
  source text;
  leaf regclass;
  sibling regclass;
  copies text[] := '{}';
  siblings jsonb := '[]';
  copied bigint;
  sibling_id bigint;
  generation integer;
  found_rows bigint;
  found_print bytea;
  hot regclass;
begin
  perform retention.take_structure();
  unit := retention.lock_unit(p_unit, array['sealed', 'archived']);
  branch := retention.branch_of(unit.table_name, unit.category);
  select * into strict family from retention.family f where f.table_name = unit.table_name;
  select * into strict expected from retention.manifest m where m.unit_id = p_unit;
  leaf := format('%I.%I', unit.schema_name, unit.relation_name)::regclass;
  -- An erasure between the copy and the swap would be undone by it.
  execute format('lock table %s in share mode', leaf);
  source := format('(select e.*, %s as ak_expiry, %s as ak_holds from %s e)',
    retention.expiry_expression(unit.table_name), retention.hold_expression(unit.table_name), leaf);
  execute format('select count(*) from (select distinct ak_expiry, ak_holds from %s s) d', source) into parts;
  if parts <= 1 then
    return jsonb_build_object('unitId', p_unit, 'siblings', '[]'::jsonb);
  end if;
  if parts > most_siblings then
    raise exception 'unit % would be split into % siblings', unit.relation_name, parts using errcode = 'AK102';
  end if;
  generation := retention.next_generation(branch, unit.lower_bound) - 1;
  for part in execute format('select distinct ak_expiry, ak_holds from %s s order by 1, 2', source) loop
    generation := generation + 1;
    sibling := retention.make_beside(branch, retention.leaf_name(branch.hot_parent, unit.lower_bound, unit.upper_bound) || '_g' || generation,
      unit.lower_bound, unit.upper_bound);
    execute format('insert into %s (%s) select %s from %s s where ak_expiry is not distinct from $1 and ak_holds = $2',
        sibling, retention.columns_of(unit.table_name), retention.columns_of(unit.table_name, 's'), source)
      using part.ak_expiry, part.ak_holds;
    get diagnostics copied = row_count;
    copies := copies || format('select %s from %s c', retention.columns_of(unit.table_name, 'c'), sibling);
    insert into retention.unit (table_name, category, lower_bound, upper_bound, generation, schema_name, relation_name,
      state, row_count, diverted_at, sealed_at, archived_at, parent_id, keep_until, hold_key)
    select unit.table_name, unit.category, unit.lower_bound, unit.upper_bound, generation, family.schema_name, c.relname,
           'archived', copied, unit.diverted_at, unit.sealed_at, clock_timestamp(), p_unit, part.ak_expiry, part.ak_holds
      from pg_class c where c.oid = sibling
    returning unit_id into sibling_id;
    perform retention.write_manifest(sibling_id, unit.table_name, sibling::text);
    siblings := siblings || jsonb_build_object('unitId', sibling_id, 'relation', sibling::text, 'rows', copied,
      'keepUntil', part.ak_expiry, 'holdKey', part.ak_holds);
  end loop;
  select f.row_count, f.fingerprint into found_rows, found_print
    from retention.fingerprint(unit.table_name, '(' || array_to_string(copies, ' union all ') || ')') f;
  if found_rows <> expected.row_count or found_print <> expected.fingerprint then
    raise exception 'the siblings of % do not hold what its manifest says', unit.relation_name using errcode = 'AK111';
  end if;
  perform retention.unhang(leaf);
  if unit.state = 'sealed' then
    hot := format('%I.%I', family.schema_name, branch.hot_parent)::regclass;
    perform retention.attach_leaf(hot, retention.make_leaf(branch, retention.tombstone_name(branch.hot_parent, unit.lower_bound), true),
      case when exists (select from retention.leaves(hot) l where l.upper_bound <= unit.lower_bound)
           then unit.lower_bound else '-infinity' end, unit.upper_bound);
  end if;
  execute format('drop table %s', leaf);
  perform retention.hang_beside(unit.table_name, format('%I.%I', u.schema_name, u.relation_name)::regclass)
     from retention.unit u where u.parent_id = p_unit and u.state = 'archived';
  update retention.unit u set state = 'split' where u.unit_id = p_unit;
  return jsonb_build_object('unitId', p_unit, 'siblings', siblings);
end
$$;
