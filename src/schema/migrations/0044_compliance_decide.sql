-- The only way to a decision: begin_decision issues a nonce and says what to sign, record_decision stores the signed
-- text and moves the report, under a lock of the report's root. SQLSTATEs are listed in 0043. Breaks nothing: new.

-- Whether a person may do this to a report after the decisions up to p_previous; gives the transition. Locks nothing.
create function compliance.check_report_decision(p_report audit.compliance_reports, p_meaning text, p_person uuid,
  p_previous text, p_at timestamptz)
returns compliance.report_transition
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  step compliance.report_transition;
begin
  select * into step from compliance.report_transition t
   where t.meaning = p_meaning and t.from_status = p_report.status;
  if step.meaning is null then
    raise exception '"%" is not possible on a report that is %', p_meaning, p_report.status using errcode = 'AK002';
  end if;
  if not exists (select from compliance.person p where p.id = p_person and p.kind = 'human')
     or not compliance.has_role(p_person, step.role, p_at) then
    raise exception 'the person does not have the role %', step.role using errcode = 'AK004';
  end if;
  if step.part is not null and exists (select from compliance.decision_line(p_previous) d
      where d.person_id = p_person and d.part <> step.part) then
    raise exception 'the person took another part in this report or a version of it' using errcode = 'AK003';
  end if;
  if step.part in ('reviewer', 'approver') and exists (select from audit.compliance_reports r
      where r.report_root = p_report.report_root and r.generated_by = p_person) then
    raise exception 'the person generated this report or a version of it' using errcode = 'AK003';
  end if;
  if p_meaning = 'recall' and p_report.reviewed_by is distinct from p_person then
    raise exception 'only the reviewer of a report recalls the review' using errcode = 'AK003';
  end if;
  if p_meaning = 'approve' and p_report.interim then
    raise exception 'an interim report cannot be approved' using errcode = 'AK010';
  end if;
  if p_meaning not like 'archive-%' and exists (select from audit.compliance_reports r where r.supersedes = p_report.id) then
    raise exception 'the report has a newer version' using errcode = 'AK011';
  end if;
  if (p_meaning = 'archive-distributed' and p_report.distributed_at is null)
     or (p_meaning = 'archive-superseded'
         and not exists (select from audit.compliance_reports r where r.supersedes = p_report.id)) then
    raise exception 'the report is not %', substr(p_meaning, length('archive-') + 1) using errcode = 'AK002';
  end if;
  return step;
end
$$;

-- What a decision on a report signs, except the key and the comment. Two nulls differ nowhere: absent is JSON null.
create function compliance.decision_payload(p_request compliance.decision_request, p_report audit.compliance_reports)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
return (
  select jsonb_build_object(
    'format', 'auditkeep-decision/v1',
    'installation_id', i.installation_id,
    'incarnation', i.incarnation,
    'decision_id', p_request.id,
    'object', jsonb_build_object('kind', p_request.object_kind, 'id', p_request.object_id),
    'version', p_report.version,
    'report_hash', p_report.report_hash,
    'review_pdf_sha256', p_report.review_pdf_sha256,
    'interim', p_report.interim,
    'generated_by', (select p.email from compliance.person p where p.id = p_report.generated_by),
    'meaning', p_request.meaning,
    'person', (select p.email from compliance.person p where p.id = p_request.person_id),
    'person_name', (select p.name from compliance.person p where p.id = p_request.person_id),
    'previous_decision_sha256', p_request.previous_decision_sha256,
    'time', compliance.iso(p_request.issued_at))
    from compliance.installation i order by i.incarnation desc limit 1);

-- The report as the decisions up to p_previous leave it; refuses when that is no decision on a version of it.
create function compliance.report_after(p_report uuid, p_previous text) returns audit.compliance_reports
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  report audit.compliance_reports;
  state record;
begin
  select * into report from audit.compliance_reports r where r.id = p_report;
  if p_previous is not null and not exists (select from compliance.decision d
      where d.payload_sha256 = p_previous and d.object_root = report.report_root) then
    raise exception 'the decision before this one is not there' using errcode = 'AK008';
  end if;
  select s.* into state from compliance.report_state(p_report, p_previous) s;
  report.status := state.status;
  report.reviewed_by := state.reviewed_by;
  return report;
end
$$;

-- Issues a nonce for 15 minutes and gives the payload to sign, to which the signer adds key_fingerprint and
-- comment_sha256. p_previous is the last decision that the signer found to hold. Refuses early what record_decision
-- would refuse.
create function compliance.begin_decision(p_report uuid, p_meaning text, p_email text, p_previous text) returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  report audit.compliance_reports;
  person uuid := compliance.person_id(p_email);
  request compliance.decision_request;
begin
  report := compliance.report_after(p_report, p_previous);
  if report.id is null then
    raise exception 'no report has the id %', p_report using errcode = 'AK001';
  end if;
  if person is null then
    raise exception 'the person is not in the register' using errcode = 'AK005';
  end if;
  perform compliance.check_report_decision(report, p_meaning, person, p_previous, now());
  insert into compliance.decision_request
    (object_kind, object_id, meaning, person_id, previous_decision_sha256, issued_at, expires_at)
  values ('report', p_report, p_meaning, person, p_previous, date_trunc('milliseconds', now()),
          date_trunc('milliseconds', now()) + interval '15 minutes')
  returning * into request;
  return compliance.decision_payload(request, report);
end
$$;

-- Stores a signed decision and moves the report; gives the new status.
create function compliance.record_decision(p_payload text, p_comment text, p_signature text) returns text
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  signed jsonb := p_payload::jsonb;
  request compliance.decision_request;
  report audit.compliance_reports;
  step compliance.report_transition;
  expected jsonb;
begin
  select * into request from compliance.decision_request q where q.id = (signed ->> 'decision_id')::uuid;
  select * into report from audit.compliance_reports r where r.id = request.object_id;
  -- One decision at a time over all versions; what was read before the lock may be old.
  perform from audit.compliance_reports r where r.id = report.report_root for update;
  perform from audit.compliance_reports r where r.id = request.object_id for update;
  report := compliance.report_after(request.object_id, request.previous_decision_sha256);
  if request.id is null or request.expires_at <= clock_timestamp()
     or exists (select from compliance.decision d where d.id = request.id) then
    raise exception 'the decision id is unknown, used or expired' using errcode = 'AK007';
  end if;
  expected := compliance.decision_payload(request, report);
  step := compliance.check_report_decision(report, request.meaning, request.person_id,
                                           request.previous_decision_sha256, now());
  if not compliance.has_key(request.person_id, signed ->> 'key_fingerprint', now()) then
    raise exception 'the signing key is not valid for this person' using errcode = 'AK006';
  end if;
  if request.meaning = 'reject' and nullif(btrim(p_comment), '') is null then
    raise exception 'a rejection needs a comment' using errcode = 'AK012';
  end if;
  expected := expected || jsonb_build_object(
    'key_fingerprint', signed ->> 'key_fingerprint',
    'comment_sha256', encode(sha256(convert_to(p_comment, 'UTF8')), 'hex'));
  if signed is distinct from expected then
    raise exception 'the signed text does not say what the database knows' using errcode = 'AK009';
  end if;
  insert into compliance.decision
    (id, object_kind, object_id, object_root, meaning, from_status, to_status, person_id, part, key_fingerprint, payload,
     payload_sha256, previous_decision_sha256, comment, signature, decided_at)
  values
    (request.id, 'report', report.id, report.report_root, request.meaning, step.from_status, step.to_status,
     request.person_id, step.part, signed ->> 'key_fingerprint', p_payload,
     encode(sha256(convert_to(p_payload, 'UTF8')), 'hex'), signed ->> 'previous_decision_sha256', p_comment,
     p_signature, request.issued_at);
  -- All versions: what this decision passes over no longer counts for any of them.
  update audit.compliance_reports r set
    status = s.status, reviewed_by = s.reviewed_by, reviewed_at = s.reviewed_at, approved_by = s.approved_by,
    approved_at = s.approved_at, archive_reason = s.archive_reason
    from audit.compliance_reports v, compliance.report_state(v.id, encode(sha256(convert_to(p_payload, 'UTF8')), 'hex')) s
   where v.report_root = report.report_root and r.id = v.id
     and (r.status, r.reviewed_by, r.reviewed_at, r.approved_by, r.approved_at, r.archive_reason) is distinct from
         (s.status, s.reviewed_by, s.reviewed_at, s.approved_by, s.approved_at, s.archive_reason);
  return step.to_status;
end
$$;

-- Logs that an approved report went to a recipient and marks the report.
create function compliance.record_distribution(p_report uuid, p_recipient text, p_age_recipient text, p_purpose text,
  p_variant text, p_bundle_sha256 text, p_sha256 text, p_email text) returns uuid
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  report audit.compliance_reports;
  person uuid := compliance.person_id(p_email);
  distribution uuid;
begin
  select * into report from audit.compliance_reports r where r.id = p_report for update;
  if report.id is null then
    raise exception 'no report has the id %', p_report using errcode = 'AK001';
  end if;
  if person is null then
    raise exception 'the person is not in the register' using errcode = 'AK005';
  end if;
  if report.status <> 'approved' then
    raise exception 'a report that is % is not distributed', report.status using errcode = 'AK015';
  end if;
  if not exists (select from unnest(array['preparer', 'reviewer', 'approver', 'records_manager', 'legal']) as r(role)
                  where compliance.has_role(person, r.role, now())) then
    raise exception 'the person has no role in reports' using errcode = 'AK004';
  end if;
  insert into compliance.distribution
    (report_id, recipient, age_recipient, purpose, variant, bundle_sha256, sha256, distributed_by)
  values (p_report, p_recipient, p_age_recipient, p_purpose, p_variant, p_bundle_sha256, p_sha256, person)
  returning id into distribution;
  update audit.compliance_reports r set
    recipients = case when p_recipient = any (r.recipients) then r.recipients else r.recipients || p_recipient end,
    distributed_at = coalesce(r.distributed_at, now())
   where r.id = p_report;
  return distribution;
end
$$;

grant execute on function compliance.begin_decision(uuid, text, text, text) to auditkeep_engine;
grant execute on function compliance.record_decision(text, text, text) to auditkeep_engine;
grant execute on function compliance.record_distribution(uuid, text, text, text, text, text, text, text) to auditkeep_engine;
