-- Legal holds: signed predicates over tables, times, users, resources and ids. A hold counts from the moment its request by
-- a legal person is recorded until the release of it has been requested and approved by two. Placing, releasing and the
-- point of no return take one advisory lock per table and look again, so there is one order. Breaks nothing:
-- retention.unit.held stays as the owner's own brake. SQLSTATEs: AK105 held, AK124 a hold that makes no sense, AK125
-- destroyed already.

create table retention.hold (
  hold_id       uuid primary key,
  -- RFC 8785 text; the columns below are what it says.
  document      text not null,
  sha256        char(64) not null unique check (sha256 = encode(sha256(convert_to(document, 'UTF8')), 'hex')),
  table_name    text references retention.family,
  held_from     timestamptz not null,
  held_to       timestamptz not null,
  held_user     text check (held_user <> ''),
  resource_type text check (resource_type <> ''),
  resource_id   text check (resource_id <> ''),
  ids           uuid[] check (cardinality(ids) between 1 and 10000),
  matter        text not null check (btrim(matter) <> ''),
  reason        text not null check (btrim(reason) <> ''),
  custodian     text not null check (btrim(custodian) <> ''),
  -- The part of the scope that is destroyed already is known to who placed it.
  beyond_destroyed boolean not null,
  login         text not null default session_user,
  drafted_at    timestamptz not null default retention.clock(),
  check (held_from < held_to),
  check (resource_id is null or resource_type is not null)
);
comment on table retention.hold is 'Legal holds; one counts once its request is signed, until its release is approved. table_name NULL: every table.';

create table retention.hold_release (
  release_id uuid primary key,
  hold_id    uuid not null references retention.hold,
  document   text not null,
  sha256     char(64) not null unique check (sha256 = encode(sha256(convert_to(document, 'UTF8')), 'hex')),
  reason     text not null check (btrim(reason) <> ''),
  login      text not null default session_user,
  drafted_at timestamptz not null default retention.clock()
);
comment on table retention.hold_release is 'Releases of holds; one counts once a second legal person has approved it.';

do $$
declare
  guarded text;
begin
  foreach guarded in array array['hold', 'hold_release'] loop
    execute format('create trigger append_only before update or delete on retention.%I
                    for each row execute function compliance.refuse_change()', guarded);
    execute format('create trigger no_truncate before truncate on retention.%I
                    for each statement execute function compliance.refuse_change()', guarded);
    execute format('alter table retention.%I enable always trigger append_only, enable always trigger no_truncate', guarded);
    execute format('grant select on retention.%I to auditkeep_engine, auditkeep_view', guarded);
  end loop;
end
$$;

-- Since when a hold is released; null while it is not.
create function retention.released_at(p_hold uuid) returns timestamptz
language sql stable
set search_path = pg_catalog, pg_temp
return (select min(d.recorded_at) from retention.hold_release r
          join compliance.object_decision d on d.object_id = r.release_id and d.meaning = 'approve' and d.object_hash = r.sha256
         where r.hold_id = p_hold);

create view retention.active_hold as
  select h.*, d.recorded_at as placed_at from retention.hold h
    join compliance.object_decision d on d.object_id = h.hold_id and d.meaning = 'request' and d.object_hash = h.sha256
   where retention.released_at(h.hold_id) is null;
grant select on retention.active_hold to auditkeep_engine, auditkeep_view;
grant execute on function retention.released_at(uuid) to auditkeep_engine, auditkeep_view;

-- Serialises holds and destruction of a table (all, when null), until the end of the transaction.
create function retention.lock_disposal(p_table text) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'holds and destruction need READ COMMITTED: an older snapshot would not see the other' using errcode = 'AK104';
  end if;
  perform pg_advisory_xact_lock(24940, hashtext(t.table_name))
    from (select f.table_name from retention.family f where f.table_name = coalesce(p_table, f.table_name) order by 1) t;
end
$$;

-- SQL over alias e that is true for rows of a table that a hold reaches. Rows that cannot be matched, because a group of
-- theirs is encrypted or erased, count. Null where the table has no such column.
create function retention.hold_condition(p_hold retention.hold, p_table text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  person text;
  thing text;
  at text := (select f.time_column from retention.family f where f.table_name = p_table);
begin
  if p_hold.table_name <> p_table then
    return null;
  end if;
  if p_hold.held_user is not null then
    person := case p_table
      when 'audit_log' then 'e.user_id::text = lower(%1$L) or lower(e.user_email) = lower(%1$L) or e.actor_salt is null or e.actor_envelope is not null'
      when 'security_events_log' then 'e.source_user_id::text = lower(%1$L) or e.source_user_id is null'
      when 'performance_metrics' then null
      else 'e.user_id::text = lower(%1$L) or e.user_id is null' end;
    if person is null then
      return null;
    end if;
  end if;
  if p_hold.resource_type is not null then
    thing := case p_table
      when 'audit_log' then 'e.resource_type = %1$L and (%2$L::text is null or e.resource_id = %2$L or e.payload_salt is null or e.payload_envelope is not null)'
      when 'data_access_log' then 'e.table_name = %1$L and (%2$L::text is null or e.row_identifier = %2$L)'
      else null end;
    if thing is null then
      return null;
    end if;
  end if;
  return concat_ws(' and ',
    format('e.%I >= %L and e.%I < %L', at, p_hold.held_from, at, p_hold.held_to),
    '(' || format(person, p_hold.held_user) || ')',
    '(' || format(thing, p_hold.resource_type, p_hold.resource_id) || ')',
    'e.id = any (' || quote_literal(p_hold.ids::text) || '::uuid[])');
end
$$;

-- Whether a hold reaches a unit. One without a table of its own any more (cold) is held by its bounds.
create function retention.reaches(p_hold retention.hold, p_unit retention.unit) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
  condition text := retention.hold_condition(p_hold, p_unit.table_name);
  leaf regclass := to_regclass(format('%I.%I', p_unit.schema_name, p_unit.relation_name));
  hit boolean;
begin
  if condition is null or p_unit.upper_bound <= p_hold.held_from or p_unit.lower_bound >= p_hold.held_to
     or p_unit.state in ('purging', 'purged', 'split', 'expired') then
    return false;
  end if;
  -- Without a predicate on rows the bounds decide; so they do where the rows lie in no table here and cannot be matched.
  if leaf is null or (p_hold.held_user is null and p_hold.resource_type is null and p_hold.ids is null) then
    return true;
  end if;
  execute format('select exists (select from %s e where %s)', leaf, condition) into hit;
  return hit;
end
$$;

create or replace function retention.is_held(p_unit bigint) returns boolean
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select u.held or exists (select from retention.active_hold a join retention.hold h using (hold_id)
                            where retention.reaches(h, u))
    from retention.unit u where u.unit_id = p_unit
$$;
grant execute on function retention.is_held(bigint) to auditkeep_engine, auditkeep_view;

-- The holds that reach a unit.
create function retention.holds_of(p_unit bigint) returns setof uuid
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select h.hold_id from retention.unit u, retention.active_hold a join retention.hold h using (hold_id)
   where u.unit_id = p_unit and retention.reaches(h, u) order by 1
$$;
grant execute on function retention.holds_of(bigint) to auditkeep_engine;

-- The certificate that a unit is destroyed under, known before it is written (a UUID of version 8).
create function retention.certificate_id(p_plan uuid, p_unit bigint) returns uuid
language sql immutable
set search_path = pg_catalog, pg_temp
return overlay(overlay(md5(p_plan::text || '/' || p_unit) placing '8' from 13) placing '8' from 17)::uuid;
grant execute on function retention.certificate_id(uuid, bigint) to auditkeep_engine;

-- What of a scope is destroyed already: the names of its units, with their certificates.
create function retention.destroyed_within(p_table text, p_from timestamptz, p_to timestamptz)
returns table (unit_id bigint, relation_name text, certificate_id uuid)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select u.unit_id, u.relation_name, retention.certificate_id(u.plan_id, u.unit_id) from retention.unit u
   where u.state in ('purging', 'purged') and u.table_name = coalesce(p_table, u.table_name)
     and u.lower_bound < p_to and u.upper_bound > p_from
   order by u.lower_bound, u.unit_id
$$;
grant execute on function retention.destroyed_within(text, timestamptz, timestamptz) to auditkeep_engine;

-- Stores what a hold would be; it counts once its request is signed. The document is the hold, the columns are read from it.
create function retention.draft_hold(p_document text) returns uuid
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
  scope jsonb := p_document::jsonb;
  drafted retention.hold;
begin
  if scope ->> 'format' is distinct from 'auditkeep-hold/v1' then
    raise exception 'not a hold' using errcode = 'AK124';
  end if;
  insert into retention.hold (hold_id, document, sha256, table_name, held_from, held_to, held_user, resource_type, resource_id,
    ids, matter, reason, custodian, beyond_destroyed)
  values ((scope ->> 'hold_id')::uuid, p_document, encode(sha256(convert_to(p_document, 'UTF8')), 'hex'), scope ->> 'table',
    coalesce((scope ->> 'from')::timestamptz, '-infinity'), coalesce((scope ->> 'to')::timestamptz, 'infinity'),
    scope ->> 'user', scope ->> 'resource_type', scope ->> 'resource_id',
    (select array_agg(i::uuid order by i) from jsonb_array_elements_text(nullif(scope -> 'ids', 'null')) i),
    scope ->> 'matter', scope ->> 'reason', scope ->> 'custodian', (scope ->> 'beyond_destroyed')::boolean)
  returning * into drafted;
  if drafted.table_name is not null and retention.hold_condition(drafted, drafted.table_name) is null then
    raise exception '% has no column for that scope', drafted.table_name using errcode = 'AK124';
  end if;
  return drafted.hold_id;
exception
  when check_violation or not_null_violation or foreign_key_violation or invalid_text_representation or unique_violation
       or datetime_field_overflow or invalid_datetime_format then
    raise exception 'the hold makes no sense: %', sqlerrm using errcode = 'AK124';
end
$$;
grant execute on function retention.draft_hold(text) to auditkeep_engine;

create function retention.draft_release(p_document text) returns uuid
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  release jsonb := p_document::jsonb;
begin
  if release ->> 'format' is distinct from 'auditkeep-hold-release/v1'
     or not exists (select from retention.active_hold a where a.hold_id = (release ->> 'hold_id')::uuid
                       and a.sha256 = release ->> 'hold_sha256') then
    raise exception 'there is no such hold to release' using errcode = 'AK120';
  end if;
  insert into retention.hold_release (release_id, hold_id, document, sha256, reason)
  values ((release ->> 'release_id')::uuid, (release ->> 'hold_id')::uuid, p_document,
    encode(sha256(convert_to(p_document, 'UTF8')), 'hex'), release ->> 'reason');
  return (release ->> 'release_id')::uuid;
end
$$;
grant execute on function retention.draft_release(text) to auditkeep_engine;

create or replace function retention.object_hash(p_kind text, p_id uuid) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return case p_kind
    when 'policy' then (select v.sha256 from retention.policy_version v where v.policy_id = p_id and v.shortens)
    when 'hold' then (select h.sha256 from retention.hold h where h.hold_id = p_id)
    when 'release' then (select r.sha256 from retention.hold_release r where r.release_id = p_id)
    when 'plan' then retention.plan_hash(p_id) end;
end
$$;

create or replace function retention.before_decision(p_kind text, p_id uuid, p_meaning text) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  hold retention.hold;
  gone record;
begin
  if p_kind = 'policy' and exists (
      select from retention.policy_version v
        join retention.policy_version newer on newer.version > v.version
       where v.policy_id = p_id and retention.policy_effective_at(newer) is not null) then
    raise exception 'a newer policy has taken its place' using errcode = 'AK121';
  end if;
  if p_kind = 'hold' then
    select * into hold from retention.hold h where h.hold_id = p_id;
    perform retention.lock_disposal(hold.table_name);
    select * into gone from retention.destroyed_within(hold.table_name, hold.held_from, hold.held_to) limit 1;
    if found and not hold.beyond_destroyed then
      raise exception '% is destroyed under certificate %', gone.relation_name, gone.certificate_id using errcode = 'AK125';
    end if;
  end if;
  if p_kind = 'release' then
    select h.* into hold from retention.hold_release r join retention.hold h using (hold_id) where r.release_id = p_id;
    perform retention.lock_disposal(hold.table_name);
    if retention.released_at(hold.hold_id) is not null then
      raise exception 'the hold is released already' using errcode = 'AK121';
    end if;
  end if;
end
$$;

-- SQL over alias e: the holds that reach a row, as text; '' for none. A split parts rows by it.
create or replace function retention.hold_expression(p_table text) returns text
language sql stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
  select 'concat_ws('','', ' || coalesce(string_agg(format('case when %s then %L end', c.condition, c.hold_id), ', ' order by c.hold_id), quote_literal('')) || ')'
    from (select h.hold_id, retention.hold_condition(h, p_table) as condition
            from retention.active_hold a join retention.hold h using (hold_id)) c
   where c.condition is not null
$$;
