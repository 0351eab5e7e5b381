-- What can be wrong with the partitions of an installation that others made or altered, by name; and the repairs: a gap
-- between two partitions is filled, a DEFAULT partition's rows are moved out, an adopted partition gets everything that
-- the parent's own have. Breaks nothing: adopt_partition refuses what it would have failed on.

-- Faults of hot leaves; '' in relation_name where the branch as a whole is meant.
create function retention.partition_faults()
returns table (table_name text, category text, relation_name text, fault text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with leaf as (
    select b.table_name, b.category, l.*, c.relkind, c.relowner, i.inhdetachpending, u.unit_id,
           p.relowner as parent_owner
      from retention.branch b
      join retention.family f on f.table_name = b.table_name
      join pg_class p on p.oid = format('%I.%I', f.schema_name, b.hot_parent)::regclass
     cross join lateral retention.leaves(p.oid) l
      join pg_class c on c.oid = l.relation
      join pg_inherits i on i.inhrelid = c.oid
      left join retention.unit u on u.schema_name = f.schema_name and u.relation_name = l.relation_name
  )
  select l.table_name, l.category, l.relation_name, 'default' from leaf l where l.lower_bound is null
  union all
  select l.table_name, l.category, l.relation_name, 'foreign-owner' from leaf l where l.relowner <> l.parent_owner
  union all
  select l.table_name, l.category, l.relation_name, 'not-a-table' from leaf l where l.relkind <> 'r'
  union all
  select l.table_name, l.category, l.relation_name, 'half-detached' from leaf l where l.inhdetachpending
  union all
  select distinct l.table_name, l.category, l.relation_name, 'referenced'
    from leaf l join pg_constraint k on k.confrelid = l.relation and k.contype = 'f'
  union all
  select l.table_name, l.category, l.relation_name, 'overlaps-unit' from leaf l
   where l.unit_id is null and not l.tombstone and exists (
     select from retention.unit u where u.table_name = l.table_name and u.category = l.category and u.generation = 1
       and u.lower_bound < l.upper_bound and u.upper_bound > l.lower_bound)
  union all
  select l.table_name, l.category, l.relation_name, 'altered' from leaf l
   where l.unit_id is not null and (
     2 <> (select count(*) from pg_trigger t where t.tgrelid = l.relation and t.tgenabled = 'A'
            and t.tgname in ('ak_child_immutable', 'ak_child_truncate'))
     or not exists (select from pg_constraint k where k.conrelid = l.relation and k.conname = 'ak_bounds')
     or exists (select from pg_trigger t where t.tgrelid = l.relation and not t.tgisinternal and t.tgparentid = 0
                 and t.tgname not in ('ak_child_immutable', 'ak_child_truncate', 'zz_seal_divert', 'zz_late_twin', 'aa_default_permanent'))
     or exists (select from pg_rewrite r where r.ev_class = l.relation))
$$;
grant execute on function retention.partition_faults() to auditkeep_engine, auditkeep_view;

-- Fills [p_from, p_to) between two partitions: a partition where no unit ever was, a tombstone otherwise.
create function retention.fill_gap(p_table text, p_from timestamptz, p_to timestamptz, p_category text default '') returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '100ms'
set timezone = 'UTC'
as $$
declare
  branch retention.branch := retention.branch_of(p_table, p_category);
  family retention.family;
  parent regclass;
begin
  select * into strict family from retention.family f where f.table_name = p_table;
  parent := format('%I.%I', family.schema_name, branch.hot_parent)::regclass;
  execute format('lock table %s in share update exclusive mode', parent);
  if exists (select from retention.leaves(parent) l where l.lower_bound is null) then
    raise exception '% has a DEFAULT partition: move its rows out first', parent using errcode = 'AK102';
  end if;
  if exists (select from retention.leaves(parent) l where l.lower_bound = p_from and l.upper_bound = p_to) then
    return false;
  end if;
  if p_from >= p_to or p_to > p_from + branch.step
     or exists (select from retention.leaves(parent) l where l.lower_bound < p_to and l.upper_bound > p_from)
     or not exists (select from retention.leaves(parent) l where l.upper_bound <= p_from)
     or not exists (select from retention.leaves(parent) l where l.lower_bound >= p_to) then
    raise exception '% to % is no gap of %, or wider than %', p_from, p_to, branch.hot_parent, branch.step using errcode = 'AK102';
  end if;
  perform retention.fill_range(branch, family, p_from, p_to);
  return true;
end
$$;

create function retention.fill_range(p_branch retention.branch, p_family retention.family, p_from timestamptz, p_to timestamptz) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  parent regclass := format('%I.%I', p_family.schema_name, p_branch.hot_parent)::regclass;
  leaf regclass;
begin
  if exists (select from retention.unit u where u.table_name = p_branch.table_name and u.category = p_branch.category
              and u.lower_bound < p_to and u.upper_bound > p_from) then
    perform retention.add_tombstone(p_branch, parent, p_from, p_to);
    return;
  end if;
  leaf := retention.make_leaf(p_branch, retention.leaf_name(p_branch.hot_parent, p_from, p_to), false);
  if retention.has_late_rows(p_branch, p_from, p_to) then
    execute format('create trigger zz_late_twin before insert on %s for each row execute function retention.drop_late_twin(%L)', leaf, p_branch.table_name);
    execute format('alter table %s enable always trigger zz_late_twin', leaf);
  end if;
  perform retention.attach_leaf(parent, leaf, p_from, p_to);
  insert into retention.unit (table_name, category, lower_bound, upper_bound, schema_name, relation_name, state)
  values (p_branch.table_name, p_branch.category, p_from, p_to, p_family.schema_name,
    retention.leaf_name(p_branch.hot_parent, p_from, p_to), 'hot');
end
$$;

-- Moves the rows of a branch's DEFAULT partition to where they belong, in one transaction: partitions are made for
-- ranges that have none, tombstones divert to late, and every row is looked for before the DEFAULT is dropped. Writers of
-- the branch wait for it. Gives the number of rows moved, null where there is no DEFAULT partition.
create function retention.repair_default(p_table text, p_category text default '') returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '100ms'
set timezone = 'UTC'
as $$
declare
  branch retention.branch := retention.branch_of(p_table, p_category);
  family retention.family;
  parent regclass;
  rest record;
  stranger regclass;
  moved bigint;
  lost bigint;
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'repair_default needs READ COMMITTED' using errcode = 'AK104';
  end if;
  select * into strict family from retention.family f where f.table_name = p_table;
  parent := format('%I.%I', family.schema_name, branch.hot_parent)::regclass;
  perform retention.take_structure();
  execute format('lock table %s in access exclusive mode', parent);
  select l.relation into stranger from retention.leaves(parent) l where l.lower_bound is null;
  if not found then
    return null;
  end if;
  execute format('alter table %s detach partition %s', parent, stranger);
  for rest in execute format($q$
    select unnest(tstzmultirange(tstzrange(s.at, s.at + %L::interval)) - $1) as free
      from (select distinct date_trunc(%L, d.%I) as at from %s d) s order by 1 $q$,
      branch.step, case branch.step when '1 day' then 'day' else 'month' end, family.time_column, stranger)
    using (select coalesce(range_agg(tstzrange(l.lower_bound, l.upper_bound)), '{}'::tstzmultirange) from retention.leaves(parent) l)
  loop
    if upper(rest.free) > clock_timestamp() + interval '2 years' then
      raise exception '% has rows more than two years ahead, at %', stranger, lower(rest.free) using errcode = 'AK102';
    end if;
    perform retention.fill_range(branch, family, lower(rest.free), upper(rest.free));
  end loop;
  execute format('insert into %s (%s) select %s from %s d', parent, retention.columns_of(p_table),
    retention.columns_of(p_table, 'd'), stranger);
  execute format('select count(*) from %s', stranger) into moved;
  execute format('select count(*) from %1$s d where not exists (select from %2$I.%3$I m where m.%4$I = d.%4$I and m.id = d.id)
      and not exists (select from %2$I.%5$I m where m.%4$I = d.%4$I and m.id = d.id)
      and not exists (select from %2$I.%6$I m where m.%4$I = d.%4$I and m.id = d.id)',
    stranger, family.schema_name, p_table, family.time_column, p_table || '_late', p_table || '_archive') into lost;
  if lost > 0 then
    raise exception '% rows of % found no place', lost, stranger using errcode = 'AK111';
  end if;
  execute format('drop table %s', stranger);
  return moved;
end
$$;

-- As before (0018); names what stands in the way (AK112), takes every grant away (a grant on a partition goes around the
-- parent's row-level security) and gives the leaf all the triggers of its branch.
create or replace function retention.adopt_partition(p_table text, p_relation text, p_category text default '') returns boolean
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
  faults text;
  grantee text;
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
  select string_agg(f.fault, ', ' order by f.fault) into faults from retention.partition_faults() f
    where f.table_name = p_table and f.category = branch.category and f.relation_name = p_relation;
  if faults is not null then
    raise exception '% cannot be adopted: %', p_relation, faults using errcode = 'AK112';
  end if;
  for grantee in
    select distinct case when a.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end
      from pg_class c, aclexplode(c.relacl) a
     where c.oid = leaf.relation and a.grantee <> c.relowner
  loop
    execute format('revoke all on %s from %s', leaf.relation, grantee);
  end loop;
  perform retention.guard_leaf(p_table, leaf.relation);
  if p_table = 'data_access_log' and branch.category = 'permanent' then
    execute format('create trigger aa_default_permanent before insert on %s for each row execute function audit.default_permanent()', leaf.relation);
    execute format('alter table %s enable always trigger aa_default_permanent', leaf.relation);
  end if;
  execute format('alter table %s add constraint ak_bounds check (%s) not valid',
    leaf.relation, pg_get_partition_constraintdef(leaf.relation));
  insert into retention.unit (table_name, category, lower_bound, upper_bound, schema_name, relation_name, state)
  values (p_table, branch.category, leaf.lower_bound, leaf.upper_bound, family.schema_name, p_relation, 'hot');
  return true;
end
$$;

grant execute on function retention.fill_gap(text, timestamptz, timestamptz, text) to auditkeep_engine;
grant execute on function retention.repair_default(text, text) to auditkeep_engine;
