-- Every run of a job, kept for good: what was due, when it ran and how it ended. Operators read it, control op-01 reads
-- it, and `worker --once` decides with it what is due. Breaks nothing: new table.

create table ops.run (
  id uuid primary key default gen_random_uuid(),
  job text not null check (job ~ '^[a-z0-9-]{1,60}$'),
  queue_job_id uuid not null,
  attempt int not null check (attempt >= 1),
  due_at timestamptz,
  started_at timestamptz not null,
  finished_at timestamptz,
  outcome text check (outcome in ('done', 'findings', 'failed', 'stopped', 'lost')),
  summary text,
  counts jsonb not null default '{}' check (jsonb_typeof(counts) = 'object'),
  error_code text check (error_code ~ '^[A-Z][A-Z0-9_]{0,62}$'),
  check ((finished_at is null) = (outcome is null)),
  check (finished_at >= started_at),
  unique (queue_job_id, attempt)
);
comment on table ops.run is
  'One row an attempt of a job. Written by ops.start_run and ops.finish_run only; a finished row never changes.';
create index run_job_due on ops.run (job, due_at desc);
create index run_started on ops.run (started_at desc);

-- A run that has ended is evidence.
create function ops.guard_run() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if tg_op = 'UPDATE' and old.finished_at is null then
    return new;
  end if;
  raise exception 'ops.run: a finished run never changes' using errcode = 'insufficient_privilege';
end
$$;
create trigger guard_run before update or delete on ops.run for each row execute function ops.guard_run();
create trigger guard_run_truncate before truncate on ops.run for each statement execute function ops.guard_run();

-- Starts an attempt. Earlier attempts of the same queued job that never ended lost their worker.
create function ops.start_run(
  p_job text, p_queue_job_id uuid, p_attempt int, p_due_at timestamptz, p_started_at timestamptz
) returns uuid
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  new_id uuid;
begin
  update ops.run set finished_at = greatest(started_at, p_started_at), outcome = 'lost', error_code = 'JOB_LOST'
   where queue_job_id = p_queue_job_id and finished_at is null;
  insert into ops.run (job, queue_job_id, attempt, due_at, started_at)
  values (p_job, p_queue_job_id, p_attempt, p_due_at, p_started_at)
  returning id into new_id;
  return new_id;
end
$$;
grant execute on function ops.start_run(text, uuid, int, timestamptz, timestamptz) to auditkeep_engine;

-- Ends an attempt; false when it has already ended (it was given up as lost).
create function ops.finish_run(
  p_id uuid, p_finished_at timestamptz, p_outcome text, p_summary text, p_counts jsonb, p_error_code text
) returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  update ops.run
     set finished_at = greatest(started_at, p_finished_at), outcome = p_outcome, summary = p_summary,
         counts = p_counts, error_code = p_error_code
   where id = p_id and finished_at is null;
  return found;
end
$$;
grant execute on function ops.finish_run(uuid, timestamptz, text, text, jsonb, text) to auditkeep_engine;

grant select on ops.run to auditkeep_engine, auditkeep_view;
-- The engine refuses a database that lacks migrations of its release.
grant select on ops.migration to auditkeep_engine;
-- The queue's tables are made after the migrations; until then the engine finds them missing, not forbidden.
grant usage on schema pgboss to auditkeep_engine;
