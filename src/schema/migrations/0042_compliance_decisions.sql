-- Signed decisions on reports: who took which part, what was signed, and the guard that lets a report change status
-- only along a decision. Insert-only through the functions of 0043. Breaks nothing: new.

-- The whole state machine as data. Nobody takes two parts in a report and its versions; archiving judges nothing and
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

-- A nonce: issued by begin_decision, used by at most one decision, for 15 minutes.
create table compliance.decision_request (
  id uuid primary key default gen_random_uuid(),
  object_kind text not null check (object_kind = 'report'),
  object_id uuid not null references audit.compliance_reports (id),
  meaning text not null,
  person_id uuid not null references compliance.person (id),
  -- The decision that the new one follows, as its signer says; null for the first.
  previous_decision_sha256 char(64),
  issued_at timestamptz not null,
  expires_at timestamptz not null check (expires_at = issued_at + interval '15 minutes')
);

create table compliance.decision (
  id uuid primary key references compliance.decision_request (id),
  -- The order of recording; a reader takes decisions in it.
  sequence bigint generated always as identity unique,
  object_kind text not null check (object_kind = 'report'),
  object_id uuid not null references audit.compliance_reports (id),
  object_root uuid not null references audit.compliance_reports (id),
  meaning text not null,
  from_status text not null,
  to_status text not null,
  person_id uuid not null references compliance.person (id),
  part text,
  key_fingerprint text not null,
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
  check ((part is null) = (meaning like 'archive-%')),
  check (meaning <> 'reject' or comment is not null)
);
create index decision_object on compliance.decision (object_id);
create index decision_root on compliance.decision (object_root, sequence);

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
  foreach guarded in array array['report_transition', 'decision_request', 'decision', 'distribution'] loop
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

-- A decision and those it stands on. The database cannot check signatures: a decision that nobody signed drops out when
-- the next one follows the last that holds.
create function compliance.decision_line(p_head text) returns setof compliance.decision
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with recursive line as (
    select d.payload_sha256, d.previous_decision_sha256 from compliance.decision d where d.payload_sha256 = p_head
    union all
    select b.payload_sha256, b.previous_decision_sha256 from line
      join compliance.decision b on b.payload_sha256 = line.previous_decision_sha256
  )
  select d.* from line join compliance.decision d on d.payload_sha256 = line.payload_sha256
$$;

-- What the decisions up to p_head make of a report.
create function compliance.report_state(p_report uuid, p_head text,
  out status text, out reviewed_by uuid, out reviewed_at timestamptz, out approved_by uuid, out approved_at timestamptz,
  out archive_reason text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  decision compliance.decision;
begin
  status := 'draft';
  for decision in select d.* from compliance.decision_line(p_head) d where d.object_id = p_report order by d.sequence loop
    status := decision.to_status;
    if decision.meaning = 'review' then
      reviewed_by := decision.person_id;
      reviewed_at := decision.decided_at;
    elsif decision.meaning in ('reject', 'recall') then
      reviewed_by := null;
      reviewed_at := null;
    elsif decision.meaning = 'approve' then
      approved_by := decision.person_id;
      approved_at := decision.decided_at;
    elsif decision.meaning like 'archive-%' then
      archive_reason := substr(decision.meaning, length('archive-') + 1);
    end if;
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
  state record;
begin
  if (new.status, new.reviewed_by, new.reviewed_at, new.approved_by, new.approved_at, new.archive_reason)
     is distinct from
     (old.status, old.reviewed_by, old.reviewed_at, old.approved_by, old.approved_at, old.archive_reason) then
    select s.* into state from compliance.report_state(new.id, (
      select d.payload_sha256 from compliance.decision d
       where d.object_root = new.report_root order by d.sequence desc limit 1)) s;
    allowed.status := state.status;
    allowed.reviewed_by := state.reviewed_by;
    allowed.reviewed_at := state.reviewed_at;
    allowed.approved_by := state.approved_by;
    allowed.approved_at := state.approved_at;
    allowed.archive_reason := state.archive_reason;
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
