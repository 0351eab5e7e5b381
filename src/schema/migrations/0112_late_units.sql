-- Late rows become units of their own (generation 2, 3, ...), never part of the archive's partitions: each lies in a
-- table that inherits from the late table, so that every reader of the late table sees it. The late tables' own DELETE
-- is refused as before, but for the one transaction that has copied the rows beside them. Siblings of a split lie there
-- too. Breaks nothing: rows that wait in late stay there until a run collects them.

create table retention.late_move (
  xid        xid8 primary key default pg_current_xact_id(),
  table_name text not null references retention.family
);
comment on table retention.late_move is 'Transactions that are moving late rows into a unit of their own; empty between transactions.';

-- As before (0011), and one DELETE passes: of late rows, by the transaction that has copied them beside the late table
-- (retention.collect_late registers itself in a table that only the owner writes).
create or replace function audit.refuse_change() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  expected record;
  erased_group text;
begin
  if tg_op = 'UPDATE' and tg_argv[0] = 'audit_log' then
    if old.actor_salt is not null and new.actor_salt is null then
      erased_group := 'actor';
      expected := old;
      expected.user_id := null; expected.user_email := null; expected.user_roles := null; expected.session_id := null;
      expected.ip_address := null; expected.user_agent := null; expected.actor_envelope := null;
      expected.actor_salt := null;
    elsif old.payload_salt is not null and new.payload_salt is null then
      erased_group := 'payload';
      expected := old;
      expected.resource_id := null; expected.resource_path := null; expected.old_values := null;
      expected.new_values := null; expected.additional_data := null; expected.error_message := null;
      expected.payload_envelope := null; expected.payload_salt := null;
    end if;
    if erased_group is not null and expected::text = new::text
       and exists (select from audit.erasure e where e.event_id = old.id and e.event_group = erased_group) then
      return new;
    end if;
  elsif tg_op = 'UPDATE' and tg_argv[0] = 'security_events_log' then
    expected := old;
    expected.investigated := new.investigated; expected.false_positive := new.false_positive;
    expected.analyst_notes := new.analyst_notes; expected.incident_id := new.incident_id;
    expected.investigation_started := new.investigation_started; expected.resolved_at := new.resolved_at;
    if expected::text = new::text then
      -- The row lock makes sealing wait for this transaction, so a sealed unit is one that no update can still reach.
      perform from retention.unit u
        where u.schema_name = tg_table_schema and u.relation_name = tg_table_name and u.state = 'hot'
        for share;
      if found then
        perform audit.record_investigation(old.id, to_jsonb(old), to_jsonb(new));
        return new;
      end if;
    end if;
  end if;
  if tg_op = 'DELETE' and exists (select from retention.late_move m
       where m.xid = pg_current_xact_id() and m.table_name = tg_argv[0] and tg_table_name = m.table_name || '_late') then
    return old;
  end if;
  raise exception '% on %.% is refused: recorded history does not change', tg_op, tg_table_schema, tg_table_name
    using errcode = 'AK100', hint = 'erasure goes through the engine; corrections are new events';
end
$$;

-- A table beside the late table, like it (no key: differing doubles are kept), with its bounds as a CHECK and its own
-- triggers; granted to nobody. Not yet a member of anything.
create function retention.make_beside(p_branch retention.branch, p_name text, p_lower timestamptz, p_upper timestamptz)
returns regclass
language plpgsql
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
  family retention.family;
  leaf regclass;
  grantee text;
begin
  select * into strict family from retention.family f where f.table_name = p_branch.table_name;
  execute format('create table %I.%I (like %I.%I including all)', family.schema_name, p_name, family.schema_name,
    family.table_name || '_late');
  leaf := format('%I.%I', family.schema_name, p_name)::regclass;
  for grantee in
    select distinct case when a.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end
      from pg_class c, aclexplode(c.relacl) a
     where c.oid = leaf and a.grantee <> c.relowner
  loop
    execute format('revoke all on %s from %s', leaf, grantee);
  end loop;
  perform retention.guard_leaf(p_branch.table_name, leaf);
  execute format('alter table %s add constraint ak_bounds check (%s)', leaf, concat_ws(' and ',
    case when isfinite(p_lower) then format('%I >= %L::timestamptz', family.time_column, p_lower) end,
    case when isfinite(p_upper) then format('%I < %L::timestamptz', family.time_column, p_upper) end,
    case when family.category_column is not null then format('%I = %L', family.category_column, p_branch.category) end));
  return leaf;
end
$$;

-- Membership is not MVCC: a writer that planned before and reads after would look for a twin in neither place. So the
-- late table is locked against everybody for the moment in which it changes.
create function retention.hang_beside(p_table text, p_leaf regclass) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  late text := (select format('%I.%I', f.schema_name, f.table_name || '_late') from retention.family f where f.table_name = p_table);
begin
  execute format('lock table %s in access exclusive mode', late);
  execute format('alter table %s inherit %s', p_leaf, late);
end
$$;

-- Takes a unit's table out of whatever it is a member of.
create function retention.unhang(p_leaf regclass) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  parent regclass;
begin
  for parent in select i.inhparent from pg_inherits i where i.inhrelid = p_leaf loop
    if (select c.relispartition from pg_class c where c.oid = p_leaf) then
      execute format('alter table %s detach partition %s', parent, p_leaf);
    else
      execute format('lock table %s in access exclusive mode', parent);
      execute format('alter table %s no inherit %s', p_leaf, parent);
    end if;
  end loop;
end
$$;

create function retention.next_generation(p_branch retention.branch, p_lower timestamptz) returns integer
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select 1 + greatest(1, max(u.generation)) from retention.unit u
   where u.table_name = p_branch.table_name and u.category = p_branch.category and u.lower_bound = p_lower
$$;

-- The late rows of [p_from, p_to) become a unit. Gives { unitId, relation, rows, unlinked }; rows 0 where there are none,
-- unlinked where events still lack their link (then nothing is done). New late rows of the range go on coming in: they
-- are the next generation.
create function retention.collect_late(p_table text, p_from timestamptz, p_to timestamptz, p_category text default '') returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '100ms'
set timezone = 'UTC'
as $$
declare
  branch retention.branch := retention.branch_of(p_table, p_category);
  family retention.family;
  late text;
  name text;
  leaf regclass;
  unit_id bigint;
  range_test text;
  unlinked bigint := 0;
  copied bigint;
  moved bigint;
  generation integer;
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'collect_late needs READ COMMITTED' using errcode = 'AK104';
  end if;
  if not isfinite(p_from) or not isfinite(p_to) or p_from >= p_to or p_to > clock_timestamp() then
    raise exception '% to % has not ended yet or is no range', p_from, p_to using errcode = 'AK108';
  end if;
  select * into strict family from retention.family f where f.table_name = p_table;
  -- Where a hot leaf takes the rows of the range a late one may still move there by an import.
  if exists (select from retention.leaves(format('%I.%I', family.schema_name, branch.hot_parent)::regclass) l
              where l.lower_bound < p_to and l.upper_bound > p_from
                and not exists (select from pg_trigger t where t.tgrelid = l.relation and t.tgname = 'zz_seal_divert')) then
    raise exception '% to % is not closed yet', p_from, p_to using errcode = 'AK104';
  end if;
  perform retention.take_structure();
  late := format('%I.%I', family.schema_name, family.table_name || '_late');
  range_test := format('l.%1$I >= %2$L::timestamptz and l.%1$I < %3$L::timestamptz', family.time_column, p_from, p_to)
    || case when family.category_column is null then '' else format(' and l.%I = %L', family.category_column, branch.category) end;
  if p_table = 'audit_log' then
    execute format('select count(*) from only %s l where %s and not exists (select from audit.chain_link k where k.event_id = l.id and k.event_timestamp = l.event_timestamp)',
      late, range_test) into unlinked;
    if unlinked > 0 then
      return jsonb_build_object('unitId', null, 'relation', null, 'rows', 0, 'unlinked', unlinked);
    end if;
  end if;
  execute format('select count(*) from (select from only %s l where %s limit 1) first_row', late, range_test) into copied;
  if copied = 0 then
    return jsonb_build_object('unitId', null, 'relation', null, 'rows', 0, 'unlinked', 0);
  end if;
  generation := retention.next_generation(branch, p_from);
  name := retention.leaf_name(branch.hot_parent, p_from, p_to) || '_g' || generation;
  leaf := retention.make_beside(branch, name, p_from, p_to);
  execute format('insert into %s (%s) select %s from only %s l where %s', leaf, retention.columns_of(p_table),
    retention.columns_of(p_table, 'l'), late, range_test);
  get diagnostics copied = row_count;
  insert into retention.late_move (table_name) values (p_table);
  -- Exactly what was copied: a row that came in since has no copy, and stays.
  execute format('delete from only %1$s l where %2$s and exists (select from %3$s c where c.%4$I = l.%4$I and c.id = l.id and row(%5$s)::text = row(%6$s)::text)',
    late, range_test, leaf, family.time_column, retention.columns_of(p_table, 'c'), retention.columns_of(p_table, 'l'));
  get diagnostics moved = row_count;
  delete from retention.late_move m where m.xid = pg_current_xact_id();
  if moved <> copied then
    raise exception '% rows of % were copied but % taken out', copied, late, moved using errcode = 'AK111';
  end if;
  insert into retention.unit (table_name, category, lower_bound, upper_bound, generation, schema_name, relation_name,
    state, row_count, diverted_at, sealed_at, archived_at)
  values (p_table, branch.category, p_from, p_to, generation, family.schema_name, name,
    'archived', copied, clock_timestamp(), clock_timestamp(), clock_timestamp())
  returning unit.unit_id into unit_id;
  perform retention.write_manifest(unit_id, p_table, leaf::text);
  perform retention.hang_beside(p_table, leaf);
  return jsonb_build_object('unitId', unit_id, 'relation', family.schema_name || '.' || name, 'rows', copied, 'unlinked', 0);
end
$$;
grant execute on function retention.collect_late(text, timestamptz, timestamptz, text) to auditkeep_engine;

-- The ranges in which late rows wait to become units: the bounds of the unit that once took their time, else their
-- calendar step.
create function retention.late_ranges()
returns table (table_name text, category text, lower_bound timestamptz, upper_bound timestamptz)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
  branch record;
begin
  for branch in
    select b.*, f.schema_name, f.time_column, f.category_column
      from retention.branch b join retention.family f on f.table_name = b.table_name
  loop
    return query execute format($q$
      select distinct %1$L::text, %2$L::text, coalesce(u.lower_bound, s.step_start), coalesce(u.upper_bound, s.step_start + %3$L::interval)
        from (select distinct date_trunc(%4$L, l.%5$I) as step_start, l.%5$I as at from only %6$I.%7$I l where %8$s) s
        left join retention.unit u on u.table_name = %1$L and u.category = %2$L and u.generation = 1
             and u.lower_bound <= s.at and u.upper_bound > s.at $q$,
      branch.table_name, branch.category, branch.step, case branch.step when '1 day' then 'day' else 'month' end,
      branch.time_column, branch.schema_name, branch.table_name || '_late',
      case when branch.category_column is null then 'true' else format('l.%I = %L', branch.category_column, branch.category) end);
  end loop;
end
$$;
grant execute on function retention.late_ranges() to auditkeep_engine;
