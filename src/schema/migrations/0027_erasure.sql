-- Erasure of a group of an event's columns. Two steps, so that the record is a leaf of the chain before anything is gone:
-- record_erasure() keeps the commitments beside the record event, erase_recorded() nulls the groups once that event is
-- linked. Both may run again after a crash at any point. SQLSTATEs: AK024 the record is not a leaf yet, AK025 the groups
-- are not those of sealed events. Breaks nothing: new functions only.

-- Keeps the commitments of groups as the chain has them; the number kept.
create function audit.record_erasure(p_request uuid, p_record_event uuid, p_events uuid[], p_groups text[]) returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  kept integer;
begin
  insert into audit.erasure (event_id, event_group, commitment, request_id, record_event_id)
  select distinct e.event_id, e.event_group,
         case e.event_group when 'actor' then l.actor_commitment else l.payload_commitment end,
         p_request, p_record_event
    from unnest(p_events, p_groups) as e(event_id, event_group)
    join audit.chain_link l on l.event_id = e.event_id
   where case e.event_group when 'actor' then l.actor_commitment else l.payload_commitment end is not null;
  get diagnostics kept = row_count;
  if kept <> cardinality(p_events) then
    raise exception '% of % groups are not of sealed events', cardinality(p_events) - kept, cardinality(p_events)
      using errcode = 'AK025';
  end if;
  return kept;
end
$$;

-- Nulls the recorded groups of a request wherever their events lie, and takes fresh statistics of the partitions
-- touched, since pg_stats keeps erased values until then. Gives the partitions with the number of groups erased in each.
create function audit.erase_recorded(p_request uuid) returns table (partition text, erased bigint)
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
  parent text;
  at integer;
  touched regclass[] := '{}';
  names text[];
  place regclass;
begin
  if exists (select from audit.erasure e where e.request_id = p_request
              and not exists (select from audit.chain_link l where l.event_id = e.record_event_id)) then
    raise exception 'the record of request % is not a leaf of the chain yet', p_request using errcode = 'AK024';
  end if;
  foreach parent in array array['audit_log', 'audit_log_archive', 'audit_log_late'] loop
    for at in 1 .. 2 loop
      execute format(
        'with gone as (
           update audit.%1$I t set %2$s
             from audit.erasure e join audit.chain_link l on l.event_id = e.event_id
            where e.request_id = $1 and e.event_group = %3$L
              and t.id = e.event_id and t.event_timestamp = l.event_timestamp and t.%4$I is not null
           returning t.tableoid)
         select array_agg(g.tableoid::regclass) from gone g', parent, nulls[at], groups[at], groups[at] || '_salt')
        into names using p_request;
      touched := touched || coalesce(names::regclass[], '{}');
    end loop;
    -- Statistics of the whole tree exist only where somebody analyzed the parent.
    if cardinality(touched) > 0 and exists (select from pg_stats s
         where s.schemaname = 'audit' and s.tablename = parent and s.inherited) then
      execute format('analyze audit.%I', parent);
    end if;
  end loop;
  for place in select distinct t from unnest(touched) t loop
    execute format('analyze %s', place);
  end loop;
  return query select t::text, count(*) from unnest(touched) t group by 1 order by 1;
end
$$;

grant execute on function audit.record_erasure(uuid, uuid, uuid[], text[]) to auditkeep_engine;
grant execute on function audit.erase_recorded(uuid) to auditkeep_engine;
