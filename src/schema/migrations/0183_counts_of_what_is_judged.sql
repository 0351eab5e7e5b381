-- Independent counts of exactly what the controls judge (as in 0071 and 0180: definer functions of auditkeep_owner over the base
-- tables), so that a population can leave out what its exceptions never look at and still be compared. The counts of 0071 and 0133
-- stay. Breaks nothing: new functions and views.
set local role auditkeep_view;
grant create on schema facts to auditkeep_owner;
set local role auditkeep_owner;

-- Events by day and category in hot, archived and late rows apart, without those of the engine itself.
create function facts.count_other_events() returns table (day date, event_category text, n bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
  select c.day, c.event_category, sum(c.n)::bigint from (
    select (e.event_timestamp at time zone 'UTC')::date as day, e.event_category::text, count(*) as n
      from audit.audit_log e where e.service_name is distinct from 'auditkeep' group by 1, 2
    union all
    select (e.event_timestamp at time zone 'UTC')::date, e.event_category::text, count(*)
      from audit.audit_log_archive e where e.service_name is distinct from 'auditkeep' group by 1, 2
    union all
    select (e.event_timestamp at time zone 'UTC')::date, e.event_category::text, count(*)
      from audit.audit_log_late e where e.service_name is distinct from 'auditkeep' group by 1, 2) c
   group by 1, 2;
end;

-- Batches of imports by day and target, in hot, archived and late rows apart.
create function facts.count_import_batches() returns table (day date, target text, n bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
  select c.day, c.target, sum(c.n)::bigint from (
    select (e.event_timestamp at time zone 'UTC')::date as day, e.resource_type::text as target, count(*) as n
      from audit.audit_log e where e.event_type = 'import.batch' and e.service_name = 'auditkeep' group by 1, 2
    union all
    select (e.event_timestamp at time zone 'UTC')::date, e.resource_type::text, count(*)
      from audit.audit_log_archive e where e.event_type = 'import.batch' and e.service_name = 'auditkeep' group by 1, 2
    union all
    select (e.event_timestamp at time zone 'UTC')::date, e.resource_type::text, count(*)
      from audit.audit_log_late e where e.event_type = 'import.batch' and e.service_name = 'auditkeep' group by 1, 2) c
   group by 1, 2;
end;

-- A row of a register counts where no newer revision follows it.
create function facts.count_activities() returns table (is_active boolean, n bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
  select r.active, count(*) from compliance.processing_activity r
   where not exists (select from compliance.processing_activity n where n.entry_key = r.entry_key and n.revision > r.revision)
   group by 1;
end;

create function facts.count_incidents() returns table (day date, severity text, personal_data boolean, risk text, n bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
  select (r.aware_at at time zone 'UTC')::date, r.severity, r.personal_data, r.risk, count(*) from compliance.incident r
   where not exists (select from compliance.incident n where n.entry_key = r.entry_key and n.revision > r.revision)
   group by 1, 2, 3, 4;
end;

revoke all on function facts.count_other_events(), facts.count_import_batches(), facts.count_activities(),
  facts.count_incidents() from public;
grant execute on function facts.count_other_events(), facts.count_import_batches(), facts.count_activities(),
  facts.count_incidents() to auditkeep_view, auditkeep_report;

set local role auditkeep_view;
revoke create on schema facts from auditkeep_owner;

create view facts.other_event_count as select c.day, c.event_category, c.n from facts.count_other_events() c;
create view facts.import_batch_count as select c.day, c.target, c.n from facts.count_import_batches() c;
create view facts.activity_count as select c.is_active, c.n from facts.count_activities() c;
create view facts.incident_count as select c.day, c.severity, c.personal_data, c.risk, c.n from facts.count_incidents() c;

-- As 0180's facts.import_batch, and whether its numbers were erased under a record: those are no finding.
create view facts.import_total as
  select b.event_id, b.event_timestamp, b.target, b.records_read, b.records_added, b.records_known, b.records_rejected,
         exists (select from audit.erasure x where x.event_id = b.event_id and x.event_group = 'payload') as is_erased
    from facts.import_batch b;

grant select on facts.other_event_count, facts.import_batch_count, facts.activity_count, facts.incident_count, facts.import_total
  to auditkeep_report;
set local role auditkeep_owner;
