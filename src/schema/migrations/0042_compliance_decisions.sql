-- Signed decisions on reports: who took which part, what was signed, and the guard that lets a report change status
-- only along a decision. Insert-only through the functions of 0043. Breaks nothing: new.

-- The whole state machine as data. A part is taken per report root and never changed; archiving judges nothing and
-- takes none.
create table compliance.report_transition (
  meaning text not null check (meaning in ('submit', 'review', 'reject', 'recall', 'approve',
    'archive-distributed', 'archive-superseded', 'archive-withdrawn')),
  from_status text not null,
  to_status text not null,
  role text not null,
  part text check (part in ('preparer', 'reviewer', 'approver')),
  primary key (meaning, from_status)
);
insert into compliance.report_transition (meaning, from_status, to_status, role, part) values
  ('submit',              'draft',          'pending_review', 'preparer',        'preparer'),
  ('review',              'pending_review', 'reviewed',       'reviewer',        'reviewer'),
  ('reject',              'pending_review', 'draft',          'reviewer',        'reviewer'),
  ('reject',              'reviewed',       'draft',          'approver',        'approver'),
  ('recall',              'reviewed',       'pending_review', 'reviewer',        'reviewer'),
  ('approve',             'reviewed',       'approved',       'approver',        'approver'),
  ('archive-distributed', 'approved',       'archived',       'records_manager', null),
  ('archive-superseded',  'draft',          'archived',       'records_manager', null),
  ('archive-superseded',  'approved',       'archived',       'records_manager', null),
  ('archive-withdrawn',   'draft',          'archived',       'records_manager', null),
  ('archive-withdrawn',   'pending_review', 'archived',       'records_manager', null),
  ('archive-withdrawn',   'reviewed',       'archived',       'records_manager', null),
  ('archive-withdrawn',   'approved',       'archived',       'records_manager', null);

create table compliance.part (
  root uuid not null references audit.compliance_reports (id),
  person_id uuid not null references compliance.person (id),
  part text not null check (part in ('preparer', 'reviewer', 'approver')),
  primary key (root, person_id),
  unique (root, person_id, part)
);
comment on table compliance.part is 'One part a person over all versions of a report: nobody changes part.';

-- A nonce: issued by begin_decision, used by at most one decision, for 15 minutes.
create table compliance.decision_request (
  id uuid primary key default gen_random_uuid(),
  object_kind text not null check (object_kind = 'report'),
  object_id uuid not null references audit.compliance_reports (id),
  meaning text not null,
  person_id uuid not null references compliance.person (id),
  issued_at timestamptz not null,
  expires_at timestamptz not null check (expires_at = issued_at + interval '15 minutes')
);

create table compliance.decision (
  id uuid primary key references compliance.decision_request (id),
  object_kind text not null check (object_kind = 'report'),
  object_id uuid not null references audit.compliance_reports (id),
  object_root uuid not null references audit.compliance_reports (id),
  meaning text not null,
  from_status text not null,
  to_status text not null,
  person_id uuid not null references compliance.person (id),
  part text,
  key_fingerprint text not null references compliance.person_key (fingerprint),
  -- RFC 8785 text, exactly the bytes that are signed (docs/spec/decision-v1.md).
  payload text not null,
  payload_sha256 char(64) not null unique
    check (payload_sha256 = encode(sha256(convert_to(payload, 'UTF8')), 'hex')),
  previous_decision_sha256 char(64) references compliance.decision (payload_sha256),
  comment text check (comment <> ''),
  signature text not null check (signature like '-----BEGIN SSH SIGNATURE-----%'),
  decided_at timestamptz not null,
  recorded_at timestamptz not null default now(),
  foreign key (meaning, from_status) references compliance.report_transition (meaning, from_status),
  foreign key (object_root, person_id, part) references compliance.part (root, person_id, part),
  check ((part is null) = (meaning like 'archive-%')),
  check (meaning <> 'reject' or comment is not null),
  -- The decisions of a report and its versions are one chain: two that follow the same one cannot both stand.
  constraint decision_one_successor unique nulls not distinct (object_root, previous_decision_sha256)
);
create index decision_object on compliance.decision (object_id);

create table compliance.distribution (
  id uuid primary key default gen_random_uuid(),
  report_id uuid not null references audit.compliance_reports (id),
  recipient text not null check (length(btrim(recipient)) > 0),
  age_recipient text not null check (age_recipient ~ '^age1[0-9a-z]{58}$'),
  purpose text not null check (length(btrim(purpose)) > 0),
  variant text not null check (variant in ('full', 'redacted')),
  bundle_sha256 char(64) not null check (bundle_sha256 ~ '^[0-9a-f]{64}$'),
  sha256 char(64) not null check (sha256 ~ '^[0-9a-f]{64}$'),
  distributed_by uuid not null references compliance.person (id),
  distributed_at timestamptz not null default now()
);
create index distribution_report on compliance.distribution (report_id);

do $$
declare
  guarded text;
begin
  foreach guarded in array array['report_transition', 'part', 'decision_request', 'decision', 'distribution'] loop
    execute format('create trigger append_only before update or delete on compliance.%I
                    for each row execute function compliance.refuse_change()', guarded);
    execute format('create trigger no_truncate before truncate on compliance.%I
                    for each statement execute function compliance.refuse_change()', guarded);
    execute format('alter table compliance.%I enable always trigger append_only', guarded);
    execute format('alter table compliance.%I enable always trigger no_truncate', guarded);
    execute format('grant select on compliance.%I to auditkeep_engine', guarded);
  end loop;
end
$$;

create function compliance.guard_report_insert() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if new.status <> 'draft' or cardinality(new.recipients) > 0 or new.distributed_at is not null then
    raise exception 'a report begins as a draft' using errcode = 'AK013';
  end if;
  return new;
end
$$;

-- Mistakes of the owner are refused as well: a status follows the newest decision, everything that was signed or
-- rendered stays, recipients are only appended.
create function compliance.guard_report_update() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  allowed audit.compliance_reports := old;
  decision compliance.decision;
begin
  if new.status is distinct from old.status then
    select d.* into decision from compliance.decision d
     where d.object_id = new.id and d.from_status = old.status and d.to_status = new.status
       and not exists (select from compliance.decision later where later.previous_decision_sha256 = d.payload_sha256);
    if decision.id is null then
      raise exception 'a report changes status by a signed decision only' using errcode = 'AK013';
    end if;
    allowed.status := new.status;
    if decision.meaning = 'review' then
      allowed.reviewed_by := decision.person_id;
      allowed.reviewed_at := decision.decided_at;
    elsif decision.meaning in ('reject', 'recall') then
      allowed.reviewed_by := null;
      allowed.reviewed_at := null;
    elsif decision.meaning = 'approve' then
      allowed.approved_by := decision.person_id;
      allowed.approved_at := decision.decided_at;
    elsif decision.meaning like 'archive-%' then
      allowed.archive_reason := substr(decision.meaning, length('archive-') + 1);
    end if;
  elsif old.status = 'approved' then
    if new.recipients[1:cardinality(old.recipients)] = old.recipients
       and not exists (select from unnest(new.recipients) as r(recipient) where not exists
         (select from compliance.distribution d where d.report_id = new.id and d.recipient = r.recipient)) then
      allowed.recipients := new.recipients;
    end if;
    if old.distributed_at is null and cardinality(new.recipients) > 0 then
      allowed.distributed_at := new.distributed_at;
    end if;
  end if;
  if new is distinct from allowed then
    raise exception 'this column of a report does not change' using errcode = 'AK013';
  end if;
  return new;
end
$$;

create trigger begin_as_draft before insert on audit.compliance_reports
  for each row execute function compliance.guard_report_insert();
create trigger follow_decision before update on audit.compliance_reports
  for each row execute function compliance.guard_report_update();
create trigger no_delete before delete on audit.compliance_reports
  for each row execute function compliance.refuse_change();
create trigger no_truncate before truncate on audit.compliance_reports
  for each statement execute function compliance.refuse_change();
alter table audit.compliance_reports
  enable always trigger begin_as_draft,
  enable always trigger follow_decision,
  enable always trigger no_delete,
  enable always trigger no_truncate;
