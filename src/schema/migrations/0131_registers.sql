-- The registers of schema compliance: evidence that no other table holds (access requests, backups, incidents, ...). Rows come
-- through compliance.record_register only and never change: what is known later about an entry is a new revision of it, and the
-- newest counts. Every row is an audit event with a salted hash of it and no personal data. Breaks nothing: new tables.

-- What every register row has besides its own columns.
create table compliance.register_row (
  id uuid primary key default gen_random_uuid(),
  -- The entry's natural key as text, the same in all revisions.
  entry_key text not null check (entry_key <> ''),
  revision integer not null check (revision >= 1),
  recorded_at timestamptz not null default now(),
  recorded_by text not null check (recorded_by <> ''),
  -- In the hash of the row, so that the hash tells nothing to those who guess.
  salt bytea not null default public.gen_random_bytes(16) check (octet_length(salt) = 16),
  unique (entry_key, revision)
);
comment on table compliance.register_row is 'Only the pattern of the registers: always empty.';

create table compliance.register_kind (
  kind text primary key,
  key_columns text[] not null check (cardinality(key_columns) > 0)
);

create table compliance.access_request (
  like compliance.register_row including all,
  request_id text not null check (request_id <> '' and length(request_id) <= 128),
  account text not null check (account <> '' and length(account) <= 256),
  role_name text not null check (role_name <> '' and length(role_name) <= 128),
  requested_by text not null check (requested_by <> '' and length(requested_by) <= 256),
  requested_at timestamptz not null,
  decision text not null check (decision in ('pending', 'approved', 'rejected')),
  approved_by text check (approved_by <> '' and length(approved_by) <= 256),
  approved_at timestamptz,
  granted_at timestamptz
);
comment on table compliance.access_request is 'Requests for access: who asked for which role for whom, who approved it, when it was granted.';
insert into compliance.register_kind values ('access_request', '{request_id}');

create table compliance.termination (
  like compliance.register_row including all,
  account text not null check (account <> '' and length(account) <= 256),
  left_at timestamptz not null,
  reason text not null check (reason in ('left', 'dismissed', 'moved', 'contract-ended')),
  access_ended_at timestamptz
);
comment on table compliance.termination is 'People who left or moved: whose access has to end.';
insert into compliance.register_kind values ('termination', '{account,left_at}');

create table compliance.access_review (
  like compliance.register_row including all,
  review_id text not null check (review_id <> '' and length(review_id) <= 128),
  scope text not null check (scope <> '' and length(scope) <= 2000),
  period_start date not null,
  period_end date not null,
  reviewer text not null check (reviewer <> '' and length(reviewer) <= 256),
  started_at timestamptz not null,
  completed_at timestamptz
);
comment on table compliance.access_review is 'Periodic reviews of access, as a whole.';
insert into compliance.register_kind values ('access_review', '{review_id}');

create table compliance.access_review_item (
  like compliance.register_row including all,
  review_id text not null check (review_id <> '' and length(review_id) <= 128),
  account text not null check (account <> '' and length(account) <= 256),
  role_name text not null check (role_name <> '' and length(role_name) <= 128),
  outcome text not null check (outcome in ('keep', 'revoke')),
  reviewed_by text not null check (reviewed_by <> '' and length(reviewed_by) <= 256),
  reviewed_at timestamptz not null,
  revoked_at timestamptz
);
comment on table compliance.access_review_item is 'One grant in a review and what was decided about it.';
insert into compliance.register_kind values ('access_review_item', '{review_id,account,role_name}');

create table compliance.duty_conflict (
  like compliance.register_row including all,
  role_a text not null check (role_a <> '' and length(role_a) <= 128),
  role_b text not null check (role_b <> '' and length(role_b) <= 128),
  reason text not null check (reason <> '' and length(reason) <= 2000),
  valid_from timestamptz not null,
  valid_until timestamptz
);
comment on table compliance.duty_conflict is 'Roles that one person must not have together.';
insert into compliance.register_kind values ('duty_conflict', '{role_a,role_b,valid_from}');

create table compliance.emergency_access (
  like compliance.register_row including all,
  access_id text not null check (access_id <> '' and length(access_id) <= 128),
  account text not null check (account <> '' and length(account) <= 256),
  reason text not null check (reason <> '' and length(reason) <= 2000),
  started_at timestamptz not null,
  ended_at timestamptz,
  approved_by text check (approved_by <> '' and length(approved_by) <= 256),
  approved_at timestamptz,
  reviewed_by text check (reviewed_by <> '' and length(reviewed_by) <= 256),
  reviewed_at timestamptz
);
comment on table compliance.emergency_access is 'Uses of emergency access, and who looked at them afterwards.';
insert into compliance.register_kind values ('emergency_access', '{access_id}');

create table compliance.change_request (
  like compliance.register_row including all,
  change_id text not null check (change_id <> '' and length(change_id) <= 128),
  change_kind text not null check (change_kind in ('standard', 'normal', 'emergency')),
  object_table text check (object_table <> '' and length(object_table) <= 128),
  object_id text check (object_id <> '' and length(object_id) <= 128),
  requested_by text not null check (requested_by <> '' and length(requested_by) <= 256),
  requested_at timestamptz not null,
  approved_by text check (approved_by <> '' and length(approved_by) <= 256),
  approved_at timestamptz,
  implemented_by text check (implemented_by <> '' and length(implemented_by) <= 256),
  window_start timestamptz,
  window_end timestamptz,
  tested boolean
);
comment on table compliance.change_request is 'Changes of systems and configuration: asked for, approved, made. object_table and object_id name what state changes are matched with.';
insert into compliance.register_kind values ('change_request', '{change_id}');

create table compliance.backup_run (
  like compliance.register_row including all,
  system text not null check (system <> '' and length(system) <= 128),
  started_at timestamptz not null,
  finished_at timestamptz,
  outcome text not null check (outcome in ('success', 'partial', 'failure')),
  size_bytes bigint check (size_bytes >= 0),
  encrypted boolean
);
comment on table compliance.backup_run is 'Runs of backups.';
insert into compliance.register_kind values ('backup_run', '{system,started_at}');

create table compliance.restore_test (
  like compliance.register_row including all,
  system text not null check (system <> '' and length(system) <= 128),
  tested_at timestamptz not null,
  outcome text not null check (outcome in ('success', 'partial', 'failure')),
  backup_started_at timestamptz,
  duration_minutes integer check (duration_minutes >= 0),
  tested_by text not null check (tested_by <> '' and length(tested_by) <= 256)
);
comment on table compliance.restore_test is 'Tests that a backup can be restored.';
insert into compliance.register_kind values ('restore_test', '{system,tested_at}');

create table compliance.incident (
  like compliance.register_row including all,
  incident_id text not null check (incident_id <> '' and length(incident_id) <= 128),
  severity text not null check (severity in ('low', 'medium', 'high', 'critical')),
  occurred_at timestamptz,
  aware_at timestamptz not null,
  resolved_at timestamptz,
  personal_data boolean not null,
  risk text check (risk in ('none', 'risk', 'high')),
  persons_affected integer check (persons_affected >= 0),
  authority_notified_at timestamptz,
  persons_notified_at timestamptz,
  media_notified_at timestamptz
);
comment on table compliance.incident is 'Security incidents with the instants that breach clocks run from and end at.';
insert into compliance.register_kind values ('incident', '{incident_id}');

create table compliance.disclosure (
  like compliance.register_row including all,
  disclosure_id text not null check (disclosure_id <> '' and length(disclosure_id) <= 128),
  subject text not null check (subject <> '' and length(subject) <= 256),
  disclosed_at timestamptz not null,
  recipient text not null check (recipient <> '' and length(recipient) <= 2000),
  purpose text not null check (purpose <> '' and length(purpose) <= 2000),
  description text not null check (description <> '' and length(description) <= 2000)
);
comment on table compliance.disclosure is 'Disclosures of protected data about a person (45 CFR 164.528).';
insert into compliance.register_kind values ('disclosure', '{disclosure_id}');

create table compliance.processing_activity (
  like compliance.register_row including all,
  activity_id text not null check (activity_id <> '' and length(activity_id) <= 128),
  name text not null check (name <> '' and length(name) <= 2000),
  controller text not null check (controller <> '' and length(controller) <= 2000),
  purpose text not null check (purpose <> '' and length(purpose) <= 2000),
  legal_basis text not null check (legal_basis in ('consent', 'contract', 'legal-obligation', 'vital-interests', 'public-task', 'legitimate-interests')),
  data_categories text not null check (data_categories <> '' and length(data_categories) <= 2000),
  subject_categories text not null check (subject_categories <> '' and length(subject_categories) <= 2000),
  recipients text check (recipients <> '' and length(recipients) <= 2000),
  retention text not null check (retention <> '' and length(retention) <= 2000),
  security_measures text not null check (security_measures <> '' and length(security_measures) <= 2000),
  active boolean not null,
  reviewed_at timestamptz not null
);
comment on table compliance.processing_activity is 'Records of processing activities (GDPR 30).';
insert into compliance.register_kind values ('processing_activity', '{activity_id}');

create table compliance.processor_agreement (
  like compliance.register_row including all,
  agreement_id text not null check (agreement_id <> '' and length(agreement_id) <= 128),
  processor text not null check (processor <> '' and length(processor) <= 2000),
  activity_id text check (activity_id <> '' and length(activity_id) <= 128),
  signed_at timestamptz not null,
  expires_at timestamptz,
  ended_at timestamptz
);
comment on table compliance.processor_agreement is 'Agreements with processors (GDPR 28).';
insert into compliance.register_kind values ('processor_agreement', '{agreement_id}');

create table compliance.dpia (
  like compliance.register_row including all,
  dpia_id text not null check (dpia_id <> '' and length(dpia_id) <= 128),
  activity_id text not null check (activity_id <> '' and length(activity_id) <= 128),
  required boolean not null,
  outcome text not null check (outcome in ('open', 'accepted', 'consult-authority', 'rejected')),
  completed_at timestamptz,
  reviewed_by text check (reviewed_by <> '' and length(reviewed_by) <= 256)
);
comment on table compliance.dpia is 'Data protection impact assessments (GDPR 35).';
insert into compliance.register_kind values ('dpia', '{dpia_id}');

create table compliance.transfer (
  like compliance.register_row including all,
  transfer_id text not null check (transfer_id <> '' and length(transfer_id) <= 128),
  activity_id text not null check (activity_id <> '' and length(activity_id) <= 128),
  recipient text not null check (recipient <> '' and length(recipient) <= 2000),
  country char(2) not null check (country ~ '^[A-Z]{2}$'),
  mechanism text not null check (mechanism in ('adequacy', 'standard-clauses', 'binding-rules', 'derogation')),
  assessed_at timestamptz,
  valid_until timestamptz
);
comment on table compliance.transfer is 'Transfers to third countries (GDPR 44 and following).';
insert into compliance.register_kind values ('transfer', '{transfer_id}');

create table compliance.training (
  like compliance.register_row including all,
  account text not null check (account <> '' and length(account) <= 256),
  course text not null check (course <> '' and length(course) <= 128),
  completed_at timestamptz not null,
  expires_at timestamptz
);
comment on table compliance.training is 'Trainings that people completed.';
insert into compliance.register_kind values ('training', '{account,course,completed_at}');

create table compliance.auth_baseline (
  like compliance.register_row including all,
  setting text not null check (setting <> '' and length(setting) <= 128),
  required_value text not null check (required_value <> '' and length(required_value) <= 128),
  valid_from timestamptz not null,
  valid_until timestamptz,
  approved_by text not null check (approved_by <> '' and length(approved_by) <= 256)
);
comment on table compliance.auth_baseline is 'What the authentication configuration has to be, from when until when.';
insert into compliance.register_kind values ('auth_baseline', '{setting,valid_from}');

-- Every row is in the chain: which register and row, which revision, and what its text hashes to.
create function compliance.record_register_event() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
begin
  insert into audit.audit_log
    (event_type, event_category, event_action, resource_type, resource_id, result, service_name, additional_data)
  values ('register.recorded', 'admin', 'RECORD', tg_table_name, new.id::text, 'success', 'auditkeep',
          jsonb_build_object('revision', new.revision,
                             'rowSha256', encode(sha256(convert_to(to_jsonb(new)::text, 'UTF8')), 'hex')));
  return null;
end
$$;

do $$
declare
  register text;
begin
  for register in select kind from compliance.register_kind loop
    execute format('create trigger append_only before update or delete on compliance.%I
                    for each row execute function compliance.refuse_change()', register);
    execute format('create trigger no_truncate before truncate on compliance.%I
                    for each statement execute function compliance.refuse_change()', register);
    execute format('create trigger chained after insert on compliance.%I
                    for each row execute function compliance.record_register_event()', register);
    execute format('alter table compliance.%I enable always trigger append_only', register);
    execute format('alter table compliance.%I enable always trigger no_truncate', register);
    execute format('alter table compliance.%I enable always trigger chained', register);
    execute format('grant select on compliance.%I to auditkeep_engine, auditkeep_view', register);
  end loop;
end
$$;
grant select on compliance.register_kind to auditkeep_engine;
alter table compliance.register_row add constraint pattern_only check (false);

-- Records rows of one register, objects of its own columns; gives for each 'added', 'revised' or 'same'. Two who record the
-- same register wait for each other. A row that the columns refuse fails the call: callers parse before.
create function compliance.record_register(p_kind text, p_rows jsonb, p_recorded_by text) returns text[]
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
  meta constant text[] := array['id', 'entry_key', 'revision', 'recorded_at', 'recorded_by', 'salt'];
  keys text[];
  given jsonb;
  content jsonb;
  entry text;
  latest record;
  outcomes text[] := '{}';
begin
  select k.key_columns into keys from compliance.register_kind k where k.kind = p_kind;
  if keys is null then
    raise exception 'there is no register %', p_kind using errcode = 'invalid_parameter_value';
  end if;
  execute format('lock table compliance.%I in share row exclusive mode', p_kind);
  for given in select r from jsonb_array_elements(p_rows) r loop
    -- As the columns hold it, so that two ways of writing a time are one.
    execute format('select to_jsonb(p) - $2 from jsonb_populate_record(null::compliance.%I, $1) p', p_kind)
      into content using given, meta;
    select string_agg(content ->> k.name, chr(31) order by k.place) into entry
      from unnest(keys) with ordinality k(name, place);
    execute format('select r.revision, to_jsonb(r) - $2 as content from compliance.%I r where r.entry_key = $1
                    order by r.revision desc limit 1', p_kind)
      into latest using entry, meta;
    if latest.content is not distinct from content then
      outcomes := outcomes || 'same'::text;
      continue;
    end if;
    content := content || jsonb_build_object(
      'id', gen_random_uuid(), 'entry_key', entry, 'revision', coalesce(latest.revision, 0) + 1, 'recorded_at', now(),
      'recorded_by', p_recorded_by, 'salt', public.gen_random_bytes(16));
    execute format('insert into compliance.%I select (jsonb_populate_record(null::compliance.%I, $1)).*', p_kind, p_kind)
      using content;
    outcomes := outcomes || case when latest.revision is null then 'added' else 'revised' end;
  end loop;
  return outcomes;
end
$$;
grant execute on function compliance.record_register(text, jsonb, text) to auditkeep_engine;
