-- Every instant at which a schedule was due, also while no worker ran: a looker-on notes them when one runs again, so that downtime
-- shows as missed runs and by which run they were caught up. Append-only. Breaks nothing: a new table and view.

create table ops.due (
  job text not null,
  due_at timestamptz not null,
  schedule_version int not null,
  noted_at timestamptz not null default now(),
  primary key (job, due_at),
  foreign key (job, schedule_version) references ops.schedule_version (job, version)
);

create function ops.guard_due() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  raise exception 'ops.due: what was due never changes' using errcode = 'insufficient_privilege';
end
$$;
create trigger guard_due before update or delete or truncate on ops.due
  for each statement execute function ops.guard_due();
alter table ops.due enable always trigger guard_due;

create function ops.note_due(p_job text, p_version int, p_due timestamptz[]) returns void
language sql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
  insert into ops.due (job, due_at, schedule_version)
  select p_job, d.at, p_version from unnest(p_due) d(at) where d.at <= now() + interval '1 minute'
  on conflict (job, due_at) do nothing
$$;
revoke all on function ops.note_due(text, int, timestamptz[]) from public;
grant execute on function ops.note_due(text, int, timestamptz[]) to auditkeep_engine;
grant select on ops.due to auditkeep_engine, auditkeep_view;

set local role auditkeep_view;
-- run: a run began for this very instant. caught up: none did, but a later one, which makes up for it (jobs are level-triggered).
-- missed: neither yet.
create view facts.due_run as
  select d.job, d.due_at, d.schedule_version, d.noted_at, own.started_at,
         case when own.started_at is not null then 'run' when later.id is not null then 'caught up' else 'missed' end as state,
         later.id::text as caught_up_by
    from ops.due d
    left join lateral (select min(r.started_at) as started_at from ops.run r where r.job = d.job and r.due_at = d.due_at) own on true
    left join lateral (select r.id from ops.run r
                        where own.started_at is null and r.job = d.job and r.started_at >= d.due_at
                          and r.outcome in ('done', 'findings')
                        order by r.started_at limit 1) later on true;
grant select on facts.due_run to auditkeep_report;
set local role auditkeep_owner;
