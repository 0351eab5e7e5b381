-- Plans of destruction: what is to go, bound by a hash that two records managers sign, and the guard that lets a unit go only
-- under such a plan (retention.check_disposal, which refused everything until now). Breaks nothing: new, and a guard that
-- opens only for what was approved. SQLSTATEs: AK105 held, AK109 not approved, AK126 the plan is not what it was, AK127 not
-- in its time, AK128 beyond a limit.

create table retention.plan (
  plan_id    uuid primary key default gen_random_uuid(),
  -- RFC 8785 text: policy, units with bounds, fingerprint and rows, holds. What two persons sign is its hash.
  document   text not null,
  plan_hash  char(64) not null check (plan_hash = encode(sha256(convert_to(document, 'UTF8')), 'hex')),
  actor      text not null check (btrim(actor) <> ''),
  reason     text not null check (btrim(reason) <> ''),
  login      text not null default session_user,
  drafted_at timestamptz not null default retention.clock()
);
comment on table retention.plan is 'Plans of destruction; one may run once two records managers have signed its hash.';
create table retention.plan_start (
  plan_id    uuid primary key references retention.plan,
  login      text not null default session_user,
  started_at timestamptz not null default retention.clock()
);
comment on table retention.plan_start is 'Plans whose execution has begun; the expiry of an approval bounds this moment, later edges run under it.';
do $$
declare
  guarded text;
begin
  foreach guarded in array array['plan', 'plan_start'] loop
    execute format('create trigger append_only before update or delete on retention.%I
                    for each row execute function compliance.refuse_change()', guarded);
    execute format('create trigger no_truncate before truncate on retention.%I
                    for each statement execute function compliance.refuse_change()', guarded);
    execute format('alter table retention.%I enable always trigger append_only, enable always trigger no_truncate', guarded);
    execute format('grant select on retention.%I to auditkeep_engine, auditkeep_view', guarded);
  end loop;
end
$$;

create function retention.plan_hash(p_plan uuid) returns text
language sql stable
set search_path = pg_catalog, pg_temp
return (select p.plan_hash from retention.plan p where p.plan_id = p_plan);

create function retention.draft_plan(p_document text, p_actor text, p_reason text) returns uuid
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  content jsonb := p_document::jsonb;
  drafted uuid;
begin
  if content ->> 'format' is distinct from 'auditkeep-purge-plan/v1' or jsonb_array_length(content -> 'units') = 0 then
    raise exception 'the plan has no units' using errcode = 'AK126';
  end if;
  insert into retention.plan (document, plan_hash, actor, reason)
  values (p_document, encode(sha256(convert_to(p_document, 'UTF8')), 'hex'), p_actor, p_reason)
  returning plan_id into drafted;
  return drafted;
end
$$;
grant execute on function retention.draft_plan(text, text, text) to auditkeep_engine;

-- When the approval of a plan allows its start: [from, until). Nothing while it lacks one.
create function retention.plan_window(p_plan uuid, out starts_at timestamptz, out ends_at timestamptz)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select d.decided_at + make_interval(hours => (l ->> 'coolingOffHours')::int),
         d.decided_at + make_interval(hours => (l ->> 'coolingOffHours')::int + (l ->> 'approvalHours')::int)
    from retention.plan p
    join compliance.object_decision d on d.object_id = p.plan_id and d.meaning = 'approve' and d.object_hash = p.plan_hash
    join compliance.object_decision r on r.payload_sha256 = d.previous_decision_sha256 and r.object_id = p.plan_id
     and r.object_hash = p.plan_hash and r.person_id <> d.person_id
    join retention.policy_version v on v.version = (p.document::jsonb #>> '{policy,version}')::int
   cross join lateral (select v.document::jsonb -> 'limits') lim(l)
   where p.plan_id = p_plan
$$;
grant execute on function retention.plan_window(uuid) to auditkeep_engine;

-- Whether rows of a unit have to stay longer than its policy says (retention_days, keep_until of a split's sibling).
create function retention.has_longer_rows(p_unit retention.unit) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  leaf regclass := to_regclass(format('%I.%I', p_unit.schema_name, p_unit.relation_name));
  longer boolean := false;
begin
  if p_unit.keep_until > retention.clock() then
    return true;
  end if;
  if p_unit.table_name = 'security_events_log' and leaf is not null then
    execute format('select exists (select from %s e where e.event_timestamp + make_interval(days => coalesce(e.retention_days, 0)) > $1)', leaf)
      into longer using retention.clock();
  end if;
  return longer;
end
$$;

create function retention.unit_has_longer_rows(p_unit bigint) returns boolean
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select retention.has_longer_rows(u) from retention.unit u where u.unit_id = p_unit
$$;
grant execute on function retention.unit_has_longer_rows(bigint) to auditkeep_engine;

-- The policy of a plan lets this unit go: its disposition is review and destruction, and its whole period is over.
create function retention.is_due(p_unit retention.unit, p_policy jsonb) returns boolean
language sql volatile
set search_path = pg_catalog, pg_temp
as $$
  select r ->> 'disposition' = 'purge' and retention.whole_age(r) <> 'forever'
     and (p_unit.upper_bound at time zone 'UTC' + retention.whole_age(r)::interval) at time zone 'UTC' <= retention.clock()
    from retention.policy_rule(p_policy, p_unit.table_name, p_unit.category) r
$$;

-- The unit is still what the plan says it is.
create function retention.check_plan_unit(p_plan retention.plan, p_unit retention.unit) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  entry jsonb;
  policy jsonb;
  sealed retention.manifest;
begin
  select e into entry from jsonb_array_elements(p_plan.document::jsonb -> 'units') e
   where (e ->> 'unit_id')::bigint = p_unit.unit_id;
  select v.document::jsonb into policy from retention.policy_version v
   where v.version = (p_plan.document::jsonb #>> '{policy,version}')::int
     and v.sha256 = p_plan.document::jsonb #>> '{policy,sha256}';
  select * into sealed from retention.manifest m where m.unit_id = p_unit.unit_id;
  if entry is null then
    raise exception 'unit % is not in the plan', p_unit.relation_name using errcode = 'AK109';
  end if;
  if policy is null or sealed.unit_id is null
     or (entry ->> 'table', entry ->> 'category', (entry ->> 'generation')::int, (entry ->> 'rows')::bigint, entry ->> 'fingerprint',
         entry ->> 'to', entry ->> 'action')
        is distinct from
        (p_unit.table_name, nullif(p_unit.category, ''), p_unit.generation, sealed.row_count, encode(sealed.fingerprint, 'hex'),
         compliance.iso(p_unit.upper_bound), 'purge')
     or entry ->> 'from' is distinct from (case when isfinite(p_unit.lower_bound) then compliance.iso(p_unit.lower_bound) end) then
    raise exception 'unit % is not what the plan says', p_unit.relation_name using errcode = 'AK126';
  end if;
  if not coalesce(retention.is_due(p_unit, policy), false) or retention.has_longer_rows(p_unit) then
    raise exception 'the policy still keeps unit %', p_unit.relation_name using errcode = 'AK109';
  end if;
end
$$;

create or replace function retention.check_disposal(p_unit bigint, p_plan uuid) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  plan retention.plan;
  unit retention.unit;
  started timestamptz;
begin
  select * into plan from retention.plan p where p.plan_id = p_plan;
  select s.started_at into started from retention.plan_start s where s.plan_id = p_plan;
  select * into unit from retention.unit u where u.unit_id = p_unit;
  if plan.plan_id is null or started is null or (select w.starts_at from retention.plan_window(p_plan) w) is null then
    raise exception 'no approval allows that unit % is destroyed under plan %', p_unit, coalesce(p_plan::text, '(none)')
      using errcode = 'AK109';
  end if;
  -- From here to the end of the transaction nobody places a hold; one placed before is seen.
  perform retention.lock_disposal(unit.table_name);
  if retention.is_held(p_unit) then
    raise exception 'unit % is under a legal hold', unit.relation_name using errcode = 'AK105';
  end if;
  perform retention.check_plan_unit(plan, unit);
end
$$;

-- All rows of a table, hot, archived and late: counted when they were sealed, else as the planner guesses them, and counted
-- now where it never looked.
create function retention.known_rows(p_table text) returns bigint
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  leaf record;
  counted bigint;
  total bigint := 0;
begin
  for leaf in
    select u.row_count, c.reltuples::bigint as guessed, format('%I.%I', u.schema_name, u.relation_name) as name
      from retention.unit u join pg_class c on c.oid = to_regclass(format('%I.%I', u.schema_name, u.relation_name))
     where u.table_name = p_table and u.state not in ('purging', 'purged', 'split', 'restored', 'expired')
    union all
    select null, c.reltuples::bigint, format('only %I.%I', f.schema_name, f.table_name || '_late')
      from retention.family f join pg_class c on c.oid = format('%I.%I', f.schema_name, f.table_name || '_late')::regclass
     where f.table_name = p_table
  loop
    if leaf.row_count is null and leaf.guessed < 0 then
      execute format('select count(*) from %s', leaf.name) into counted;
    end if;
    total := total + coalesce(leaf.row_count, case when leaf.guessed < 0 then counted else leaf.guessed end);
  end loop;
  return total;
end
$$;
grant execute on function retention.known_rows(text) to auditkeep_engine;

-- Nothing of a plan begins when all of it is more than one destruction may reach.
create function retention.check_limits(p_document jsonb, p_limits jsonb) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  total record;
begin
  select count(*) as units, sum((e ->> 'rows')::bigint) as rows into total from jsonb_array_elements(p_document -> 'units') e;
  if total.units > (p_limits ->> 'units')::bigint or total.rows > (p_limits ->> 'rows')::bigint then
    raise exception 'the plan reaches % units and % rows; % and % are allowed', total.units, total.rows,
      p_limits ->> 'units', p_limits ->> 'rows' using errcode = 'AK128';
  end if;
  for total in
    select e ->> 'table' as name, sum((e ->> 'rows')::bigint) as rows from jsonb_array_elements(p_document -> 'units') e group by 1
  loop
    if total.rows * 100 > retention.known_rows(total.name) * (p_limits ->> 'percent')::bigint then
      raise exception 'the plan reaches % of the % rows of %; % per cent are allowed', total.rows,
        retention.known_rows(total.name), total.name, p_limits ->> 'percent' using errcode = 'AK128';
    end if;
  end loop;
end
$$;

-- Begins the execution of an approved plan, once: everything is looked at again, then all its units are
-- purge_approved under it, or none.
create function retention.start_plan(p_plan uuid) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  plan retention.plan;
  policy retention.policy_version := retention.policy_in_force();
  at timestamptz := retention.clock();
  allowed record;
  unit retention.unit;
begin
  select * into plan from retention.plan p where p.plan_id = p_plan for share;
  select * into allowed from retention.plan_window(p_plan);
  if plan.plan_id is null or allowed.starts_at is null then
    raise exception 'no two persons have signed plan %', p_plan using errcode = 'AK109';
  end if;
  if at < allowed.starts_at or at >= allowed.ends_at then
    raise exception 'the approval allows a start from % to %', compliance.iso(allowed.starts_at), compliance.iso(allowed.ends_at)
      using errcode = 'AK127';
  end if;
  perform retention.lock_disposal(t.name)
     from (select distinct e ->> 'table' as name from jsonb_array_elements(plan.document::jsonb -> 'units') e order by 1) t;
  if plan.document::jsonb #>> '{policy,sha256}' is distinct from policy.sha256
     or (select coalesce(jsonb_agg(a.sha256 order by a.sha256), '[]') from retention.active_hold a
           where a.table_name is null or exists (select from jsonb_array_elements(plan.document::jsonb -> 'units') e
                                                  where e ->> 'table' = a.table_name))
        is distinct from plan.document::jsonb -> 'holds' then
    raise exception 'the policy or the holds are not those of the plan' using errcode = 'AK126';
  end if;
  perform retention.check_limits(plan.document::jsonb, policy.document::jsonb -> 'limits');
  insert into retention.plan_start (plan_id) values (p_plan);
  for unit in
    select u.* from retention.unit u
      join jsonb_array_elements(plan.document::jsonb -> 'units') e on (e ->> 'unit_id')::bigint = u.unit_id
     order by u.unit_id for update of u
  loop
    if unit.state = 'archived' then
      update retention.unit u set state = 'purge_due' where u.unit_id = unit.unit_id;
    end if;
    update retention.unit u set state = 'purge_approved', plan_id = p_plan where u.unit_id = unit.unit_id;
  end loop;
  if (select count(*) from retention.unit u where u.plan_id = p_plan and u.state = 'purge_approved')
     <> jsonb_array_length(plan.document::jsonb -> 'units') then
    raise exception 'a unit of the plan is gone' using errcode = 'AK126';
  end if;
exception when unique_violation then
  raise exception 'plan % has begun already', p_plan using errcode = 'AK104';
end
$$;
grant execute on function retention.start_plan(uuid) to auditkeep_engine;

-- purge_due or purge_approved -> archived: the review thought better of it, or a hold came.
create function retention.withdraw_unit(p_unit bigint) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform retention.lock_unit(p_unit, array['purge_due', 'purge_approved']);
  update retention.unit u set state = 'archived', plan_id = null where u.unit_id = p_unit;
end
$$;
grant execute on function retention.withdraw_unit(bigint) to auditkeep_engine;

