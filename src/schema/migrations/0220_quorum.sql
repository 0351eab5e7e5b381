-- Quorum: a framework may demand more than one approver. The number is stored with the report, in its transaction, and is in the
-- model that everybody signs. Until so many different persons have approved since the last review, an approval leaves the report
-- reviewed; a rejection or a recalled review voids those given before. Breaks nothing: reports without a row here need one approver,
-- and what was decided before keeps its outcome.

create table compliance.report_quorum (
  report_id uuid primary key references audit.compliance_reports (id),
  approvers integer not null check (approvers between 2 and 9)
);
comment on table compliance.report_quorum is
  'How many persons have to approve a report, where it is more than one; append-only, written with the report.';
create trigger append_only before update or delete on compliance.report_quorum
  for each row execute function compliance.refuse_change();
create trigger no_truncate before truncate on compliance.report_quorum
  for each statement execute function compliance.refuse_change();
alter table compliance.report_quorum enable always trigger append_only;
alter table compliance.report_quorum enable always trigger no_truncate;
grant select on compliance.report_quorum to auditkeep_engine;

-- Stores the quorum of a report in the transaction that inserts it. SQLSTATE AK001 unknown report, AK002 not in its transaction.
create function compliance.set_report_quorum(p_report uuid, p_approvers integer) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  owner_row xid;
begin
  select r.xmin into owner_row from audit.compliance_reports r where r.id = p_report;
  if owner_row is null then
    raise exception 'no report has the id %', p_report using errcode = 'AK001';
  end if;
  if not compliance.is_own_row(owner_row) then
    raise exception 'a quorum is stored with its report only' using errcode = 'AK002';
  end if;
  insert into compliance.report_quorum (report_id, approvers) values (p_report, p_approvers);
end
$$;

-- Whether one more approval by this person approves the report, after the decisions up to p_previous.
-- SQLSTATE AK003: the person has approved it already.
create function compliance.reaches_quorum(p_report uuid, p_person uuid, p_previous text) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  needed integer := coalesce((select q.approvers from compliance.report_quorum q where q.report_id = p_report), 1);
  given integer;
  again boolean;
begin
  select count(*), coalesce(bool_or(d.person_id = p_person), false) into given, again
    from compliance.decision_line(p_previous) d
   where d.object_id = p_report and d.meaning = 'approve'
     and d.sequence > (select max(v.sequence) from compliance.decision_line(p_previous) v
                        where v.object_id = p_report and v.meaning = 'review');
  if again then
    raise exception 'the person has approved this report already' using errcode = 'AK003';
  end if;
  return given + 1 >= needed;
end
$$;

-- As before (0044); an approval short of the quorum leaves the report reviewed.
create or replace function compliance.check_report_decision(p_report audit.compliance_reports, p_meaning text, p_person uuid,
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
  if p_meaning = 'approve' and not compliance.reaches_quorum(p_report.id, p_person, p_previous) then
    step.to_status := 'reviewed';
  end if;
  return step;
end
$$;

-- As before (0042); the approver is who completed the quorum.
create or replace function compliance.report_state(p_report uuid, p_head text,
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
    elsif decision.meaning = 'approve' and decision.to_status = 'approved' then
      approved_by := decision.person_id;
      approved_at := decision.decided_at;
    elsif decision.meaning like 'archive-%' then
      archive_reason := substr(decision.meaning, length('archive-') + 1);
    end if;
  end loop;
end
$$;

revoke execute on function compliance.set_report_quorum(uuid, integer) from public;
revoke execute on function compliance.reaches_quorum(uuid, uuid, text) from public;
grant execute on function compliance.set_report_quorum(uuid, integer) to auditkeep_engine;
