-- Erasure reaches every table that holds audit events, by one list, and begins only when its record lies under a
-- checkpoint. Breaks nothing: one new function; erase_recorded() keeps its name, arguments and result.

-- Every table that holds events: the three families, and what was quarantined or restored out of them.
create function audit.event_relations() returns setof regclass
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select r.name::regclass
    from unnest(array['audit.audit_log', 'audit.audit_log_archive', 'audit.audit_log_late']) r(name)
  union all
  select c.oid::regclass
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
   where n.nspname = 'quarantine' and c.relkind = 'r'
     and 4 = (select count(*) from pg_attribute a
               where a.attrelid = c.oid and not a.attisdropped
                 and a.attname in ('event_timestamp', 'actor_salt', 'payload_salt', 'hash_version'))
$$;
grant execute on function audit.event_relations() to auditkeep_engine;

-- Nulls the recorded groups of a request wherever their events lie, and takes fresh statistics of the tables touched,
-- since pg_stats keeps erased values until then. Gives the tables with the number of groups erased in each. SQLSTATE
-- AK024 while the record is no leaf under a checkpoint: after a rollback of the chain nothing would tell of the erasure.
create or replace function audit.erase_recorded(p_request uuid) returns table (partition text, erased bigint)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  nulls constant text[] := array[
    'user_id = null, user_email = null, user_roles = null, session_id = null, ip_address = null, user_agent = null,
     actor_envelope = null, actor_salt = null',
    'resource_id = null, resource_path = null, old_values = null, new_values = null, additional_data = null,
     error_message = null, payload_envelope = null, payload_salt = null'];
  groups constant text[] := array['actor', 'payload'];
  relation regclass;
  at integer;
  touched regclass[] := '{}';
  names text[];
  place regclass;
begin
  if exists (select from audit.erasure e where e.request_id = p_request
              and not exists (select from audit.chain_link l join audit.checkpoint c on c.size > l.seq
                               where l.event_id = e.record_event_id)) then
    raise exception 'the record of request % is not a leaf under a checkpoint yet', p_request using errcode = 'AK024';
  end if;
  for relation in select * from audit.event_relations() loop
    for at in 1 .. 2 loop
      execute format(
        'with gone as (
           update %1$s t set %2$s
             from audit.erasure e join audit.chain_link l on l.event_id = e.event_id
            where e.request_id = $1 and e.event_group = %3$L
              and t.id = e.event_id and t.event_timestamp = l.event_timestamp and t.%4$I is not null
           returning t.tableoid)
         select array_agg(g.tableoid::regclass) from gone g', relation, nulls[at], groups[at], groups[at] || '_salt')
        into names using p_request;
      touched := touched || coalesce(names::regclass[], '{}');
    end loop;
    -- Statistics of the whole tree exist only where somebody analyzed the parent.
    if cardinality(touched) > 0 and exists (
         select from pg_class c join pg_namespace n on n.oid = c.relnamespace
           join pg_stats s on s.schemaname = n.nspname and s.tablename = c.relname and s.inherited
          where c.oid = relation) then
      execute format('analyze %s', relation);
    end if;
  end loop;
  for place in select distinct t from unnest(touched) t loop
    execute format('analyze %s', place);
  end loop;
  return query select t::text, count(*) from unnest(touched) t group by 1 order by 1;
end
$$;

-- Where the events of a request lie now, for VACUUM.
create function audit.erased_tables(p_request uuid) returns table (schema_name text, table_name text)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  relation regclass;
begin
  for relation in select * from audit.event_relations() loop
    return query execute format(
      'select distinct n.nspname::text, c.relname::text
         from audit.erasure e join audit.chain_link l on l.event_id = e.event_id
         join %s t on t.id = e.event_id and t.event_timestamp = l.event_timestamp
         join pg_class c on c.oid = t.tableoid join pg_namespace n on n.oid = c.relnamespace
        where e.request_id = $1 order by 1, 2', relation) using p_request;
  end loop;
end
$$;
grant execute on function audit.erased_tables(uuid) to auditkeep_engine;
revoke execute on function audit.erased_tables(uuid), audit.event_relations() from public;
