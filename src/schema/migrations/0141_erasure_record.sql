-- Groups are nulled only under a record that says so: an event of the record's type whose signed text names the request, the
-- number of its groups and the root over exactly them (docs/spec/audit-event-v1.md, section 8). Any linked event passed
-- before. The two signatures are not checked here but by everybody who verifies. Breaks nothing: erase_recorded() keeps
-- its name, arguments, result and grants, and every erasure that counts in verification has such a record.

alter function audit.erase_recorded(uuid) rename to erase_recorded_groups;
revoke execute on function audit.erase_recorded_groups(uuid) from auditkeep_engine;

-- Whether the record event of a request is one, of all that the request recorded; false also when there is none.
create function audit.is_erasure_recorded(p_request uuid) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  said jsonb;
  leaves bytea;
  recorded bigint;
begin
  select (e.additional_data ->> 'payload')::jsonb into strict said
    from (select distinct d.record_event_id from audit.erasure d where d.request_id = p_request) r
    join audit.chain_link l on l.event_id = r.record_event_id
    join audit.audit_log_all e on e.id = l.event_id and e.event_timestamp = l.event_timestamp
   where e.event_type = 'chain.erasure';
  select count(*), string_agg(sha256('\x00'::bytea || convert_to(g.line, 'UTF8')), ''::bytea order by g.line collate "C")
    into recorded, leaves
    from audit.erasure d
   cross join lateral (select format('%s/%s/%s', d.event_id, d.event_group, encode(d.commitment, 'hex')) as line) g
   where d.request_id = p_request
     and d.record_event_id = (select min(m.record_event_id::text)::uuid from audit.erasure m where m.request_id = p_request);
  return coalesce(said ->> 'format' = 'auditkeep-erasure/v1' and said ->> 'request_id' = p_request::text
    and said ->> 'groups' = recorded::text
    and said ->> 'root' = encode(audit.frontier_root(audit.grow_frontier(0, ''::bytea, leaves)), 'hex'), false);
exception
  -- No record, two of them, or a text that is not JSON.
  when no_data_found or too_many_rows or data_exception then
    return false;
end
$$;

-- As erase_recorded_groups(), and SQLSTATE AK029 when the record is none of this erasure: then nothing of it stays.
create function audit.erase_recorded(p_request uuid) returns table (partition text, erased bigint)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  known boolean;
begin
  -- Asked first, since the record may be among what is nulled.
  known := audit.is_erasure_recorded(p_request);
  return query select g.partition, g.erased from audit.erase_recorded_groups(p_request) g;
  if not known and exists (select from audit.erasure e where e.request_id = p_request) then
    raise exception 'no event records the erasure of request %', p_request using errcode = 'AK029';
  end if;
end
$$;
grant execute on function audit.erase_recorded(uuid) to auditkeep_engine;
