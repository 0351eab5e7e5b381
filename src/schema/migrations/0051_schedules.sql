-- When jobs run: every version of a schedule is kept, the newest one counts. The release's own schedules are written
-- by `migrate`; an operator's change is a new version that a later release does not overwrite. Breaks nothing: new.

create table ops.schedule_version (
  job text not null check (job ~ '^[a-z0-9-]{1,60}$'),
  version int not null check (version >= 1),
  cron text not null check (cron ~ '^\S+( \S+){4}$'),
  time_zone text not null,
  paused boolean not null,
  changed_at timestamptz not null,
  changed_by text not null,
  reason text not null check (reason <> ''),
  primary key (job, version)
);
comment on table ops.schedule_version is 'Append-only history of schedules; ops.schedule shows the newest of each job.';

create function ops.guard_schedule_version() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  raise exception 'ops.schedule_version: history never changes' using errcode = 'insufficient_privilege';
end
$$;
create trigger guard_schedule_version before update or delete or truncate on ops.schedule_version
  for each statement execute function ops.guard_schedule_version();

create view ops.schedule with (security_invoker = true) as
select distinct on (job) job, version, cron, time_zone, paused, changed_at, changed_by, reason
  from ops.schedule_version
 order by job, version desc;

-- Adds a version and gives its number.
create function ops.change_schedule(
  p_job text, p_cron text, p_time_zone text, p_paused boolean, p_changed_at timestamptz, p_changed_by text, p_reason text
) returns int
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  next_version int;
begin
  if not exists (select from pg_timezone_names where name = p_time_zone) then
    raise exception 'unknown time zone %', p_time_zone using errcode = 'invalid_parameter_value';
  end if;
  -- One change of a job's schedule at a time.
  lock table ops.schedule_version in share row exclusive mode;
  select coalesce(max(version), 0) + 1 into next_version from ops.schedule_version where job = p_job;
  insert into ops.schedule_version (job, version, cron, time_zone, paused, changed_at, changed_by, reason)
  values (p_job, next_version, p_cron, p_time_zone, p_paused, p_changed_at, p_changed_by, p_reason);
  return next_version;
end
$$;
grant execute on function ops.change_schedule(text, text, text, boolean, timestamptz, text, text) to auditkeep_engine;

grant select on ops.schedule_version, ops.schedule to auditkeep_engine, auditkeep_view;
