-- The inline profile: events whose writer fills event_hash and previous_event_hash. A segment is declared before its
-- first event and keeps that event's hash, the last one's and their number, so that a row of the sealed profile whose
-- hash columns somebody filled in cannot pass for one of a segment. Writers are serialised: for low volume.
-- SQLSTATE AK026: no segment is open. Breaks nothing: new.

create table audit.inline_segment (
  segment      integer     primary key generated always as identity,
  genesis_hash char(64)    not null,
  head_hash    char(64)    not null,
  size         bigint      not null check (size >= 1),
  began_at     timestamptz not null default clock_timestamp()
);
comment on table audit.inline_segment is 'Chains whose hashes are in the rows themselves (docs/spec/audit-event-v1.md, section 9). The last one is open.';

-- A segment only grows.
create function audit.refuse_segment_change() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if tg_op = 'UPDATE' and new.segment = old.segment and new.genesis_hash = old.genesis_hash and new.size = old.size + 1 then
    return new;
  end if;
  raise exception '% on audit.inline_segment is refused: a segment only grows', tg_op using errcode = 'AK100';
end
$$;
create trigger ak_child_immutable before update or delete on audit.inline_segment
  for each row execute function audit.refuse_segment_change();
create trigger ak_child_truncate before truncate on audit.inline_segment
  for each statement execute function audit.refuse_segment_change();
alter table audit.inline_segment enable always trigger ak_child_immutable;
alter table audit.inline_segment enable always trigger ak_child_truncate;

-- Writes an event, given as jsonb of its columns, with its hash over the previous one's; gives event_hash.
create function audit.write_inline(p_event jsonb, p_previous char(64)) returns char(64)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  event audit.audit_log := jsonb_populate_record(null::audit.audit_log, p_event);
begin
  event.id := coalesce(event.id, gen_random_uuid());
  event.event_timestamp := coalesce(event.event_timestamp, now());
  event.security_classification := coalesce(event.security_classification, 'internal');
  event.data_sensitivity := coalesce(event.data_sensitivity, 'normal');
  event.result := coalesce(event.result, 'success');
  event.actor_salt := public.gen_random_bytes(16);
  event.payload_salt := public.gen_random_bytes(16);
  event.txid := pg_current_xact_id()::text::bigint;
  event.hash_version := 1;
  event.previous_event_hash := p_previous;
  event.event_hash := encode(sha256('\x03'::bytea || decode(p_previous, 'hex') || audit.event_leaf(event)), 'hex');
  insert into audit.audit_log select (event).*;
  return event.event_hash;
end
$$;

-- Begins a segment; its first event says so, so that no chain reaches back over rows that nobody vouches for.
create function audit.begin_inline_segment() returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  first char(64);
  made integer;
begin
  lock table audit.inline_segment in share row exclusive mode;
  first := audit.write_inline(jsonb_build_object('event_type', 'chain.segment', 'event_category', 'system',
    'event_action', 'BEGIN', 'resource_type', 'audit_chain', 'service_name', 'auditkeep'), repeat('0', 64));
  insert into audit.inline_segment (genesis_hash, head_hash, size) values (first, first, 1) returning segment into made;
  return made;
end
$$;

-- Appends an event to the open segment. The lock of its row is held until the writer's transaction ends.
create function audit.append_inline(p_event jsonb) returns char(64)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  open audit.inline_segment;
  hash char(64);
begin
  select * into open from audit.inline_segment s
   where s.segment = (select max(m.segment) from audit.inline_segment m) for update;
  if open.segment is null then
    raise exception 'no inline segment is open' using errcode = 'AK026', hint = 'begin one with audit.begin_inline_segment()';
  end if;
  hash := audit.write_inline(p_event, open.head_hash);
  update audit.inline_segment s set head_hash = hash, size = s.size + 1 where s.segment = open.segment;
  return hash;
end
$$;

grant select on audit.inline_segment to auditkeep_engine, auditkeep_view;
grant execute on function audit.begin_inline_segment(), audit.append_inline(jsonb) to auditkeep_engine;
