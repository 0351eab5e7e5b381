-- Facts of the registers (0131): of each entry the newest revision, without names, addresses or free texts. Whoever is named by
-- account shows as the same key as in facts.event. Breaks nothing: new views.

set local role auditkeep_view;

create view facts.access_request as
  select r.entry_key as entry_id,
         r.request_id,
         case when lower(r.account) ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then lower(r.account)
              else 'address:' || encode(public.hmac(convert_to(lower(r.account), 'UTF8'),
                                                    (select s.salt from privacy.actor_salt s), 'sha256'), 'hex') end as account_key,
         r.role_name,
         case when lower(r.requested_by) ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then lower(r.requested_by)
              else 'address:' || encode(public.hmac(convert_to(lower(r.requested_by), 'UTF8'),
                                                    (select s.salt from privacy.actor_salt s), 'sha256'), 'hex') end as requested_by_key,
         r.requested_at,
         r.decision,
         case when lower(r.approved_by) ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then lower(r.approved_by)
              else 'address:' || encode(public.hmac(convert_to(lower(r.approved_by), 'UTF8'),
                                                    (select s.salt from privacy.actor_salt s), 'sha256'), 'hex') end as approved_by_key,
         r.approved_at,
         r.granted_at,
         r.revision,
         r.recorded_at
    from compliance.access_request r
   where not exists (select from compliance.access_request n where n.entry_key = r.entry_key and n.revision > r.revision);

create view facts.termination as
  select r.id::text as entry_id,
         case when lower(r.account) ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then lower(r.account)
              else 'address:' || encode(public.hmac(convert_to(lower(r.account), 'UTF8'),
                                                    (select s.salt from privacy.actor_salt s), 'sha256'), 'hex') end as account_key,
         r.left_at,
         r.reason,
         r.access_ended_at,
         r.revision,
         r.recorded_at
    from compliance.termination r
   where not exists (select from compliance.termination n where n.entry_key = r.entry_key and n.revision > r.revision);

create view facts.access_review as
  select r.entry_key as entry_id,
         r.review_id,
         r.period_start,
         r.period_end,
         case when lower(r.reviewer) ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then lower(r.reviewer)
              else 'address:' || encode(public.hmac(convert_to(lower(r.reviewer), 'UTF8'),
                                                    (select s.salt from privacy.actor_salt s), 'sha256'), 'hex') end as reviewer_key,
         r.started_at,
         r.completed_at,
         r.revision,
         r.recorded_at
    from compliance.access_review r
   where not exists (select from compliance.access_review n where n.entry_key = r.entry_key and n.revision > r.revision);

create view facts.access_review_item as
  select r.id::text as entry_id,
         r.review_id,
         case when lower(r.account) ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then lower(r.account)
              else 'address:' || encode(public.hmac(convert_to(lower(r.account), 'UTF8'),
                                                    (select s.salt from privacy.actor_salt s), 'sha256'), 'hex') end as account_key,
         r.role_name,
         r.outcome,
         case when lower(r.reviewed_by) ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then lower(r.reviewed_by)
              else 'address:' || encode(public.hmac(convert_to(lower(r.reviewed_by), 'UTF8'),
                                                    (select s.salt from privacy.actor_salt s), 'sha256'), 'hex') end as reviewed_by_key,
         r.reviewed_at,
         r.revoked_at,
         r.revision,
         r.recorded_at
    from compliance.access_review_item r
   where not exists (select from compliance.access_review_item n where n.entry_key = r.entry_key and n.revision > r.revision);

create view facts.duty_conflict as
  select r.entry_key as entry_id,
         r.role_a,
         r.role_b,
         r.valid_from,
         r.valid_until,
         r.revision,
         r.recorded_at
    from compliance.duty_conflict r
   where not exists (select from compliance.duty_conflict n where n.entry_key = r.entry_key and n.revision > r.revision);

create view facts.emergency_access as
  select r.entry_key as entry_id,
         r.access_id,
         case when lower(r.account) ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then lower(r.account)
              else 'address:' || encode(public.hmac(convert_to(lower(r.account), 'UTF8'),
                                                    (select s.salt from privacy.actor_salt s), 'sha256'), 'hex') end as account_key,
         r.started_at,
         r.ended_at,
         case when lower(r.approved_by) ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then lower(r.approved_by)
              else 'address:' || encode(public.hmac(convert_to(lower(r.approved_by), 'UTF8'),
                                                    (select s.salt from privacy.actor_salt s), 'sha256'), 'hex') end as approved_by_key,
         r.approved_at,
         case when lower(r.reviewed_by) ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then lower(r.reviewed_by)
              else 'address:' || encode(public.hmac(convert_to(lower(r.reviewed_by), 'UTF8'),
                                                    (select s.salt from privacy.actor_salt s), 'sha256'), 'hex') end as reviewed_by_key,
         r.reviewed_at,
         r.revision,
         r.recorded_at
    from compliance.emergency_access r
   where not exists (select from compliance.emergency_access n where n.entry_key = r.entry_key and n.revision > r.revision);

create view facts.change_request as
  select r.entry_key as entry_id,
         r.change_id,
         r.change_kind,
         r.object_table,
         r.object_id,
         case when lower(r.requested_by) ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then lower(r.requested_by)
              else 'address:' || encode(public.hmac(convert_to(lower(r.requested_by), 'UTF8'),
                                                    (select s.salt from privacy.actor_salt s), 'sha256'), 'hex') end as requested_by_key,
         r.requested_at,
         case when lower(r.approved_by) ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then lower(r.approved_by)
              else 'address:' || encode(public.hmac(convert_to(lower(r.approved_by), 'UTF8'),
                                                    (select s.salt from privacy.actor_salt s), 'sha256'), 'hex') end as approved_by_key,
         r.approved_at,
         case when lower(r.implemented_by) ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then lower(r.implemented_by)
              else 'address:' || encode(public.hmac(convert_to(lower(r.implemented_by), 'UTF8'),
                                                    (select s.salt from privacy.actor_salt s), 'sha256'), 'hex') end as implemented_by_key,
         r.window_start,
         r.window_end,
         r.tested,
         r.revision,
         r.recorded_at
    from compliance.change_request r
   where not exists (select from compliance.change_request n where n.entry_key = r.entry_key and n.revision > r.revision);

create view facts.backup_run as
  select r.entry_key as entry_id,
         r.system,
         r.started_at,
         r.finished_at,
         r.outcome,
         r.size_bytes,
         r.encrypted,
         r.revision,
         r.recorded_at
    from compliance.backup_run r
   where not exists (select from compliance.backup_run n where n.entry_key = r.entry_key and n.revision > r.revision);

create view facts.restore_test as
  select r.entry_key as entry_id,
         r.system,
         r.tested_at,
         r.outcome,
         r.backup_started_at,
         r.duration_minutes,
         case when lower(r.tested_by) ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then lower(r.tested_by)
              else 'address:' || encode(public.hmac(convert_to(lower(r.tested_by), 'UTF8'),
                                                    (select s.salt from privacy.actor_salt s), 'sha256'), 'hex') end as tested_by_key,
         r.revision,
         r.recorded_at
    from compliance.restore_test r
   where not exists (select from compliance.restore_test n where n.entry_key = r.entry_key and n.revision > r.revision);

create view facts.incident as
  select r.entry_key as entry_id,
         r.incident_id,
         r.severity,
         r.occurred_at,
         r.aware_at,
         r.resolved_at,
         r.personal_data,
         r.risk,
         r.persons_affected,
         r.authority_notified_at,
         r.persons_notified_at,
         r.media_notified_at,
         r.revision,
         r.recorded_at
    from compliance.incident r
   where not exists (select from compliance.incident n where n.entry_key = r.entry_key and n.revision > r.revision);

create view facts.disclosure as
  select r.entry_key as entry_id,
         r.disclosure_id,
         case when lower(r.subject) ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then lower(r.subject)
              else 'address:' || encode(public.hmac(convert_to(lower(r.subject), 'UTF8'),
                                                    (select s.salt from privacy.actor_salt s), 'sha256'), 'hex') end as subject_key,
         r.disclosed_at,
         r.revision,
         r.recorded_at
    from compliance.disclosure r
   where not exists (select from compliance.disclosure n where n.entry_key = r.entry_key and n.revision > r.revision);

create view facts.processing_activity as
  select r.entry_key as entry_id,
         r.activity_id,
         r.legal_basis,
         r.active,
         r.reviewed_at,
         r.revision,
         r.recorded_at
    from compliance.processing_activity r
   where not exists (select from compliance.processing_activity n where n.entry_key = r.entry_key and n.revision > r.revision);

create view facts.processor_agreement as
  select r.entry_key as entry_id,
         r.agreement_id,
         r.activity_id,
         r.signed_at,
         r.expires_at,
         r.ended_at,
         r.revision,
         r.recorded_at
    from compliance.processor_agreement r
   where not exists (select from compliance.processor_agreement n where n.entry_key = r.entry_key and n.revision > r.revision);

create view facts.dpia as
  select r.entry_key as entry_id,
         r.dpia_id,
         r.activity_id,
         r.required,
         r.outcome,
         r.completed_at,
         case when lower(r.reviewed_by) ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then lower(r.reviewed_by)
              else 'address:' || encode(public.hmac(convert_to(lower(r.reviewed_by), 'UTF8'),
                                                    (select s.salt from privacy.actor_salt s), 'sha256'), 'hex') end as reviewed_by_key,
         r.revision,
         r.recorded_at
    from compliance.dpia r
   where not exists (select from compliance.dpia n where n.entry_key = r.entry_key and n.revision > r.revision);

create view facts.transfer as
  select r.entry_key as entry_id,
         r.transfer_id,
         r.activity_id,
         r.country,
         r.mechanism,
         r.assessed_at,
         r.valid_until,
         r.revision,
         r.recorded_at
    from compliance.transfer r
   where not exists (select from compliance.transfer n where n.entry_key = r.entry_key and n.revision > r.revision);

create view facts.training as
  select r.id::text as entry_id,
         case when lower(r.account) ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then lower(r.account)
              else 'address:' || encode(public.hmac(convert_to(lower(r.account), 'UTF8'),
                                                    (select s.salt from privacy.actor_salt s), 'sha256'), 'hex') end as account_key,
         r.course,
         r.completed_at,
         r.expires_at,
         r.revision,
         r.recorded_at
    from compliance.training r
   where not exists (select from compliance.training n where n.entry_key = r.entry_key and n.revision > r.revision);

create view facts.auth_baseline as
  select r.entry_key as entry_id,
         r.setting,
         r.required_value,
         r.valid_from,
         r.valid_until,
         case when lower(r.approved_by) ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then lower(r.approved_by)
              else 'address:' || encode(public.hmac(convert_to(lower(r.approved_by), 'UTF8'),
                                                    (select s.salt from privacy.actor_salt s), 'sha256'), 'hex') end as approved_by_key,
         r.revision,
         r.recorded_at
    from compliance.auth_baseline r
   where not exists (select from compliance.auth_baseline n where n.entry_key = r.entry_key and n.revision > r.revision);

grant select on all tables in schema facts to auditkeep_report;
set local role auditkeep_owner;
