-- A transaction writes an event once, also where it makes or closes the partition between the two rows: one is late then and the
-- other lies in a hot leaf, and no index spans both. They have no order in the chain, so that the sealer stood still for good
-- (0218); only the engine's login may make or close partitions. The second row is refused as a key would refuse it (SQLSTATE
-- 23505). Breaks nothing: no step of ours writes so.

create function retention.refuse_again(p_at timestamptz, p_id uuid, p_txid bigint) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if exists (select from audit.audit_log h where h.event_timestamp = p_at and h.id = p_id and h.txid = p_txid)
     or exists (select from audit.audit_log_late l where l.event_timestamp = p_at and l.id = p_id and l.txid = p_txid) then
    raise exception 'this transaction has written another event with id % at that time', p_id using errcode = 'unique_violation';
  end if;
end
$$;

-- Both as before (0011), but for that.
create or replace function retention.divert_late() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  family retention.family;
  columns text;
  at timestamptz;
  twins bigint;
  equals bigint;
begin
  select * into strict family from retention.family f where f.table_name = tg_argv[0];
  if exists (select from retention.unit u
              where u.schema_name = tg_table_schema and u.relation_name = tg_table_name and u.diverted_at is null) then
    raise exception 'the snapshot is older than the closing of %: try again', tg_table_name using errcode = '40001';
  end if;
  at := (to_jsonb(new) ->> family.time_column)::timestamptz;
  insert into retention.late_key (table_name, row_time, row_id) values (family.table_name, at, new.id)
    on conflict do nothing;
  execute retention.twin_query(family, array['', '_archive', '_late']) into twins, equals using new;
  if equals > 0 then
    return null;
  end if;
  if twins > 0 then
    if family.table_name = 'audit_log' then
      perform retention.refuse_again(new.event_timestamp, new.id, new.txid);
    end if;
    raise warning '%.% has another row with id % already: kept in %_late, verification reports it as doubled',
      family.schema_name, family.table_name, new.id, family.table_name;
  end if;
  select string_agg(quote_ident(a.attname), ', ' order by a.attnum) into columns
    from pg_attribute a
   where a.attrelid = format('%I.%I', family.schema_name, family.table_name || '_late')::regclass
     and a.attnum > 0 and not a.attisdropped;
  execute format('insert into %I.%I (%s) select %s from (select ($1).*) r',
    family.schema_name, family.table_name || '_late', columns, columns) using new;
  return null;
end
$$;

create or replace function retention.drop_late_twin() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  family retention.family;
  twins bigint;
  equals bigint;
begin
  if not exists (select from retention.unit u
                  where u.schema_name = tg_table_schema and u.relation_name = tg_table_name) then
    raise exception 'the snapshot is older than %: try again', tg_table_name using errcode = '40001';
  end if;
  select * into strict family from retention.family f where f.table_name = tg_argv[0];
  execute retention.twin_query(family, array['_late']) into twins, equals using new;
  if equals > 0 then
    return null;
  end if;
  if twins > 0 then
    if family.table_name = 'audit_log' then
      perform retention.refuse_again(new.event_timestamp, new.id, new.txid);
    end if;
    raise warning '%.% has another row with id % in late: verification reports it as doubled',
      family.schema_name, family.table_name, new.id;
  end if;
  return new;
end
$$;
