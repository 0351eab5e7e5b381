-- What happened to the tables that say who may do what: every change of a row as a keyed hash in the audit chain, and a daily
-- snapshot, so that a change which was not logged (a trigger switched off, a restored table) shows as a difference that no log
-- explains. Hashes are keyed with a salt that only the owner reads: they tell nothing of persons. Columns that change with mere
-- use are left out. Breaks nothing: new tables and triggers; writers of these tables need no new right.

create table compliance.state_salt (
  one boolean primary key default true check (one),
  salt bytea not null default public.gen_random_bytes(32) check (octet_length(salt) = 32)
);
insert into compliance.state_salt default values;

create table compliance.state_table (
  table_name text primary key,
  -- Columns that change with use or only say when and by whom a row was written.
  left_out text[] not null
);
insert into compliance.state_table values
  ('security_confidential.users',
   '{failed_login_attempts,lockout_until,last_login,last_login_ip,updated_at,updated_by,version}'),
  ('security_internal.roles', '{updated_at}'),
  ('security_internal.user_roles', '{}'),
  ('security_internal.security_policies', '{updated_at,version}'),
  ('security_secret.encryption_keys', '{usage_count,last_used_at}'),
  ('security_confidential.service_configurations', '{updated_at,version}'),
  ('security_internal.api_endpoints', '{updated_at}');

create table compliance.state_change (
  seq bigint generated always as identity primary key,
  table_name text not null,
  -- Null for a TRUNCATE, which empties the table.
  row_key uuid,
  operation text not null check (operation in ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')),
  old_hash char(64),
  new_hash char(64),
  changed_at timestamptz not null default now(),
  login text not null default session_user
);
create index state_change_row on compliance.state_change (table_name, row_key, seq);

create table compliance.state_snapshot (
  id bigint generated always as identity primary key,
  table_name text not null,
  taken_at timestamptz not null default now(),
  -- Changes up to here are in it.
  last_change bigint not null,
  row_count bigint not null check (row_count >= 0),
  -- SHA-256 of the rows' keys and hashes, in the order of the keys.
  root char(64) not null
);
create index state_snapshot_table on compliance.state_snapshot (table_name, id);

-- What differs from the snapshot before; the first lists every row. Folded up to a snapshot, they are the table as it was.
create table compliance.state_difference (
  snapshot_id bigint not null references compliance.state_snapshot (id),
  table_name text not null,
  row_key uuid not null,
  old_hash char(64),
  new_hash char(64),
  -- Whether logged changes since the snapshot before lead from the old row to the new one.
  logged boolean not null,
  primary key (snapshot_id, row_key),
  check (old_hash is distinct from new_hash)
);
create index state_difference_row on compliance.state_difference (table_name, row_key, snapshot_id desc);

create function compliance.state_hash(p_table text, p_row jsonb) returns text
language sql stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
  select encode(public.hmac(convert_to((p_row - t.left_out)::text, 'UTF8'), s.salt, 'sha256'), 'hex')
    from compliance.state_table t, compliance.state_salt s where t.table_name = p_table and p_row is not null
$$;

create function compliance.record_state_change() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
  changed text := tg_table_schema || '.' || tg_table_name;
  old_row jsonb := case when tg_op in ('UPDATE', 'DELETE') then to_jsonb(old) end;
  new_row jsonb := case when tg_op in ('INSERT', 'UPDATE') then to_jsonb(new) end;
  change compliance.state_change;
begin
  change.old_hash := compliance.state_hash(changed, old_row);
  change.new_hash := compliance.state_hash(changed, new_row);
  change.row_key := (coalesce(new_row, old_row) ->> 'id')::uuid;
  if tg_op = 'UPDATE' and change.old_hash = change.new_hash then
    return null; -- mere use
  end if;
  insert into compliance.state_change (table_name, row_key, operation, old_hash, new_hash)
  values (changed, change.row_key, tg_op, change.old_hash, change.new_hash);
  insert into audit.audit_log
    (event_type, event_category, event_action, resource_type, resource_id, result, service_name, additional_data)
  values ('state.changed', 'admin', tg_op, tg_table_name, change.row_key::text, 'success', 'auditkeep',
          jsonb_build_object('schema', tg_table_schema, 'login', session_user, 'oldHash', change.old_hash,
                             'newHash', change.new_hash));
  return null;
end
$$;

-- Takes a snapshot of every table, with what differs from the one before; gives the number of differences that no log explains.
create function compliance.take_state_snapshot(out tables integer, out differences bigint, out unlogged bigint)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
  watched compliance.state_table;
  previous compliance.state_snapshot;
  taken bigint;
  found_all bigint;
  found_unlogged bigint;
  roots jsonb := '{}';
begin
  lock table compliance.state_snapshot in share row exclusive mode;
  tables := 0;
  differences := 0;
  unlogged := 0;
  for watched in select * from compliance.state_table order by table_name loop
    -- Writers wait, so that rows and logged changes are of one moment.
    execute format('lock table %s in share mode', watched.table_name::regclass);
    previous := null;
    select * into previous from compliance.state_snapshot s
     where s.table_name = watched.table_name order by s.id desc limit 1;
    execute format('create temporary table state_now on commit drop as
      select r.id as row_key, compliance.state_hash(%L, to_jsonb(r)) as hash from %s r', watched.table_name, watched.table_name::regclass);
    insert into compliance.state_snapshot (table_name, last_change, row_count, root)
    select watched.table_name, coalesce((select max(c.seq) from compliance.state_change c), 0), count(*),
           encode(sha256(convert_to(coalesce(string_agg(n.row_key || ':' || n.hash, ',' order by n.row_key), ''), 'UTF8')), 'hex')
      from pg_temp.state_now n
    returning id into taken;
    with before as (
      select distinct on (d.row_key) d.row_key, d.new_hash as hash from compliance.state_difference d
       where d.table_name = watched.table_name order by d.row_key, d.snapshot_id desc
    ), changed as (
      select coalesce(n.row_key, b.row_key) as row_key, b.hash as old_hash, n.hash as new_hash
        from pg_temp.state_now n
        full join (select * from before where hash is not null) b on b.row_key = n.row_key
       where b.hash is distinct from n.hash
    ), logged as (
      select c.row_key, (array_agg(c.old_hash order by c.seq))[1] as old_hash,
             (array_agg(c.new_hash order by c.seq desc))[1] as new_hash
        from compliance.state_change c
       where c.table_name = watched.table_name and c.seq > coalesce(previous.last_change, 0) group by c.row_key
    ), listed as (
      insert into compliance.state_difference (snapshot_id, table_name, row_key, old_hash, new_hash, logged)
      -- Nothing is known of what was before the first snapshot.
      select taken, watched.table_name, d.row_key, d.old_hash, d.new_hash, previous.id is null
             or (l.row_key is not null and l.old_hash is not distinct from d.old_hash
                 and l.new_hash is not distinct from d.new_hash)
        from changed d left join logged l on l.row_key = d.row_key
      returning logged
    )
    select count(*), count(*) filter (where not listed.logged) into found_all, found_unlogged from listed;
    drop table pg_temp.state_now;
    tables := tables + 1;
    differences := differences + found_all;
    unlogged := unlogged + found_unlogged;
    roots := roots || jsonb_build_object(watched.table_name, (select s.root from compliance.state_snapshot s where s.id = taken));
  end loop;
  insert into audit.audit_log
    (event_type, event_category, event_action, resource_type, result, service_name, additional_data)
  values ('state.snapshot', 'system', 'SNAPSHOT', 'compliance_state', 'success', 'auditkeep',
          jsonb_build_object('differences', differences, 'unlogged', unlogged, 'roots', roots));
end
$$;
grant execute on function compliance.take_state_snapshot() to auditkeep_engine;

do $$
declare
  watched text;
  guarded text;
begin
  for watched in select table_name from compliance.state_table loop
    execute format('create trigger state_changed after insert or update or delete on %s
                    for each row execute function compliance.record_state_change()', watched);
    execute format('create trigger state_truncated after truncate on %s
                    for each statement execute function compliance.record_state_change()', watched);
    execute format('alter table %s enable always trigger state_changed, enable always trigger state_truncated', watched);
  end loop;
  foreach guarded in array array['state_change', 'state_snapshot', 'state_difference', 'state_table', 'state_salt'] loop
    execute format('create trigger append_only before update or delete on compliance.%I
                    for each row execute function compliance.refuse_change()', guarded);
    execute format('create trigger no_truncate before truncate on compliance.%I
                    for each statement execute function compliance.refuse_change()', guarded);
    execute format('alter table compliance.%I enable always trigger append_only', guarded);
    execute format('alter table compliance.%I enable always trigger no_truncate', guarded);
  end loop;
end
$$;
grant select on compliance.state_change, compliance.state_snapshot, compliance.state_difference, compliance.state_table
  to auditkeep_engine, auditkeep_view;
