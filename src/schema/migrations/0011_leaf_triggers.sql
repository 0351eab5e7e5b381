-- The trigger functions that every leaf carries as its own (TRUNCATE triggers are not cloned from parents and DETACH
-- drops cloned ones): refuse changes, divert late rows, store a missing retention category as permanent.
-- Breaks nothing: functions only.

-- Each change of a security event's investigation is itself an event: which columns, by which login, never the values.
create function audit.record_investigation(p_event_id uuid, p_old jsonb, p_new jsonb) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  insert into audit.audit_log (event_type, event_category, event_action, resource_type, resource_id, service_name, additional_data)
  values ('security_event.investigated', 'security', 'UPDATE', 'security_events_log', p_event_id::text, 'auditkeep',
    jsonb_build_object('login', session_user::text, 'columns', (
      select coalesce(jsonb_agg(n.key order by n.key), '[]'::jsonb)
        from jsonb_each(p_new) n where n.value is distinct from p_old -> n.key)));
end
$$;

-- Argument 0 names the family. The one UPDATE of an event that passes is judged by what it changes, not by who asks:
-- one whole group and its salt become NULL, nothing else differs, and an erasure record says so. Rows are compared as
-- text: jsonb equality would let 1.0 become 1.00 and break the event's leaf.
create function audit.refuse_change() returns trigger
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
  raise exception '% on %.% is refused: recorded history does not change', tg_op, tg_table_schema, tg_table_name
    using errcode = 'AK100', hint = 'erasure goes through the engine; corrections are new events';
end
$$;

-- Who writes a late row first. The late tables have no key, because a differing double is kept; this one makes a second
-- writer of the same row wait for the first, and fail under a snapshot that could not see it (SQLSTATE 40001). Advisory
-- locks would be one a row in the server's shared memory, and any login could hold them.
create table retention.late_key (
  table_name text not null references retention.family,
  row_time   timestamptz not null,
  row_id     uuid not null,
  primary key (table_name, row_time, row_id)
);
comment on table retention.late_key is 'One row for every row that was written to a late table; changed by the divert trigger only.';

-- A query over members of a family for the rows with the time and id of $1: how many there are, and how many of them
-- equal $1. Rows are compared as text, since jsonb equality takes 1.0 for 1.00, whose leaves in the chain differ. What is
-- ours (salts, txid, hashes), an analyst's notes and a group that was erased since do not count: the row that is stored
-- stays what the writer wrote, and a retry must not bring erased data back.
create function retention.twin_query(p_family retention.family, p_members text[]) returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select format('select count(*), count(*) filter (where row(%s)::text = row(%s)::text) from (%s) o, (select ($1).*) n',
    string_agg(case
        when a.attname in ('user_id', 'user_email', 'user_roles', 'session_id', 'ip_address', 'user_agent', 'actor_envelope')
          and p_family.table_name = 'audit_log'
          then format('case when o.actor_salt is null then n.%1$I else o.%1$I end', a.attname)
        when a.attname in ('resource_id', 'resource_path', 'old_values', 'new_values', 'additional_data', 'error_message',
            'payload_envelope') and p_family.table_name = 'audit_log'
          then format('case when o.payload_salt is null then n.%1$I else o.%1$I end', a.attname)
        else format('o.%I', a.attname) end, ', ' order by a.attnum),
    string_agg(format('n.%I', a.attname), ', ' order by a.attnum),
    (select string_agg(format('select m.* from %1$I.%2$I m where m.%3$I = ($1).%3$I and m.id = ($1).id',
        p_family.schema_name, p_family.table_name || suffix, p_family.time_column), ' union all ')
       from unnest(p_members) suffix))
    from pg_attribute a
   where a.attrelid = format('%I.%I', p_family.schema_name, p_family.table_name || '_late')::regclass
     and a.attnum > 0 and not a.attisdropped
     and a.attname not in ('actor_salt', 'payload_salt', 'txid', 'hash_version', 'event_hash', 'previous_event_hash')
     and not (p_family.table_name = 'security_events_log' and a.attname in ('investigated', 'false_positive',
       'analyst_notes', 'incident_id', 'investigation_started', 'resolved_at'))
$$;

-- Argument 0 names the family. Writes the row to <table>_late and keeps it out of the leaf (the client sees INSERT 0 0).
-- A row that lies in the family already, equal in everything its writer gave, is dropped: its leaf may still hang below
-- the hot table, where its key guards nothing any more, since nothing enters. One that differs is kept and reported, and
-- verification names it as doubled.
create function retention.divert_late() returns trigger
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

-- Argument 0 names the family. On a hot leaf that was made where late rows lay already: a row that is in late is dropped
-- here as divert_late would drop it.
create function retention.drop_late_twin() returns trigger
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
    raise warning '%.% has another row with id % in late: verification reports it as doubled',
      family.schema_name, family.table_name, new.id;
  end if;
  return new;
end
$$;

-- data_access_log: a missing category is the safest one. Both lie in the same list, so routing does not change.
create function audit.default_permanent() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  new.retention_category := coalesce(new.retention_category, 'permanent');
  return new;
end
$$;
