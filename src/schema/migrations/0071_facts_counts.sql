-- Independent counts: the size of each population by a path that is not the control's own. Definer functions of
-- auditkeep_owner over the base tables (another role, no fact view between), so that a view that loses rows, or a role
-- that is filtered, shows as a difference. Breaks nothing: new functions and views.

create function facts.count_accounts() returns table (status text, n bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
  select coalesce(u.account_status, 'active')::text, count(*) from security_confidential.users u group by 1;
end;

create function facts.count_role_grants() returns table (is_active boolean, is_privileged boolean, grants bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
  select coalesce(g.is_active, false),
         g.role_id in (select r.id from security_internal.roles r
                        where r.is_system_role or r.name ~* 'admin' or '*' = any (r.permissions)
                           or array_to_string(r.permissions, ' ') ~* 'admin'),
         count(*)
    from security_internal.user_roles g group by 1, 2;
end;

-- Holders of an active privileged grant whose own account is active.
create function facts.count_privileged_accounts() returns table (n bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
  select count(*) from security_confidential.users u
   where coalesce(u.account_status, 'active') = 'active'
     and u.id in (select g.user_id from security_internal.user_roles g, security_internal.roles r
                   where r.id = g.role_id and g.is_active
                     and (r.is_system_role or r.name ~* 'admin' or '*' = any (r.permissions)
                          or array_to_string(r.permissions, ' ') ~* 'admin'));
end;

create function facts.count_tokens() returns table (is_active boolean, n bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
  select coalesce(t.is_active, false), count(*) from security_internal.jwt_tokens t group by 1;
end;

create function facts.count_sessions() returns table (n bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
  select count(*) from security_internal.user_sessions;
end;

create function facts.count_encryption_keys() returns table (status text, n bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
  select k.status::text, count(*) from security_secret.encryption_keys k group by 1;
end;

create function facts.count_stored_transactions() returns table (day date, n bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
  select (coalesce(t.confirmed_at, t.created_at) at time zone 'UTC')::date, count(*)
    from security_confidential.transactions t group by 1;
end;

create function facts.count_events() returns table (day date, event_category text, n bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
  select c.day, c.event_category, sum(c.n)::bigint from (
    select (e.event_timestamp at time zone 'UTC')::date as day, e.event_category::text, count(*) as n
      from audit.audit_log e group by 1, 2
    union all
    select (e.event_timestamp at time zone 'UTC')::date, e.event_category::text, count(*)
      from audit.audit_log_archive e group by 1, 2
    union all
    select (e.event_timestamp at time zone 'UTC')::date, e.event_category::text, count(*)
      from audit.audit_log_late e group by 1, 2) c
   group by 1, 2;
end;

create function facts.count_security_events() returns table (day date, severity text, n bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
  select c.day, c.severity, sum(c.n)::bigint from (
    select (e.event_timestamp at time zone 'UTC')::date as day, e.severity::text, count(*) as n
      from audit.security_events_log e group by 1, 2
    union all
    select (e.event_timestamp at time zone 'UTC')::date, e.severity::text, count(*)
      from audit.security_events_log_archive e group by 1, 2
    union all
    select (e.event_timestamp at time zone 'UTC')::date, e.severity::text, count(*)
      from audit.security_events_log_late e group by 1, 2) c
   group by 1, 2;
end;

-- The partitions that the catalog has, tombstones left out, against the units that retention knows.
create function facts.count_partitions() returns table (table_name text, n bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
  select b.table_name, count(*)
    from retention.branch b
    join retention.family f on f.table_name = b.table_name
   cross join lateral unnest(array[b.hot_parent, b.archive_parent]) parent
   cross join lateral retention.leaves(format('%I.%I', f.schema_name, parent)::regclass) leaf
   where not leaf.tombstone
   group by 1;
end;

create function facts.count_job_runs() returns table (day date, n bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
  select (r.started_at at time zone 'UTC')::date, count(*) from ops.run r group by 1;
end;

create function facts.count_reports() returns table (status text, is_approved boolean, n bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
  select r.status::text, r.approved_by is not null, count(*) from audit.compliance_reports r group by 1, 2;
end;

grant execute on function facts.count_accounts(), facts.count_role_grants(), facts.count_privileged_accounts(),
  facts.count_tokens(), facts.count_sessions(), facts.count_encryption_keys(), facts.count_stored_transactions(),
  facts.count_events(), facts.count_security_events(), facts.count_partitions(), facts.count_job_runs(),
  facts.count_reports()
  to auditkeep_view, auditkeep_report;

set local role auditkeep_view;
revoke create on schema facts from auditkeep_owner;
create view facts.account_count as select * from facts.count_accounts();
create view facts.role_grant_count as select * from facts.count_role_grants();
create view facts.privileged_account_count as select * from facts.count_privileged_accounts();
create view facts.token_count as select * from facts.count_tokens();
create view facts.session_count as select * from facts.count_sessions();
create view facts.encryption_key_count as select * from facts.count_encryption_keys();
create view facts.stored_transaction_count as select * from facts.count_stored_transactions();
create view facts.event_count as select * from facts.count_events();
create view facts.security_event_count as select * from facts.count_security_events();
create view facts.partition_count as select * from facts.count_partitions();
create view facts.job_run_count as select * from facts.count_job_runs();
create view facts.report_count as select * from facts.count_reports();
grant select on all tables in schema facts to auditkeep_report;
set local role auditkeep_owner;
