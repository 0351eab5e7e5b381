-- Reading partition bounds from the catalog and making leaves with their own CHECK and triggers. Internal: nothing here
-- is granted to anybody. Breaks nothing: functions only.

create function retention.branch_of(p_table text, p_category text) returns retention.branch
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  found_branch retention.branch;
begin
  select * into found_branch from retention.branch b where b.table_name = p_table and b.category = coalesce(p_category, '');
  if not found then
    raise exception '% (category %) is not a table under retention', p_table, coalesce(p_category, '')
      using errcode = 'AK101';
  end if;
  return found_branch;
end
$$;

-- The RANGE partitions of a parent as the catalog has them, lowest first. MINVALUE and MAXVALUE read as infinite; a
-- DEFAULT partition has null bounds. A leaf that diverts and is no unit is a tombstone.
create function retention.leaves(p_parent regclass)
returns table (relation regclass, relation_name text, lower_bound timestamptz, upper_bound timestamptz, tombstone boolean)
language sql stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO, YMD'
as $$
  select c.oid::regclass, c.relname::text,
         case b.part[1] when 'MINVALUE' then '-infinity' else trim(both '''' from b.part[1]) end::timestamptz,
         case b.part[2] when 'MAXVALUE' then 'infinity' else trim(both '''' from b.part[2]) end::timestamptz,
         exists (select from pg_trigger t where t.tgrelid = c.oid and t.tgname = 'zz_seal_divert')
           and not exists (select from retention.unit u where u.schema_name = n.nspname and u.relation_name = c.relname)
    from pg_inherits i
    join pg_class c on c.oid = i.inhrelid
    join pg_namespace n on n.oid = c.relnamespace
   cross join lateral (
     select regexp_match(pg_get_expr(c.relpartbound, c.oid), '^FOR VALUES FROM \((.+)\) TO \((.+)\)$') as part
   ) b
   where i.inhparent = p_parent
   order by 3 nulls first
$$;

-- Proves that a parent's partitions leave no gap and overlap nowhere; called before any DDL on it.
create function retention.prove_contiguous(p_parent regclass) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  leaf record;
  previous timestamptz;
begin
  for leaf in select * from retention.leaves(p_parent) loop
    if leaf.lower_bound is null then
      raise exception '% has the DEFAULT partition %: move its rows out first', p_parent, leaf.relation using errcode = 'AK102';
    end if;
    if previous is not null and leaf.lower_bound <> previous then
      raise exception '% has a gap between % and %', p_parent, previous, leaf.lower_bound using errcode = 'AK102';
    end if;
    previous := leaf.upper_bound;
  end loop;
end
$$;

create function retention.bound_literal(p_bound timestamptz) returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
  select case
    when p_bound = '-infinity' then 'MINVALUE'
    when p_bound = 'infinity' then 'MAXVALUE'
    else quote_literal(to_char(p_bound at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00')
  end
$$;

-- The name of a leaf: y2026m01 for a calendar month, y2026m01d31 for a day, both instants otherwise (UTC).
create function retention.leaf_name(p_parent text, p_lower timestamptz, p_upper timestamptz) returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
  select p_parent || '_' || case
    when l = date_trunc('month', l) and u = l + interval '1 month' then to_char(l, '"y"YYYY"m"MM')
    when l = date_trunc('day', l) and u = l + interval '1 day' then to_char(l, '"y"YYYY"m"MM"d"DD')
    else to_char(l, 'YYYYMMDDHH24MISS') || '_' || to_char(u, 'YYYYMMDDHH24MISS')
  end
  from (select p_lower at time zone 'UTC' as l, p_upper at time zone 'UTC' as u) b
$$;

create function retention.tombstone_name(p_parent text, p_lower timestamptz) returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
  select p_parent || '_tomb_' || case when isfinite(p_lower) then to_char(p_lower at time zone 'UTC', 'YYYYMMDDHH24MISS') else 'min' end
$$;

create function retention.guard_leaf(p_table text, p_leaf regclass) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  execute format('create trigger ak_child_immutable before update or delete on %s for each row execute function audit.refuse_change(%L)', p_leaf, p_table);
  execute format('create trigger ak_child_truncate before truncate on %s for each statement execute function audit.refuse_change(%L)', p_leaf, p_table);
  execute format('alter table %s enable always trigger ak_child_immutable', p_leaf);
  execute format('alter table %s enable always trigger ak_child_truncate', p_leaf);
end
$$;

create function retention.divert_leaf(p_table text, p_leaf regclass) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  execute format('create trigger zz_seal_divert before insert on %s for each row execute function retention.divert_late(%L)', p_leaf, p_table);
  execute format('alter table %s enable always trigger zz_seal_divert', p_leaf);
end
$$;

-- An unattached leaf like its parent, with its triggers, owned by the owner and granted to nobody (default privileges
-- are for parents: a grant on a partition would go around the parent's row-level security).
create function retention.make_leaf(p_branch retention.branch, p_name text, p_tombstone boolean) returns regclass
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  schema_name text := (select f.schema_name from retention.family f where f.table_name = p_branch.table_name);
  leaf regclass;
  grantee text;
begin
  execute format('create table %I.%I (like %I.%I including all)', schema_name, p_name, schema_name, p_branch.hot_parent);
  leaf := format('%I.%I', schema_name, p_name)::regclass;
  for grantee in
    select distinct case when a.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end
      from pg_class c, aclexplode(c.relacl) a
     where c.oid = leaf and a.grantee <> c.relowner
  loop
    execute format('revoke all on %s from %s', leaf, grantee);
  end loop;
  perform retention.guard_leaf(p_branch.table_name, leaf);
  if p_branch.table_name = 'data_access_log' and p_branch.category = 'permanent' then
    execute format('create trigger aa_default_permanent before insert on %s for each row execute function audit.default_permanent()', leaf);
    execute format('alter table %s enable always trigger aa_default_permanent', leaf);
  end if;
  if p_tombstone then
    perform retention.divert_leaf(p_branch.table_name, leaf);
  end if;
  return leaf;
end
$$;

-- Attaches an empty leaf and gives it its partition constraint as a CHECK of its own: word for word what a later
-- ATTACH with the same bounds has to prove, so that ATTACH scans nothing.
create function retention.attach_leaf(p_parent regclass, p_leaf regclass, p_lower timestamptz, p_upper timestamptz) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
begin
  execute format('alter table %s attach partition %s for values from (%s) to (%s)',
    p_parent, p_leaf, retention.bound_literal(p_lower), retention.bound_literal(p_upper));
  if not exists (select from pg_constraint c where c.conrelid = p_leaf and c.conname = 'ak_bounds') then
    execute format('alter table %s add constraint ak_bounds check (%s)', p_leaf, pg_get_partition_constraintdef(p_leaf));
  end if;
end
$$;

-- The late tables are leaves too.
do $$
declare
  family retention.family;
begin
  for family in select * from retention.family loop
    perform retention.guard_leaf(family.table_name, format('%I.%I', family.schema_name, family.table_name || '_late')::regclass);
  end loop;
end
$$;
