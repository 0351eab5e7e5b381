-- The seed's audit.compliance_reports with versions, exact periods and what reviewers sign. The engine inserts drafts
-- through audit.create_report and changes status through compliance.record_decision (0042) only. Breaks nothing: new.

create table audit.compliance_reports (
  id uuid primary key default gen_random_uuid(),

  report_type varchar(64) not null,
  compliance_framework varchar(64) not null,
  report_period_start date not null,
  report_period_end date not null,

  report_data_encrypted text not null,
  report_hash char(64) not null check (report_hash ~ '^[0-9a-f]{64}$'),

  -- The seed refers to application users; whoever may decide is in the register of persons instead.
  generated_by uuid not null references compliance.person (id),
  generated_at timestamptz not null default now(),
  generation_duration_ms integer check (generation_duration_ms >= 0),

  reviewed_by uuid references compliance.person (id),
  reviewed_at timestamptz,
  approved_by uuid references compliance.person (id),
  approved_at timestamptz,

  status varchar(32) not null default 'draft'
    check (status in ('draft', 'pending_review', 'reviewed', 'approved', 'archived')),

  recipients text[] not null default '{}',
  distributed_at timestamptz,

  -- Inclusive dates above are read in this zone; these are the half-open instants they mean.
  period_zone text not null check (period_zone <> ''),
  period_start_at timestamptz not null,
  period_end_at timestamptz not null,

  -- The first version is its own root; a row's hash never changes, so a new rendering is a new version.
  report_root uuid not null references audit.compliance_reports (id),
  version integer not null check (version >= 1),
  supersedes uuid unique references audit.compliance_reports (id),
  interim boolean not null default false,
  review_pdf_sha256 char(64) not null check (review_pdf_sha256 ~ '^[0-9a-f]{64}$'),
  engine_version text not null check (engine_version <> ''),
  archive_reason text check (archive_reason in ('distributed', 'superseded', 'withdrawn')),

  unique (report_root, version),
  check (report_period_start <= report_period_end),
  check (period_start_at < period_end_at),
  check ((version = 1) = (report_root = id)),
  check ((version = 1) = (supersedes is null)),
  check ((status = 'archived') = (archive_reason is not null)),
  check ((reviewed_by is null) = (reviewed_at is null)),
  check ((approved_by is null) = (approved_at is null)),
  -- Archiving keeps what was decided before it.
  check (status not in ('draft', 'pending_review') or (reviewed_by is null and approved_by is null)),
  check (status not in ('reviewed', 'approved') or reviewed_by is not null),
  check (status <> 'reviewed' or approved_by is null),
  check (status <> 'approved' or (approved_by is not null and not interim)),
  check (approved_by is null or reviewed_by is not null),
  constraint separate_duties check (generated_by is distinct from reviewed_by and generated_by is distinct from approved_by
    and (reviewed_by is null or reviewed_by is distinct from approved_by))
);
create index compliance_reports_framework on audit.compliance_reports (compliance_framework, period_start_at);
create index compliance_reports_status on audit.compliance_reports (status);
create index compliance_reports_generated on audit.compliance_reports (generated_at);
grant select on audit.compliance_reports to auditkeep_engine;

-- Inserts a draft. p_generated_by is the person's e-mail; null is the service person. p_supersedes makes a new version.
-- SQLSTATE AK001 unknown report, AK002 a version that is under decision or not the latest, AK005 unknown person.
create function audit.create_report(
  p_id uuid, p_report_type text, p_framework text, p_period_start date, p_period_end date, p_period_zone text,
  p_period_start_at timestamptz, p_period_end_at timestamptz, p_data_encrypted text, p_report_hash text,
  p_review_pdf_sha256 text, p_generated_by text, p_generated_at timestamptz, p_duration_ms integer,
  p_engine_version text, p_interim boolean, p_supersedes uuid,
  out root_id uuid, out version_number integer)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  person uuid;
  previous audit.compliance_reports;
begin
  person := compliance.person_id(coalesce(p_generated_by, 'engine@auditkeep.invalid'));
  if person is null then
    raise exception 'the person who generates is not in the register' using errcode = 'AK005';
  end if;
  root_id := p_id;
  version_number := 1;
  if p_supersedes is not null then
    select r.report_root into root_id from audit.compliance_reports r where r.id = p_supersedes;
    if root_id is null then
      raise exception 'no report has the id %', p_supersedes using errcode = 'AK001';
    end if;
    perform from audit.compliance_reports r where r.id = root_id for update;
    select * into previous from audit.compliance_reports r where r.id = p_supersedes;
    if exists (select from audit.compliance_reports r where r.supersedes = p_supersedes) then
      raise exception 'the report has a newer version already' using errcode = 'AK011';
    end if;
    if previous.status in ('pending_review', 'reviewed') then
      raise exception 'a report that is % cannot be superseded', previous.status using errcode = 'AK002';
    end if;
    version_number := previous.version + 1;
  end if;
  insert into audit.compliance_reports
    (id, report_type, compliance_framework, report_period_start, report_period_end, period_zone, period_start_at,
     period_end_at, report_data_encrypted, report_hash, review_pdf_sha256, generated_by, generated_at,
     generation_duration_ms, engine_version, interim, supersedes, report_root, version)
  values
    (p_id, p_report_type, p_framework, p_period_start, p_period_end, p_period_zone, p_period_start_at,
     p_period_end_at, p_data_encrypted, p_report_hash, p_review_pdf_sha256, person, p_generated_at,
     p_duration_ms, p_engine_version, p_interim, p_supersedes, root_id, version_number);
end
$$;
grant execute on function audit.create_report(uuid, text, text, date, date, text, timestamptz, timestamptz, text, text,
  text, text, timestamptz, integer, text, boolean, uuid) to auditkeep_engine;
