-- The outbox: what persons should be told, written in the transaction that it tells of, and taken by any number of channels (the
-- worker's log, a mailer), each of which gets every row at least once. Both tables are append-only: that a channel took a row is a
-- row of its own. No name and no address is stored; ops.take_notifications resolves who holds the role when a row is taken.
-- Breaks nothing: new.

create table ops.notification (
  sequence bigint generated always as identity primary key,
  id uuid not null unique default gen_random_uuid(),
  -- What is told, so that it is told once: 'decision:<id>', 'deadline-over:<report>:<step>'.
  subject text not null unique check (subject <> ''),
  kind text not null check (kind ~ '^[a-z]+(-[a-z]+)*$' and length(kind) <= 60),
  created_at timestamptz not null,
  -- Who is told: whoever holds a role, or one person.
  role text check (role in ('preparer', 'reviewer', 'approver', 'records_manager', 'legal', 'policy_owner', 'key_officer')),
  person_id uuid references compliance.person (id),
  report_id uuid references audit.compliance_reports (id),
  details jsonb not null default '{}' check (jsonb_typeof(details) = 'object'),
  check (role is null or person_id is null)
);
comment on table ops.notification is 'Outbox, append-only. Written by ops.notify, read by ops.take_notifications.';

create table ops.notification_delivery (
  notification bigint not null references ops.notification (sequence),
  channel text not null check (channel ~ '^[a-z][a-z0-9-]{0,39}$'),
  delivered_at timestamptz not null default now(),
  primary key (notification, channel)
);
comment on table ops.notification_delivery is 'Which channel took which notification, append-only.';

create function ops.guard_notification() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  raise exception 'ops.%: what was told never changes', tg_table_name using errcode = 'insufficient_privilege';
end
$$;
create trigger guard_notification before update or delete or truncate on ops.notification
  for each statement execute function ops.guard_notification();
create trigger guard_notification before update or delete or truncate on ops.notification_delivery
  for each statement execute function ops.guard_notification();
alter table ops.notification enable always trigger guard_notification;
alter table ops.notification_delivery enable always trigger guard_notification;

-- Puts a notification into the outbox, once a subject; gives whether it is new.
create function ops.notify(p_subject text, p_kind text, p_at timestamptz, p_role text, p_email text, p_report uuid, p_details jsonb)
returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  insert into ops.notification (subject, kind, created_at, role, person_id, report_id, details)
  values (p_subject, p_kind, p_at, p_role, compliance.person_id(p_email), p_report, p_details)
  on conflict (subject) do nothing;
  return found;
end
$$;
revoke all on function ops.notify(text, text, timestamptz, text, text, uuid, jsonb) from public;
grant execute on function ops.notify(text, text, timestamptz, text, text, uuid, jsonb) to auditkeep_engine;

-- Takes what a channel was not told yet, oldest first. Commit after telling: what a rolled-back transaction took comes again, with
-- the same id. Two that take at once get different rows.
create function ops.take_notifications(p_channel text, p_limit integer)
returns table (id uuid, kind text, created_at timestamptz, role text, recipients text[], report_id uuid, framework text,
               period_start date, period_end date, report_version integer, details jsonb)
language sql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
  with waiting as (
    select n.* from ops.notification n
     where not exists (select from ops.notification_delivery d where d.notification = n.sequence and d.channel = p_channel)
     order by n.sequence limit least(p_limit, 1000) for update of n skip locked),
  taken as (
    insert into ops.notification_delivery (notification, channel)
    select w.sequence, p_channel from waiting w
    -- Somebody took it between our snapshot and our lock.
    on conflict do nothing
    returning notification)
  select w.id, w.kind, w.created_at, w.role,
         array(select p.email::text from compliance.person p
                where p.kind = 'human' and (p.id = w.person_id or compliance.has_role(p.id, w.role, now())) order by 1),
         w.report_id, r.compliance_framework::text, r.report_period_start, r.report_period_end, r.version, w.details
    from waiting w
    join taken t on t.notification = w.sequence
    left join audit.compliance_reports r on r.id = w.report_id
   order by w.sequence
$$;
revoke all on function ops.take_notifications(text, integer) from public;
grant execute on function ops.take_notifications(text, integer) to auditkeep_engine;

grant select on ops.notification, ops.notification_delivery to auditkeep_engine, auditkeep_view;
