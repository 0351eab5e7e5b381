-- What a sealed unit holds, written once when it is sealed: rows, a fingerprint of their multiset, their time span and
-- (events) their places in the chain. Whoever copies, splits, restores or destroys the unit has to prove that it was
-- exactly this. Also the lease that keeps two workers off one unit. Breaks nothing: seal_partition gives one key more.

create table retention.manifest (
  unit_id     bigint primary key references retention.unit,
  row_count   bigint not null check (row_count >= 0),
  fingerprint bytea not null check (octet_length(fingerprint) = 32),
  method      text not null check (method in ('rows/1', 'leaves/1')),
  first_at    timestamptz,
  last_at     timestamptz,
  seqs        int8multirange,
  made_at     timestamptz not null default clock_timestamp(),
  check ((method = 'leaves/1') = (seqs is not null))
);
comment on table retention.manifest is 'What a unit held when it was sealed. Written by the definer functions of schema retention only; never changed.';
comment on column retention.manifest.fingerprint is
  'SHA-256 over the groups'' SHA-256s in order of their first byte; a group is the sorted SHA-256s of rows that begin with that byte. rows/1 hashes the row as text, leaves/1 takes the event''s leaf in the chain, which erasure does not change.';
comment on column retention.manifest.seqs is 'The places of the unit''s events in the chain.';

create function retention.refuse_manifest_change() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  raise exception '% on retention.manifest is refused: it was written when the unit was sealed', tg_op using errcode = 'AK100';
end
$$;
create trigger ak_manifest_immutable before update or delete on retention.manifest
  for each row execute function retention.refuse_manifest_change();
create trigger ak_manifest_truncate before truncate on retention.manifest
  for each statement execute function retention.refuse_manifest_change();
alter table retention.manifest enable always trigger ak_manifest_immutable;
alter table retention.manifest enable always trigger ak_manifest_truncate;
grant select on retention.manifest to auditkeep_engine, auditkeep_view;

-- The columns of a family in the order of its hot parent, whatever order an adopted partition has them in.
create function retention.columns_of(p_table text, p_alias text default null) returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select string_agg(coalesce(p_alias || '.', '') || quote_ident(a.attname), ', ' order by a.attnum)
    from retention.family f
    join pg_attribute a on a.attrelid = format('%I.%I', f.schema_name, f.table_name)::regclass
   where f.table_name = p_table and a.attnum > 0 and not a.attisdropped
$$;

-- Rows, fingerprint, time span and places of what a relation (or a subquery in parentheses, made of identifiers only)
-- holds of a family. The text of a row depends on no setting of the session.
create function retention.fingerprint(p_table text, p_from text,
  out row_count bigint, out fingerprint bytea, out first_at timestamptz, out last_at timestamptz, out seqs int8multirange)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO, YMD'
set intervalstyle = 'postgres'
set bytea_output = 'hex'
set extra_float_digits = '1'
as $$
declare
  at text := (select quote_ident(f.time_column) from retention.family f where f.table_name = p_table);
  hashes text;
begin
  hashes := case when p_table = 'audit_log'
    then format('select l.leaf as h from %s e join audit.chain_link l on l.event_id = e.id and l.event_timestamp = e.event_timestamp', p_from)
    else format('select sha256(convert_to(row(%s)::text, ''UTF8'')) as h from %s e', retention.columns_of(p_table, 'e'), p_from)
  end;
  execute format($q$
    with hashed as materialized (%s), groups as (
      select get_byte(h, 0) as b, sha256(string_agg(h, ''::bytea order by h)) as g from hashed group by 1)
    select sha256(coalesce(string_agg(g, ''::bytea order by b), ''::bytea)) from groups $q$, hashes) into fingerprint;
  execute format('select count(*), min(e.%1$s), max(e.%1$s) from %2$s e', at, p_from) into row_count, first_at, last_at;
  if p_table = 'audit_log' then
    -- Islands first, so that only they are held in memory.
    execute format($q$
      select coalesce(range_agg(int8range(i.lo, i.hi, '[]')), '{}'::int8multirange) from (
        select min(s.seq) as lo, max(s.seq) as hi from (
          select l.seq, l.seq - row_number() over (order by l.seq) as island
            from %s e join audit.chain_link l on l.event_id = e.id and l.event_timestamp = e.event_timestamp) s
        group by s.island) i $q$, p_from) into seqs;
  end if;
end
$$;

create function retention.write_manifest(p_unit bigint, p_table text, p_from text) returns retention.manifest
language sql
set search_path = pg_catalog, pg_temp
as $$
  insert into retention.manifest (unit_id, row_count, fingerprint, method, first_at, last_at, seqs)
  select p_unit, f.row_count, f.fingerprint, case p_table when 'audit_log' then 'leaves/1' else 'rows/1' end,
         f.first_at, f.last_at, f.seqs
    from retention.fingerprint(p_table, p_from) f
  returning *
$$;

-- Whether a claim still stands: not timed out, and the session that took it is alive.
create function retention.is_leased(p_unit retention.unit) returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(p_unit.lease_until > clock_timestamp(), false)
     and exists (select from pg_stat_get_activity(p_unit.lease_pid))
$$;

-- Refuses a unit that another worker is at work on. A worker says who it is in its session (auditkeep.lease).
create function retention.check_lease(p_unit retention.unit) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if retention.is_leased(p_unit)
     and p_unit.lease_holder::text is distinct from current_setting('auditkeep.lease', true) then
    raise exception 'another worker is at work on unit %', p_unit.relation_name using errcode = 'AK110';
  end if;
end
$$;

-- Class and number of the structure lock (src/db/advisory-lock.ts). A caller that holds it for its session passes.
create function retention.take_structure() returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if not pg_try_advisory_xact_lock(24939, 1) then
    raise exception 'a report or verification is reading: the structure lock is taken' using errcode = 'AK106';
  end if;
end
$$;

-- hot -> sealed, as before; the last call also writes the manifest. Gives { state, diverted, unlinked, rows, fingerprint }.
create or replace function retention.seal_partition(p_table text, p_from timestamptz, p_category text default '') returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '100ms'
as $$
declare
  branch retention.branch := retention.branch_of(p_table, p_category);
  unit retention.unit;
  leaf regclass;
  unlinked bigint := 0;
  made retention.manifest;
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
  perform retention.check_lease(unit);
  if unit.upper_bound > clock_timestamp() then
    raise exception 'unit % has not ended yet', unit.relation_name using errcode = 'AK108';
  end if;
  leaf := format('%I.%I', unit.schema_name, unit.relation_name)::regclass;
  if unit.diverted_at is null then
    perform retention.divert_leaf(p_table, leaf);
    update retention.unit u set diverted_at = clock_timestamp() where u.unit_id = unit.unit_id;
    return jsonb_build_object('state', 'hot', 'diverted', true, 'unlinked', null, 'rows', null, 'fingerprint', null);
  end if;
  perform retention.check_sealable(unit, leaf);
  if p_table = 'audit_log' then
    execute format($q$ select count(*) from (
        select from %s e where not exists (
          select from audit.chain_link k where k.event_id = e.id and k.event_timestamp = e.event_timestamp)
        limit 100000) missing $q$, leaf) into unlinked;
    if unlinked > 0 then
      return jsonb_build_object('state', 'hot', 'diverted', true, 'unlinked', unlinked, 'rows', null, 'fingerprint', null);
    end if;
  end if;
  made := retention.write_manifest(unit.unit_id, p_table, leaf::text);
  update retention.unit u set state = 'sealed', sealed_at = clock_timestamp(), row_count = made.row_count
    where u.unit_id = unit.unit_id;
  return jsonb_build_object('state', 'sealed', 'diverted', true, 'unlinked', 0, 'rows', made.row_count,
    'fingerprint', encode(made.fingerprint, 'hex'));
end
$$;

-- Units that were sealed before manifests existed get theirs now; erasure has not changed a leaf, nothing else could.
do $$
declare
  unit retention.unit;
begin
  for unit in select * from retention.unit u where u.state in ('sealed', 'archived') loop
    perform retention.write_manifest(unit.unit_id, unit.table_name, format('%I.%I', unit.schema_name, unit.relation_name));
  end loop;
end
$$;
