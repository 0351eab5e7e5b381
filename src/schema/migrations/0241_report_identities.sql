-- Who the pseudonyms of a report are: stored beside its model as identities.ndjson, and found by two functions that tell the engine
-- whom ids and actor keys stand for. Controls cannot call them. Breaks nothing: a path more, new functions.

alter table compliance.report_file drop constraint report_file_path_check;
alter table compliance.report_file add constraint report_file_path_check
  check (path ~ '^(evidence/[a-z]{2}-[0-9]{2}/(exceptions|sample)[.]csv|identities[.]ndjson)$');

-- Whose each id is: of an account, also one that is gone, or of a token, session, grant or transaction of one. An id that is none of
-- these has no row.
create function privacy.owners_of(p_ids uuid[])
returns table (id uuid, kind text, account_id uuid, name text, email text)
language sql stable security definer
set search_path = pg_catalog, pg_temp
begin atomic
  with owned as (
    select u.id, 'account'::text as kind, u.id as account_id from security_confidential.users u where u.id = any (p_ids)
    union all
    select c.row_key, 'account', c.row_key from compliance.state_change c
     where c.table_name = 'security_confidential.users' and c.row_key = any (p_ids) and c.operation = 'DELETE'
    union all
    select g.id, 'grant', g.user_id from security_internal.user_roles g where g.id = any (p_ids)
    union all
    select t.id, 'token', t.user_id from security_internal.jwt_tokens t where t.id = any (p_ids)
    union all
    select s.id, 'session', s.user_id from security_internal.user_sessions s where s.id = any (p_ids)
    union all
    select x.id, 'transaction', x.user_id from security_confidential.transactions x where x.id = any (p_ids)
  )
  select distinct on (o.id) o.id, o.kind, o.account_id, u.username::text, u.email::text
    from owned o left join security_confidential.users u on u.id = o.account_id
   order by o.id, o.kind;
end;

-- Which name or address each actor key (facts.event) was made of, as far as accounts, registers and the events of a period tell, and
-- whose account has that name or address. The caller holds the structure lock, since events are read hot, archived and late.
create function privacy.names_of(p_keys text[], p_from timestamptz, p_to timestamptz)
returns table (key text, said text, account_id uuid, name text, email text)
language sql stable security definer
set search_path = pg_catalog, pg_temp
begin atomic
  with said as (
    select lower(u.email) as name from security_confidential.users u
    union select lower(u.username) from security_confidential.users u
    union select lower(n.name)
      from (select r.account as name from compliance.access_request r
            union all select r.requested_by from compliance.access_request r
            union all select r.approved_by from compliance.access_request r
            union all select r.account from compliance.termination r
            union all select r.reviewer from compliance.access_review r
            union all select r.account from compliance.access_review_item r
            union all select r.reviewed_by from compliance.access_review_item r
            union all select r.account from compliance.emergency_access r
            union all select r.approved_by from compliance.emergency_access r
            union all select r.reviewed_by from compliance.emergency_access r
            union all select r.requested_by from compliance.change_request r
            union all select r.approved_by from compliance.change_request r
            union all select r.implemented_by from compliance.change_request r
            union all select r.tested_by from compliance.restore_test r
            union all select r.subject from compliance.disclosure r
            union all select r.reviewed_by from compliance.dpia r
            union all select r.account from compliance.training r
            union all select r.approved_by from compliance.auth_baseline r) n
    union select lower(e.user_email) from audit.audit_log_all e
           where e.user_id is null and e.event_timestamp >= p_from and e.event_timestamp < p_to
  ), keyed as (
    select 'address:' || encode(public.hmac(convert_to(s.name, 'UTF8'), (select a.salt from privacy.actor_salt a), 'sha256'), 'hex') as key,
           s.name as said
      from said s where s.name is not null
  )
  select distinct on (k.key) k.key, k.said, coalesce(m.id, u.id), coalesce(m.username, u.username)::text, coalesce(m.email, u.email)::text
    from (select * from keyed where keyed.key = any (p_keys)) k
    left join security_confidential.users m on lower(m.email) = k.said
    left join security_confidential.users u on lower(u.username) = k.said
   order by k.key, m.id, u.id;
end;

revoke execute on function privacy.owners_of(uuid[]) from public;
revoke execute on function privacy.names_of(text[], timestamptz, timestamptz) from public;
grant execute on function privacy.owners_of(uuid[]) to auditkeep_engine;
grant execute on function privacy.names_of(text[], timestamptz, timestamptz) to auditkeep_engine;
