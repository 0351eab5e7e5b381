-- Facts for the controls of every group, their independent counts (as in 0071: definer functions of auditkeep_owner over the base
-- tables), and two tables that later capabilities fill: requests of data subjects, and archived units that were read back.
-- Breaks nothing: new tables, views and functions.

-- A request of a data subject and its clock. No name and no address: who it is of is for those who answer it. Written by functions
-- that come with the commands for such requests; until then by nobody.
create table privacy.subject_request (
  request_id uuid primary key default gen_random_uuid(),
  kind text not null check (kind in ('access', 'rectification', 'erasure', 'restriction', 'portability', 'objection')),
  received_at timestamptz not null,
  -- One month after it was received (GDPR 12(3)).
  due_at timestamptz not null check (due_at > received_at),
  -- By two months at most, told to the person within the first.
  extended_until timestamptz check (extended_until > due_at),
  completed_at timestamptz check (completed_at >= received_at),
  outcome text check (outcome in ('done', 'partly', 'refused', 'withdrawn')),
  check ((completed_at is null) = (outcome is null))
);
comment on table privacy.subject_request is 'Requests of data subjects (GDPR 12, 15-21) with their clocks, without who asked.';
create trigger no_truncate before truncate on privacy.subject_request
  for each statement execute function compliance.refuse_change();
alter table privacy.subject_request enable always trigger no_truncate;
grant select on privacy.subject_request to auditkeep_engine, auditkeep_view;

create table retention.read_back (
  unit_id bigint not null references retention.unit,
  read_at timestamptz not null,
  outcome text not null check (outcome in ('intact', 'damaged', 'unreadable')),
  row_count bigint check (row_count >= 0),
  fingerprint bytea check (octet_length(fingerprint) = 32),
  primary key (unit_id, read_at)
);
comment on table retention.read_back is 'Archived units that were read back and compared with their manifest.';
create trigger append_only before update or delete on retention.read_back
  for each row execute function compliance.refuse_change();
create trigger no_truncate before truncate on retention.read_back
  for each statement execute function compliance.refuse_change();
alter table retention.read_back enable always trigger append_only, enable always trigger no_truncate;
grant select on retention.read_back to auditkeep_engine, auditkeep_view;

-- Only which key a wrap is of: whether a destroyed key still has one.
grant select (key_id) on security_secret.key_wrap to auditkeep_view;

set local role auditkeep_view;
grant create on schema facts to auditkeep_owner;
set local role auditkeep_owner;

create function facts.count_grant_days() returns table (day date, n bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
  select (g.granted_at at time zone 'UTC')::date, count(*) from security_internal.user_roles g group by 1;
end;

create function facts.count_role_holders() returns table (n bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
  select count(*) from security_confidential.users u
   where u.id in (select g.user_id from security_internal.user_roles g where g.is_active);
end;

create function facts.count_session_states() returns table (is_active boolean, n bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
  select coalesce(s.is_active, false), count(*) from security_internal.user_sessions s group by 1;
end;

create function facts.count_state_changes() returns table (table_name text, day date, n bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
  select c.table_name, (c.changed_at at time zone 'UTC')::date, count(*) from compliance.state_change c group by 1, 2;
end;

create function facts.count_snapshot_days() returns table (table_name text, day date, n bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
  select s.table_name, (s.taken_at at time zone 'UTC')::date, count(*) from compliance.state_snapshot s group by 1, 2;
end;

create function facts.count_due() returns table (day date, n bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
  select (d.due_at at time zone 'UTC')::date, count(*) from ops.due d group by 1;
end;

-- Which service wrote events on which day, in hot, archived and late rows apart.
create function facts.count_event_sources() returns table (day date, source text, n bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
  select c.day, c.source, sum(c.n)::bigint from (
    select (e.event_timestamp at time zone 'UTC')::date as day, coalesce(e.service_name, 'unnamed')::text as source, count(*) as n
      from audit.audit_log e group by 1, 2
    union all
    select (e.event_timestamp at time zone 'UTC')::date, coalesce(e.service_name, 'unnamed')::text, count(*)
      from audit.audit_log_archive e group by 1, 2
    union all
    select (e.event_timestamp at time zone 'UTC')::date, coalesce(e.service_name, 'unnamed')::text, count(*)
      from audit.audit_log_late e group by 1, 2) c
   group by 1, 2;
end;

create function facts.count_subject_requests() returns table (day date, n bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
  select (r.received_at at time zone 'UTC')::date, count(*) from privacy.subject_request r group by 1;
end;

create function facts.count_erased() returns table (erased_groups bigint, destroyed_keys bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
  select (select count(*) from audit.erasure),
         (select count(*) from security_secret.encryption_keys k where k.status in ('destroyed', 'fenced'));
end;

-- Archived units by what was written when they were sealed.
create function facts.count_archived_units() returns table (n bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
  select count(*) from retention.manifest m join retention.unit u on u.unit_id = m.unit_id
   where u.archived_at is not null and u.state in ('archived', 'copied', 'verified', 'locked', 'committed');
end;

revoke all on function facts.count_grant_days(), facts.count_role_holders(), facts.count_session_states(),
  facts.count_state_changes(), facts.count_snapshot_days(), facts.count_due(), facts.count_event_sources(),
  facts.count_subject_requests(), facts.count_erased(), facts.count_archived_units() from public;
grant execute on function facts.count_grant_days(), facts.count_role_holders(), facts.count_session_states(),
  facts.count_state_changes(), facts.count_snapshot_days(), facts.count_due(), facts.count_event_sources(),
  facts.count_subject_requests(), facts.count_erased(), facts.count_archived_units() to auditkeep_view, auditkeep_report;

set local role auditkeep_view;
revoke create on schema facts from auditkeep_owner;

create view facts.grant_day_count as select c.day, c.n from facts.count_grant_days() c;
create view facts.role_holder_count as select c.n from facts.count_role_holders() c;
create view facts.session_state_count as select c.is_active, c.n from facts.count_session_states() c;
create view facts.state_change_count as select c.table_name, c.day, c.n from facts.count_state_changes() c;
create view facts.state_snapshot_day_count as select c.table_name, c.day, c.n from facts.count_snapshot_days() c;
create view facts.due_count as select c.day, c.n from facts.count_due() c;
create view facts.event_source_count as select c.day, c.source, c.n from facts.count_event_sources() c;
create view facts.subject_request_count as select c.day, c.n from facts.count_subject_requests() c;
create view facts.erased_count as select c.erased_groups, c.destroyed_keys from facts.count_erased() c;
create view facts.archived_unit_count as select c.n from facts.count_archived_units() c;

-- The tables whose state is watched, and since when.
create view facts.watched_table as
  select t.table_name,
         (select min(s.taken_at) from compliance.state_snapshot s where s.table_name = t.table_name) as watched_since,
         (select max(s.taken_at) from compliance.state_snapshot s where s.table_name = t.table_name) as last_taken_at
    from compliance.state_table t;

-- What the authentication configuration has to be, as a number where it is one.
create view facts.auth_requirement as
  select b.entry_id, b.setting, b.required_value, b.valid_from, b.valid_until, b.approved_by_key,
         case when b.required_value ~ '^\d{1,9}$' then b.required_value::integer end as required_number
    from facts.auth_baseline b;

create view facts.subject_request as
  select r.request_id, r.kind, r.received_at, r.due_at, r.extended_until, r.completed_at, r.outcome
    from privacy.subject_request r;

create view facts.read_back as
  select b.unit_id, b.read_at, b.outcome from retention.read_back b;

-- What was recorded as erased, and whether something of it is still there.
create view facts.erased_group as
  select e.event_id || ':' || e.event_group as erased_item, e.event_group, e.erased_at,
         exists (select from audit.audit_log_all a
                  where a.id = e.event_id
                    and a.event_timestamp = (select l.event_timestamp from audit.chain_link l where l.event_id = e.event_id limit 1)
                    and case e.event_group
                          when 'actor' then num_nonnulls(a.user_id, a.user_email, a.user_roles, a.session_id, a.ip_address,
                                                         a.user_agent, a.actor_envelope, a.actor_salt) > 0
                          else num_nonnulls(a.resource_id, a.resource_path, a.old_values, a.new_values, a.additional_data,
                                            a.error_message, a.payload_envelope, a.payload_salt) > 0 end) as is_left
    from audit.erasure e;

create view facts.destroyed_key as
  select k.key_id::text, k.key_type::text, k.status::text,
         (select count(w.key_id) from security_secret.key_wrap w where w.key_id = k.key_id) as wraps_left
    from security_secret.encryption_keys k where k.status in ('destroyed', 'fenced');

-- What each batch of an import said it did; numbers only, and none where the event's content was erased.
create view facts.import_batch as
  select e.id as event_id, e.event_timestamp, e.resource_type::text as target,
         case when e.additional_data ->> 'read' ~ '^\d{1,9}$' then (e.additional_data ->> 'read')::integer end as records_read,
         case when e.additional_data ->> 'imported' ~ '^\d{1,9}$' then (e.additional_data ->> 'imported')::integer end as records_added,
         case when e.additional_data ->> 'duplicates' ~ '^\d{1,9}$' then (e.additional_data ->> 'duplicates')::integer end as records_known,
         case when e.additional_data ->> 'rejected' ~ '^\d{1,9}$' then (e.additional_data ->> 'rejected')::integer end as records_rejected
    from audit.audit_log_all e where e.event_type = 'import.batch' and e.service_name = 'auditkeep';

grant select on all tables in schema facts to auditkeep_report;
set local role auditkeep_owner;
