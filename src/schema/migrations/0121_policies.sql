-- Versions of the retention policy: what is in force, who applied it and why. A version that shortens a period or loosens
-- a limit takes effect 72 hours after a second person has signed it. Version 1 is built in (src/retention/policy.ts; a test
-- compares). Breaks nothing: new. SQLSTATEs: AK122 a policy that makes no sense, AK123 another version came first.

create table retention.policy_version (
  version    integer primary key check (version >= 1),
  policy_id  uuid not null unique default gen_random_uuid(),
  document   text not null,
  sha256     char(64) not null check (sha256 = encode(sha256(convert_to(document, 'UTF8')), 'hex')),
  shortens   boolean not null,
  actor      text not null check (btrim(actor) <> ''),
  reason     text not null check (btrim(reason) <> ''),
  login      text not null default session_user,
  created_at timestamptz not null default retention.clock()
);
comment on table retention.policy_version is 'Every retention policy that was applied; written by retention.propose_policy only.';
create trigger append_only before update or delete on retention.policy_version
  for each row execute function compliance.refuse_change();
create trigger no_truncate before truncate on retention.policy_version
  for each statement execute function compliance.refuse_change();
alter table retention.policy_version enable always trigger append_only, enable always trigger no_truncate;
grant select on retention.policy_version to auditkeep_engine, auditkeep_view;

-- An age of the document from 1 January 2000 on, which makes months, years and days comparable; for ever is infinity.
create function retention.age_end(p_age text) returns timestamp
language sql immutable
set search_path = pg_catalog, pg_temp
return case when p_age = 'forever' then 'infinity'::timestamp
            else timestamp '2000-01-01' + coalesce(p_age, '0 days')::interval end;

-- When the whole period of a rule ends: that of its coldest stage.
create function retention.whole_age(p_rule jsonb) returns text
language sql immutable
set search_path = pg_catalog, pg_temp
return coalesce(p_rule ->> 'cold', p_rule ->> 'archive');

create function retention.policy_rule(p_document jsonb, p_table text, p_category text) returns jsonb
language sql immutable
set search_path = pg_catalog, pg_temp
return (select r from jsonb_array_elements(p_document -> 'rules') r
         where r ->> 'table' = p_table and coalesce(r ->> 'category', '') = p_category);

-- Whether rows could be destroyed earlier, in larger numbers or with less time to object under the new policy.
create function retention.policy_shortens(p_old jsonb, p_new jsonb) returns boolean
language sql immutable
set search_path = pg_catalog, pg_temp
return exists (
    select from jsonb_array_elements(p_old -> 'rules') o
      left join jsonb_array_elements(p_new -> 'rules') n
        on n ->> 'table' = o ->> 'table' and coalesce(n ->> 'category', '') = coalesce(o ->> 'category', '')
     where n is null
        or retention.age_end(retention.whole_age(n)) < retention.age_end(retention.whole_age(o))
        or (o ->> 'disposition' = 'keep' and n ->> 'disposition' = 'purge')
        or retention.age_end(n #>> '{minimum,period}') < retention.age_end(o #>> '{minimum,period}')
        or (o ->> 'rowDays' is not null and n ->> 'rowDays' is distinct from o ->> 'rowDays'))
  or exists (
    select from unnest(array['units', 'rows', 'percent', 'approvalHours']) field
     where (p_new -> 'limits' ->> field)::numeric > (p_old -> 'limits' ->> field)::numeric)
  or (p_new -> 'limits' ->> 'coolingOffHours')::numeric < (p_old -> 'limits' ->> 'coolingOffHours')::numeric;

-- From when on a version counts; null while it waits for its second person.
create function retention.policy_effective_at(p_version retention.policy_version) returns timestamptz
language sql stable
set search_path = pg_catalog, pg_temp
return case when not p_version.shortens then p_version.created_at
            else (select d.decided_at + interval '72 hours' from compliance.object_decision d
                   where d.object_id = p_version.policy_id and d.meaning = 'approve' and d.object_hash = p_version.sha256) end;

-- The newest version that counts now.
create function retention.policy_in_force() returns retention.policy_version
language sql volatile
set search_path = pg_catalog, pg_temp
return (select v from retention.policy_version v
         where retention.policy_effective_at(v) <= retention.clock() order by v.version desc limit 1);

create function retention.check_policy(p_document jsonb) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  branch retention.branch;
  rule jsonb;
begin
  if p_document ->> 'format' is distinct from 'auditkeep-retention-policy/v1'
     or jsonb_array_length(p_document -> 'rules') <> (select count(*) from retention.branch) then
    raise exception 'the policy does not have one rule for each branch' using errcode = 'AK122';
  end if;
  for branch in select * from retention.branch loop
    rule := retention.policy_rule(p_document, branch.table_name, branch.category);
    if rule is null then
      raise exception 'the policy has no rule for %', branch.hot_parent using errcode = 'AK122';
    end if;
    if (retention.age_end(rule ->> 'hot') > timestamp '2000-01-01'
        and retention.age_end(rule ->> 'hot') <= retention.age_end(rule ->> 'archive')
        and retention.age_end(rule ->> 'archive') <= retention.age_end(retention.whole_age(rule))
        and retention.age_end(rule #>> '{minimum,period}') <= retention.age_end(retention.whole_age(rule))
        and rule ->> 'disposition' in ('keep', 'purge')) is not true then
      raise exception 'the periods of % make no sense', branch.hot_parent using errcode = 'AK122';
    end if;
  end loop;
  if ((p_document -> 'limits' ->> 'coolingOffHours')::numeric between 1 and 720
      and (p_document -> 'limits' ->> 'approvalHours')::numeric between 1 and 168
      and (p_document -> 'limits' ->> 'percent')::numeric between 1 and 100
      and (p_document -> 'limits' ->> 'units')::numeric >= 1 and (p_document -> 'limits' ->> 'rows')::numeric >= 1)
      is not true then
    raise exception 'the limits make no sense' using errcode = 'AK122';
  end if;
end
$$;

-- Adds a version that follows p_after (the newest one). It counts at once, or waits when it shortens.
create function retention.propose_policy(p_document text, p_after integer, p_actor text, p_reason text,
  out version integer, out policy_id uuid, out shortens boolean)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  newest integer;
  current retention.policy_version;
begin
  lock table retention.policy_version in share row exclusive mode;
  select max(v.version) into newest from retention.policy_version v;
  if newest <> p_after then
    raise exception 'version % came first', newest using errcode = 'AK123';
  end if;
  perform retention.check_policy(p_document::jsonb);
  current := retention.policy_in_force();
  insert into retention.policy_version (version, document, sha256, shortens, actor, reason)
  values (newest + 1, p_document, encode(sha256(convert_to(p_document, 'UTF8')), 'hex'),
    retention.policy_shortens(current.document::jsonb, p_document::jsonb), p_actor, p_reason)
  returning policy_version.version, policy_version.policy_id, policy_version.shortens
    into version, policy_id, shortens;
end
$$;
grant execute on function retention.propose_policy(text, integer, text, text) to auditkeep_engine;
grant execute on function retention.policy_in_force() to auditkeep_engine;
grant execute on function retention.policy_effective_at(retention.policy_version) to auditkeep_engine;

-- What is signed about an object, and what has to be so before a decision counts. Later migrations add kinds.
create function retention.object_hash(p_kind text, p_id uuid) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  if p_kind = 'policy' then
    return (select v.sha256 from retention.policy_version v where v.policy_id = p_id and v.shortens);
  end if;
  return null;
end
$$;
create function retention.before_decision(p_kind text, p_id uuid, p_meaning text) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if p_kind = 'policy' and exists (
      select from retention.policy_version v
        join retention.policy_version newer on newer.version > v.version
       where v.policy_id = p_id and retention.policy_effective_at(newer) is not null) then
    raise exception 'a newer policy has taken its place' using errcode = 'AK121';
  end if;
end
$$;

insert into retention.policy_version (version, document, sha256, shortens, actor, reason)
select 1, d, encode(sha256(convert_to(d, 'UTF8')), 'hex'), false, 'auditkeep', 'built in'
  from (values ('{"format":"auditkeep-retention-policy/v1","limits":{"approvalHours":24,"coolingOffHours":72,"percent":40,"rows":100000000,"units":36},"rules":[{"archive":"7 years","category":null,"citation":"common practice; 17 CFR 210.2-06 binds the auditor''s papers, 45 CFR 164.316(b)(2)(i) required documentation","cold":null,"disposition":"purge","hot":"2 years","interval":"month","maximum":null,"minimum":null,"premake":"3 months","rowDays":null,"table":"audit_log"},{"archive":"7 years","category":null,"citation":"common practice; 17 CFR 210.2-06 binds the auditor''s papers, 45 CFR 164.316(b)(2)(i) required documentation","cold":null,"disposition":"purge","hot":"7 years","interval":"month","maximum":null,"minimum":null,"premake":"3 months","rowDays":"retention_days","table":"security_events_log"},{"archive":"3 years","category":"standard","citation":"common practice; 17 CFR 210.2-06 binds the auditor''s papers, 45 CFR 164.316(b)(2)(i) required documentation","cold":null,"disposition":"purge","hot":"3 years","interval":"month","maximum":null,"minimum":null,"premake":"3 months","rowDays":null,"table":"data_access_log"},{"archive":"7 years","category":"extended","citation":"common practice; 17 CFR 210.2-06 binds the auditor''s papers, 45 CFR 164.316(b)(2)(i) required documentation","cold":null,"disposition":"purge","hot":"7 years","interval":"month","maximum":null,"minimum":null,"premake":"3 months","rowDays":null,"table":"data_access_log"},{"archive":"forever","category":"permanent","citation":"kept by its own category","cold":null,"disposition":"keep","hot":"forever","interval":"month","maximum":null,"minimum":null,"premake":"3 months","rowDays":null,"table":"data_access_log"},{"archive":"30 days","category":"minute","citation":"GDPR 5(1)(e), storage limitation","cold":null,"disposition":"purge","hot":"30 days","interval":"day","maximum":null,"minimum":null,"premake":"7 days","rowDays":null,"table":"performance_metrics"},{"archive":"2 years","category":"hour","citation":"GDPR 5(1)(e), storage limitation","cold":null,"disposition":"purge","hot":"2 years","interval":"month","maximum":null,"minimum":null,"premake":"3 months","rowDays":null,"table":"performance_metrics"},{"archive":"7 years","category":"day","citation":"GDPR 5(1)(e), storage limitation","cold":null,"disposition":"purge","hot":"7 years","interval":"month","maximum":null,"minimum":null,"premake":"3 months","rowDays":null,"table":"performance_metrics"},{"archive":"14 days","category":null,"citation":"GDPR 5(1)(e), storage limitation","cold":null,"disposition":"purge","hot":"14 days","interval":"day","maximum":null,"minimum":null,"premake":"7 days","rowDays":null,"table":"distributed_traces"}]}')) v(d);
