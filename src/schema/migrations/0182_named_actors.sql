-- Whether an event names who acted, also where that is encrypted (actor_envelope) or was erased under a record: facts.event shows
-- the plain columns only. Breaks nothing: a new view.
set local role auditkeep_view;
create view facts.event_actor as
  select e.id as event_id, e.event_timestamp, e.event_type::text, e.event_category::text, e.result::text, e.service_name::text,
         e.user_id is not null or e.user_email is not null or e.actor_envelope is not null
           or (e.actor_salt is null
               and exists (select from audit.erasure x where x.event_id = e.id and x.event_group = 'actor')) as names_actor
    from audit.audit_log_all e;
grant select on facts.event_actor to auditkeep_report;
set local role auditkeep_owner;
