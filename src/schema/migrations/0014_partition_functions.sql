-- What the engine may do to partitions: make one, seal one, move one to the archive. Every check is inside, so that raw
-- SQL as the engine cannot skip one. Breaks nothing: functions only.

-- Makes the partition [from, to); true when it was made, false when it exists. Grows the branch at its upper end (a
-- stretch of the past that is left out becomes a tombstone), or takes the place of a tombstone where no unit ever was. Takes SHARE UPDATE EXCLUSIVE on the branch (writers and
-- readers go on); only a tombstone that gives way needs ACCESS EXCLUSIVE for a moment.
create function retention.create_partition(p_table text, p_from timestamptz, p_to timestamptz, p_category text default '')
returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '100ms'
set timezone = 'UTC'
as $$
declare
  branch retention.branch := retention.branch_of(p_table, p_category);
  family retention.family;
  parent regclass;
  top timestamptz;
  tomb record;
  leaf regclass;
begin
  select * into strict family from retention.family f where f.table_name = p_table;
  parent := format('%I.%I', family.schema_name, branch.hot_parent)::regclass;
  if p_from >= p_to or p_from < '0001-01-01 00:00:00+00' or p_to > '10000-01-01 00:00:00+00' then
    raise exception 'not a range of years 1 to 9999: % to %', p_from, p_to using errcode = 'AK102';
  end if;
  -- A partition that never ends is never sealed, and one far ahead takes rows that a broken clock dates there.
  if p_to > p_from + branch.step then
    raise exception '% to % is wider than % of %', p_from, p_to, branch.step, branch.hot_parent using errcode = 'AK102';
  end if;
  if p_to > clock_timestamp() + interval '2 years' then
    raise exception '% lies more than two years ahead', p_to using errcode = 'AK102';
  end if;
  -- Conflicts with itself: one maker of partitions a branch at a time.
  execute format('lock table %s in share update exclusive mode', parent);
  perform retention.prove_contiguous(parent);
  if exists (select from retention.leaves(parent) l
              where l.lower_bound = p_from and l.upper_bound = p_to and not l.tombstone) then
    return false;
  end if;
  if exists (select from retention.unit u
              where u.table_name = p_table and u.category = branch.category
                and u.lower_bound < p_to and u.upper_bound > p_from) then
    raise exception 'a unit of % lies or lay within % to %', branch.hot_parent, p_from, p_to using errcode = 'AK103';
  end if;
  select max(l.upper_bound) into top from retention.leaves(parent) l;
  if p_from > top and p_from <= clock_timestamp() then
    perform retention.add_tombstone(branch, parent, top, p_from);
  elsif top is not null and p_from <> top then
    select * into tomb from retention.leaves(parent) l
      where l.tombstone and l.lower_bound <= p_from and l.upper_bound >= p_to;
    if not found then
      raise exception '% to % neither continues % (which ends at %) nor lies in one of its tombstones',
        p_from, p_to, branch.hot_parent, top using errcode = 'AK102';
    end if;
    if current_setting('transaction_isolation') <> 'read committed' then
      -- An older snapshot would not see the last late rows of the range, and a retry would store them again.
      raise exception 'a tombstone gives way in READ COMMITTED only' using errcode = 'AK104';
    end if;
    perform retention.carve_tombstone(branch, parent, tomb.relation, tomb.lower_bound, tomb.upper_bound, p_from, p_to);
  end if;
  leaf := retention.make_leaf(branch, retention.leaf_name(branch.hot_parent, p_from, p_to), false);
  if retention.has_late_rows(branch, p_from, p_to) then
    execute format('create trigger zz_late_twin before insert on %s for each row execute function retention.drop_late_twin(%L)', leaf, p_table);
    execute format('alter table %s enable always trigger zz_late_twin', leaf);
  end if;
  perform retention.attach_leaf(parent, leaf, p_from, p_to);
  insert into retention.unit (table_name, category, lower_bound, upper_bound, schema_name, relation_name, state)
  values (p_table, branch.category, p_from, p_to, family.schema_name, retention.leaf_name(branch.hot_parent, p_from, p_to), 'hot');
  return true;
end
$$;

-- Whether rows of [p_from, p_to) lie in the branch's late table. The caller has locked the tombstone that they came by.
create function retention.has_late_rows(p_branch retention.branch, p_from timestamptz, p_to timestamptz) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  family retention.family;
  answer boolean;
begin
  select * into strict family from retention.family f where f.table_name = p_branch.table_name;
  execute format('select exists (select from %I.%I l where l.%I >= $1 and l.%I < $2 and %s)',
      family.schema_name, family.table_name || '_late', family.time_column, family.time_column,
      case when family.category_column is null then 'true' else format('l.%I = $3', family.category_column) end)
    into answer using p_from, p_to, p_branch.category;
  return answer;
end
$$;

-- Replaces a tombstone by up to two smaller ones around [p_from, p_to). A tombstone is empty by its trigger; a row in
-- it would be lost here, so that is checked under the lock.
create function retention.carve_tombstone(p_branch retention.branch, p_parent regclass, p_tomb regclass,
  p_lower timestamptz, p_upper timestamptz, p_from timestamptz, p_to timestamptz) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  occupied boolean;
begin
  execute format('alter table %s detach partition %s', p_parent, p_tomb);
  execute format('select exists (select from %s)', p_tomb) into occupied;
  if occupied then
    raise exception 'tombstone % holds rows', p_tomb using errcode = 'AK102';
  end if;
  execute format('drop table %s', p_tomb);
  if p_lower < p_from then
    perform retention.add_tombstone(p_branch, p_parent, p_lower, p_from);
  end if;
  if p_to < p_upper then
    perform retention.add_tombstone(p_branch, p_parent, p_to, p_upper);
  end if;
end
$$;

create function retention.add_tombstone(p_branch retention.branch, p_parent regclass, p_lower timestamptz, p_upper timestamptz)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  select retention.attach_leaf(p_parent,
    retention.make_leaf(p_branch, retention.tombstone_name(p_branch.hot_parent, p_lower), true), p_lower, p_upper)
$$;

-- hot -> sealed, in two calls. The first puts the divert trigger on the leaf; its lock waits for every writer of the
-- leaf, so once it commits no row can enter. A later call counts, requires every event to be linked in the chain and
-- seals. Gives { state, diverted, unlinked, rows }.
create function retention.seal_partition(p_table text, p_from timestamptz, p_category text default '') returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '100ms'
as $$
declare
  branch retention.branch := retention.branch_of(p_table, p_category);
  unit retention.unit;
  leaf regclass;
  unlinked bigint := 0;
  counted bigint;
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    -- An older snapshot would not see the last rows of the leaf, and they would be sealed without a link.
    raise exception 'seal_partition needs READ COMMITTED' using errcode = 'AK104';
  end if;
  select * into unit from retention.unit u
    where u.table_name = p_table and u.category = branch.category and u.lower_bound = p_from and u.generation = 1
    for update;
  if not found or unit.state <> 'hot' then
    raise exception 'no hot unit of % begins at %', branch.hot_parent, p_from using errcode = 'AK104';
  end if;
  if unit.upper_bound > clock_timestamp() then
    raise exception 'unit % has not ended yet', unit.relation_name using errcode = 'AK108';
  end if;
  leaf := format('%I.%I', unit.schema_name, unit.relation_name)::regclass;
  if unit.diverted_at is null then
    perform retention.divert_leaf(p_table, leaf);
    update retention.unit u set diverted_at = clock_timestamp() where u.unit_id = unit.unit_id;
    return jsonb_build_object('state', 'hot', 'diverted', true, 'unlinked', null, 'rows', null);
  end if;
  perform retention.check_sealable(unit, leaf);
  if p_table = 'audit_log' then
    execute format($q$ select count(*) from (
        select from %s e where not exists (
          select from audit.chain_link k where k.event_id = e.id and k.event_timestamp = e.event_timestamp)
        limit 100000) missing $q$, leaf) into unlinked;
    if unlinked > 0 then
      return jsonb_build_object('state', 'hot', 'diverted', true, 'unlinked', unlinked, 'rows', null);
    end if;
  end if;
  execute format('select count(*) from %s', leaf) into counted;
  update retention.unit u set state = 'sealed', sealed_at = clock_timestamp(), row_count = counted where u.unit_id = unit.unit_id;
  return jsonb_build_object('state', 'sealed', 'diverted', true, 'unlinked', 0, 'rows', counted);
end
$$;

-- A leaf whose triggers are off could still change after sealing. Security events wait for their open incidents, at
-- most 90 days past the unit's bound.
create function retention.check_sealable(p_unit retention.unit, p_leaf regclass) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  waiting boolean;
begin
  if (select count(*) from pg_trigger t
       where t.tgrelid = p_leaf and t.tgenabled = 'A'
         and t.tgname in ('ak_child_immutable', 'ak_child_truncate', 'zz_seal_divert')) <> 3 then
    raise exception 'a trigger of % is missing or off', p_unit.relation_name using errcode = 'AK107';
  end if;
  if not exists (select from pg_constraint c where c.conrelid = p_leaf and c.conname = 'ak_bounds' and c.convalidated) then
    raise exception 'the bounds of % are not proven: ATTACH would scan it', p_unit.relation_name using errcode = 'AK107';
  end if;
  if p_unit.table_name = 'security_events_log' and p_unit.upper_bound + interval '2160 hours' > clock_timestamp() then
    execute format('select exists (select from %s e where e.incident_id is not null and e.resolved_at is null)', p_leaf)
      into waiting;
    if waiting then
      raise exception 'unit % has open incidents', p_unit.relation_name using errcode = 'AK108';
    end if;
  end if;
end
$$;

-- sealed -> archived in the caller's transaction: DETACH, ATTACH to the archive, a tombstone with the unit's bounds
-- (the lowest of a branch reaches to MINVALUE), the unit's row. No row is copied. Gives { unitId, relation, rows }.
create function retention.move_unit(p_table text, p_from timestamptz, p_category text default '') returns jsonb
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
  -- Class and number of the structure lock (src/db/advisory-lock.ts). A caller that holds it for its session passes.
  if not pg_try_advisory_xact_lock(24939, 1) then
    raise exception 'a report or verification is reading: the structure lock is taken' using errcode = 'AK106';
  end if;
  select * into unit from retention.unit u
    where u.table_name = p_table and u.category = branch.category and u.lower_bound = p_from and u.generation = 1
    for update;
  if not found or unit.state <> 'sealed' then
    raise exception 'no sealed unit of % begins at %', branch.hot_parent, p_from using errcode = 'AK104';
  end if;
  if unit.held then
    raise exception 'unit % is under a legal hold', unit.relation_name using errcode = 'AK105';
  end if;
  parent := format('%I.%I', unit.schema_name, branch.hot_parent)::regclass;
  archive := format('%I.%I', unit.schema_name, branch.archive_parent)::regclass;
  leaf := format('%I.%I', unit.schema_name, unit.relation_name)::regclass;
  perform retention.check_sealable(unit, leaf);
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

grant execute on function retention.create_partition(text, timestamptz, timestamptz, text) to auditkeep_engine;
grant execute on function retention.seal_partition(text, timestamptz, text) to auditkeep_engine;
grant execute on function retention.move_unit(text, timestamptz, text) to auditkeep_engine;
grant execute on function retention.leaves(regclass) to auditkeep_engine;
