-- Facts for the controls that draw on state changes (0132) and on events of many sources, and the independent counts of
-- registers (0131) and snapshots. As in 0070: views of auditkeep_view. Breaks nothing: new views, functions and a table.

-- Which events of which source say that somebody logged in, got or lost rights, or used a key.
create table compliance.fact_mapping (
  fact text not null check (fact in ('login', 'grant', 'key_use')),
  event_type text not null,
  event_action text not null,
  effect text not null,
  primary key (fact, event_type, event_action)
);
insert into compliance.fact_mapping (fact, event_type, event_action, effect) values
  -- Events of applications in this schema.
  ('login', 'login', 'LOGIN', 'login'), ('login', 'user.login', 'LOGIN', 'login'),
  ('login', 'user.session', 'LOGIN', 'login'),
  ('grant', 'access.role', 'GRANT', 'grant'), ('grant', 'access.role', 'REVOKE', 'revoke'),
  ('key_use', 'key.use', 'ENCRYPT', 'encrypt'), ('key_use', 'key.use', 'DECRYPT', 'decrypt'),
  -- AWS CloudTrail.
  ('login', 'AwsConsoleSignIn', 'ConsoleLogin', 'login'), ('login', 'AwsApiCall', 'AssumeRole', 'assume-role'),
  ('login', 'AwsApiCall', 'AssumeRoleWithSAML', 'login'), ('login', 'AwsApiCall', 'AssumeRoleWithWebIdentity', 'login'),
  ('login', 'AwsApiCall', 'GetSessionToken', 'login'),
  ('grant', 'AwsApiCall', 'AttachUserPolicy', 'grant'), ('grant', 'AwsApiCall', 'AttachRolePolicy', 'grant'),
  ('grant', 'AwsApiCall', 'AttachGroupPolicy', 'grant'), ('grant', 'AwsApiCall', 'PutUserPolicy', 'grant'),
  ('grant', 'AwsApiCall', 'PutRolePolicy', 'grant'), ('grant', 'AwsApiCall', 'PutGroupPolicy', 'grant'),
  ('grant', 'AwsApiCall', 'AddUserToGroup', 'grant'), ('grant', 'AwsApiCall', 'CreateAccessKey', 'grant'),
  ('grant', 'AwsApiCall', 'UpdateAssumeRolePolicy', 'grant'),
  ('grant', 'AwsApiCall', 'DetachUserPolicy', 'revoke'), ('grant', 'AwsApiCall', 'DetachRolePolicy', 'revoke'),
  ('grant', 'AwsApiCall', 'DetachGroupPolicy', 'revoke'), ('grant', 'AwsApiCall', 'DeleteUserPolicy', 'revoke'),
  ('grant', 'AwsApiCall', 'DeleteRolePolicy', 'revoke'), ('grant', 'AwsApiCall', 'DeleteGroupPolicy', 'revoke'),
  ('grant', 'AwsApiCall', 'RemoveUserFromGroup', 'revoke'), ('grant', 'AwsApiCall', 'DeleteAccessKey', 'revoke'),
  ('key_use', 'AwsApiCall', 'Encrypt', 'encrypt'), ('key_use', 'AwsApiCall', 'Decrypt', 'decrypt'),
  ('key_use', 'AwsApiCall', 'GenerateDataKey', 'data-key'), ('key_use', 'AwsApiCall', 'GenerateDataKeyWithoutPlaintext', 'data-key'),
  ('key_use', 'AwsApiCall', 'ReEncrypt', 're-encrypt'), ('key_use', 'AwsApiCall', 'Sign', 'sign');
create trigger append_only before update or delete on compliance.fact_mapping
  for each row execute function compliance.refuse_change();
alter table compliance.fact_mapping enable always trigger append_only;
grant select on compliance.fact_mapping to auditkeep_engine, auditkeep_view;

set local role auditkeep_view;
grant create on schema facts to auditkeep_owner;
set local role auditkeep_owner;

-- Entries of every register by the day they are of, counted by the owner without the views: a row that no newer revision follows.
create function facts.count_register() returns table (register text, day date, n bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
  select 'access_request'::text, (r.requested_at at time zone 'UTC')::date, count(*) from compliance.access_request r
   where not exists (select from compliance.access_request n where n.entry_key = r.entry_key and n.revision > r.revision) group by 2
  union all
  select 'termination'::text, (r.left_at at time zone 'UTC')::date, count(*) from compliance.termination r
   where not exists (select from compliance.termination n where n.entry_key = r.entry_key and n.revision > r.revision) group by 2
  union all
  select 'access_review'::text, r.period_end, count(*) from compliance.access_review r
   where not exists (select from compliance.access_review n where n.entry_key = r.entry_key and n.revision > r.revision) group by 2
  union all
  select 'access_review_item'::text, (r.reviewed_at at time zone 'UTC')::date, count(*) from compliance.access_review_item r
   where not exists (select from compliance.access_review_item n where n.entry_key = r.entry_key and n.revision > r.revision) group by 2
  union all
  select 'duty_conflict'::text, (r.valid_from at time zone 'UTC')::date, count(*) from compliance.duty_conflict r
   where not exists (select from compliance.duty_conflict n where n.entry_key = r.entry_key and n.revision > r.revision) group by 2
  union all
  select 'emergency_access'::text, (r.started_at at time zone 'UTC')::date, count(*) from compliance.emergency_access r
   where not exists (select from compliance.emergency_access n where n.entry_key = r.entry_key and n.revision > r.revision) group by 2
  union all
  select 'change_request'::text, (r.requested_at at time zone 'UTC')::date, count(*) from compliance.change_request r
   where not exists (select from compliance.change_request n where n.entry_key = r.entry_key and n.revision > r.revision) group by 2
  union all
  select 'backup_run'::text, (r.started_at at time zone 'UTC')::date, count(*) from compliance.backup_run r
   where not exists (select from compliance.backup_run n where n.entry_key = r.entry_key and n.revision > r.revision) group by 2
  union all
  select 'restore_test'::text, (r.tested_at at time zone 'UTC')::date, count(*) from compliance.restore_test r
   where not exists (select from compliance.restore_test n where n.entry_key = r.entry_key and n.revision > r.revision) group by 2
  union all
  select 'incident'::text, (r.aware_at at time zone 'UTC')::date, count(*) from compliance.incident r
   where not exists (select from compliance.incident n where n.entry_key = r.entry_key and n.revision > r.revision) group by 2
  union all
  select 'disclosure'::text, (r.disclosed_at at time zone 'UTC')::date, count(*) from compliance.disclosure r
   where not exists (select from compliance.disclosure n where n.entry_key = r.entry_key and n.revision > r.revision) group by 2
  union all
  select 'processing_activity'::text, (r.reviewed_at at time zone 'UTC')::date, count(*) from compliance.processing_activity r
   where not exists (select from compliance.processing_activity n where n.entry_key = r.entry_key and n.revision > r.revision) group by 2
  union all
  select 'processor_agreement'::text, (r.signed_at at time zone 'UTC')::date, count(*) from compliance.processor_agreement r
   where not exists (select from compliance.processor_agreement n where n.entry_key = r.entry_key and n.revision > r.revision) group by 2
  union all
  select 'dpia'::text, (r.recorded_at at time zone 'UTC')::date, count(*) from compliance.dpia r
   where not exists (select from compliance.dpia n where n.entry_key = r.entry_key and n.revision > r.revision) group by 2
  union all
  select 'transfer'::text, (r.recorded_at at time zone 'UTC')::date, count(*) from compliance.transfer r
   where not exists (select from compliance.transfer n where n.entry_key = r.entry_key and n.revision > r.revision) group by 2
  union all
  select 'training'::text, (r.completed_at at time zone 'UTC')::date, count(*) from compliance.training r
   where not exists (select from compliance.training n where n.entry_key = r.entry_key and n.revision > r.revision) group by 2
  union all
  select 'auth_baseline'::text, (r.valid_from at time zone 'UTC')::date, count(*) from compliance.auth_baseline r
   where not exists (select from compliance.auth_baseline n where n.entry_key = r.entry_key and n.revision > r.revision) group by 2;
end;
revoke all on function facts.count_register() from public;
grant execute on function facts.count_register() to auditkeep_view, auditkeep_report;

-- Snapshots of watched tables by their own numbers, so that one that was taken out leaves a gap.
create function facts.count_state_snapshots() returns table (table_name text, first_id bigint, last_id bigint, n bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
  select s.table_name, min(s.id), max(s.id), count(*) from compliance.state_snapshot s group by 1;
end;
revoke all on function facts.count_state_snapshots() from public;
grant execute on function facts.count_state_snapshots() to auditkeep_view, auditkeep_report;

set local role auditkeep_view;
revoke create on schema facts from auditkeep_owner;

create view facts.register_count as select c.register, c.day, c.n from facts.count_register() c;
create view facts.state_snapshot_count as
  select c.table_name, c.first_id as first_snapshot, c.last_id as last_snapshot, c.n from facts.count_state_snapshots() c;

create view facts.login as
  select e.event_id, e.event_timestamp, e.actor_key, e.account_id, m.effect, e.result = 'success' as succeeded, e.result,
         e.resource_type, e.service_name, e.origin
    from facts.event e
    join compliance.fact_mapping m
      on m.fact = 'login' and m.event_type = e.event_type and m.event_action = e.event_action;

create view facts.grant as
  select e.event_id, e.event_timestamp, e.actor_key, e.account_id, m.effect, e.result = 'success' as succeeded, e.result,
         e.resource_type, e.service_name, e.origin
    from facts.event e
    join compliance.fact_mapping m
      on m.fact = 'grant' and m.event_type = e.event_type and m.event_action = e.event_action;

create view facts.key_use as
  select e.event_id, e.event_timestamp, e.actor_key, e.account_id, m.effect, e.result = 'success' as succeeded, e.result,
         e.resource_type, e.service_name, e.origin
    from facts.event e
    join compliance.fact_mapping m
      on m.fact = 'key_use' and m.event_type = e.event_type and m.event_action = e.event_action;

create view facts.state_change as
  select c.seq as change_id, c.table_name, c.row_key::text, c.operation, c.changed_at, c.login from compliance.state_change c;

-- Since when a table is watched, and at which instants.
create view facts.state_snapshot as
  select s.id as snapshot_id, s.table_name, s.taken_at, s.row_count, s.root,
         lag(s.taken_at) over (partition by s.table_name order by s.id) as previous_at
    from compliance.state_snapshot s;

-- A row that differs from the snapshot before, whether the log explains it, and whether a change request does: approved by somebody
-- else than who made it, for this table and row or the whole table, with a window that touches the time in between.
create view facts.state_difference as
  select d.snapshot_id || ':' || d.row_key as difference_id, d.snapshot_id, d.table_name, d.row_key::text, s.taken_at, s.previous_at,
         d.old_hash is null as is_new, d.new_hash is null as is_gone, d.logged,
         exists (select from compliance.change_request q
                  where q.object_table = d.table_name and (q.object_id is null or q.object_id = d.row_key::text)
                    and q.approved_at is not null and q.approved_by is distinct from coalesce(q.implemented_by, q.requested_by)
                    and q.approved_at <= s.taken_at
                    and coalesce(q.window_start, q.approved_at) <= s.taken_at
                    and coalesce(q.window_end, 'infinity') >= s.previous_at
                    and not exists (select from compliance.change_request n
                                     where n.entry_key = q.entry_key and n.revision > q.revision)) as approved
    from compliance.state_difference d
    join facts.state_snapshot s on s.snapshot_id = d.snapshot_id
   where s.previous_at is not null;

grant select on all tables in schema facts to auditkeep_report;
set local role auditkeep_owner;
