-- What people ask for in SQL: archival by a DBA, and notes of analysts on security events whose partition is sealed. The row
-- is the request: NOTIFY is only a hint, and nothing is done inside the caller's transaction. Breaks nothing: new.

create table retention.archive_request (
  plan_id      uuid primary key default gen_random_uuid(),
  table_name   text not null references retention.family,
  before       timestamptz not null check (isfinite(before)),
  reason       text not null check (btrim(reason) <> ''),
  requested_by text not null,
  requested_at timestamptz not null default clock_timestamp(),
  done_at      timestamptz,
  units        integer check (units >= 0),
  check ((done_at is null) = (units is null))
);
comment on table retention.archive_request is 'Archival that somebody asked for in SQL; the archive job takes what is not done. requested_by is the login.';
grant select on retention.archive_request to auditkeep_engine, auditkeep_view;

create function retention.keep_archive_request() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if tg_op = 'UPDATE' and old.done_at is null
     and (new.plan_id, new.table_name, new.before, new.reason, new.requested_by, new.requested_at)
         is not distinct from (old.plan_id, old.table_name, old.before, old.reason, old.requested_by, old.requested_at) then
    return new;
  end if;
  raise exception 'a request of archival stays as it was made' using errcode = 'AK013';
end
$$;
create trigger keep_request before update or delete on retention.archive_request
  for each row execute function retention.keep_archive_request();
create trigger no_truncate before truncate on retention.archive_request
  for each statement execute function compliance.refuse_change();
alter table retention.archive_request enable always trigger keep_request, enable always trigger no_truncate;

-- For a DBA in psql, by GRANT EXECUTE (and USAGE on schema retention). Gives the id of the plan that the archive job makes.
create function retention.request_archive(p_table text, p_before timestamptz, p_reason text) returns uuid
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  made uuid;
begin
  if not exists (select from retention.family f where f.table_name = p_table) then
    raise exception '% is no table under retention', p_table using errcode = 'AK101',
      hint = 'there are ' || (select string_agg(f.table_name, ', ' order by 1) from retention.family f);
  end if;
  if p_before is null or not isfinite(p_before) or p_before > clock_timestamp() then
    raise exception 'before has to be an instant that has passed' using errcode = 'AK102';
  end if;
  if coalesce(btrim(p_reason), '') = '' then
    raise exception 'a request needs a reason' using errcode = 'AK102';
  end if;
  insert into retention.archive_request (table_name, before, reason, requested_by)
  values (p_table, p_before, p_reason, session_user)
  returning plan_id into made;
  perform pg_notify('auditkeep_archive', made::text);
  return made;
end
$$;
comment on function retention.request_archive(text, timestamptz, text) is
  'Asks for archival of what ends by an instant. The row is the request; the archive job takes it. Give EXECUTE to the DBAs who may.';

-- A request at its end: nothing of it is left hot.
create function retention.finish_archive_request(p_plan uuid, p_units integer) returns void
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  update retention.archive_request r set done_at = clock_timestamp(), units = p_units
   where r.plan_id = p_plan and r.done_at is null
     and not exists (select from retention.unit u where u.table_name = r.table_name and u.state in ('hot', 'sealed', 'failed')
                        and u.upper_bound <= r.before)
$$;
grant execute on function retention.finish_archive_request(uuid, integer) to auditkeep_engine;

-- What analysts add once a security event's partition is sealed and its own columns no longer change.
create table audit.security_event_note (
  note_id         uuid primary key default gen_random_uuid(),
  event_id        uuid not null,
  event_timestamp timestamptz not null,
  note            text not null check (length(btrim(note)) between 1 and 10000),
  resolved_at     timestamptz,
  noted_by        text not null,
  noted_at        timestamptz not null
);
comment on table audit.security_event_note is 'Notes on security events whose partition is sealed. Append-only; each is an audit event. noted_by is the login.';
create index idx_security_event_note_event on audit.security_event_note (event_id, event_timestamp);

create function audit.record_security_note() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (select from audit.security_events_log_all e where e.id = new.event_id and e.event_timestamp = new.event_timestamp) then
    raise exception 'there is no such security event' using errcode = 'AK101';
  end if;
  if exists (select from audit.security_events_log e join retention.unit u
               on u.table_name = 'security_events_log' and u.generation = 1 and u.state = 'hot'
              and e.event_timestamp >= u.lower_bound and e.event_timestamp < u.upper_bound
             where e.id = new.event_id and e.event_timestamp = new.event_timestamp) then
    raise exception 'the partition of this event is not sealed: write its own columns' using errcode = 'AK104';
  end if;
  new.noted_by := session_user;
  new.noted_at := clock_timestamp();
  insert into audit.audit_log (event_type, event_category, event_action, resource_type, resource_id, service_name, additional_data)
  values ('security_event.noted', 'security', 'CREATE', 'security_event_note', new.note_id::text, 'auditkeep',
    jsonb_build_object('login', session_user::text, 'event', new.event_id, 'resolved', new.resolved_at is not null));
  return new;
end
$$;
create trigger record_note before insert on audit.security_event_note
  for each row execute function audit.record_security_note();
create trigger append_only before update or delete on audit.security_event_note
  for each row execute function compliance.refuse_change();
create trigger no_truncate before truncate on audit.security_event_note
  for each statement execute function compliance.refuse_change();
alter table audit.security_event_note enable always trigger record_note, enable always trigger append_only,
  enable always trigger no_truncate;
grant insert (event_id, event_timestamp, note, resolved_at) on audit.security_event_note to security_analyst_role;
grant select on audit.security_event_note to security_analyst_role, audit_role, auditkeep_engine, auditkeep_view;

set local role auditkeep_view;
create view facts.security_event_note as
  select n.note_id, n.event_id as security_event_id, n.event_timestamp, n.noted_at, n.resolved_at
    from audit.security_event_note n;
create view facts.legal_hold as
  select h.hold_id, h.table_name, h.held_from, h.held_to, p.recorded_at as placed_at, (
           select min(d.recorded_at) from retention.hold_release r
             join compliance.object_decision d on d.object_id = r.release_id and d.meaning = 'approve' and d.object_hash = r.sha256
            where r.hold_id = h.hold_id) as released_at
    from retention.hold h
    left join compliance.object_decision p on p.object_id = h.hold_id and p.meaning = 'request' and p.object_hash = h.sha256;
create view facts.destruction as
  select c.certificate_id, c.plan_id, u.table_name, u.category, u.lower_bound, u.upper_bound, u.row_count, c.recorded_at
    from retention.certificate c join retention.unit u using (unit_id);
grant select on facts.security_event_note, facts.legal_hold, facts.destruction to auditkeep_report;
set local role auditkeep_owner;
