-- Sealing costs the database less. Whether every link is of a stored event, and whether none of the round is left out, was
-- asked in two passes (an index probe for each link, then a count); one pass over the round's events answers both. Links
-- are compared with their predecessors without a window. What is refused stays refused, and a link to an event that is
-- linked already is now refused after a sweep too. Breaks nothing: append_links() keeps name, arguments, result and grants.

-- The stored events that a move of the head passes by (those of the round beyond the head's cursor and up to the new one):
-- how many there are, and how many links are of one of them.
create function audit.match_passed(
  head audit.chain_head, round_snapshot pg_snapshot, until_txid bigint, until_timestamp timestamptz, until_id uuid,
  event_timestamps timestamptz[], event_ids uuid[], txids bigint[], out passed bigint, out stored bigint
)
language plpgsql
set search_path = pg_catalog, pg_temp
-- An index scan, whatever the statistics of a partition that was just filled say; and links, whose number the planner
-- cannot know, hashed once.
set enable_seqscan = off
set enable_nestloop = off
set enable_mergejoin = off
as $$
declare
  sealed_xmax constant bigint := coalesce(pg_snapshot_xmax(head.snapshot)::text::bigint, 0);
  sealed_running constant bigint[] := array(select x::text::bigint from pg_snapshot_xip(head.snapshot) x);
  running constant bigint[] := array(select x::text::bigint from pg_snapshot_xip(round_snapshot) x);
  first_txid constant bigint := greatest(sealed_xmax, head.cursor_txid);
  end_txid constant bigint := least(pg_snapshot_xmax(round_snapshot)::text::bigint, until_txid + 1);
  -- After a sweep what is linked may lie ahead (audit.chain_head.swept_until).
  swept constant boolean := coalesce(sealed_xmax < head.swept_until, false);
begin
  -- Within one transaction by time: it may have a million rows, of which this is one batch.
  if head.cursor_txid = until_txid then
    select count(*), count(distinct k.place) into passed, stored
      from (select h.id, h.event_timestamp, h.txid from audit.audit_log h
             where h.event_timestamp between head.cursor_timestamp and until_timestamp
            union all
            select l.id, l.event_timestamp, l.txid from audit.audit_log_late l
             where l.event_timestamp between head.cursor_timestamp and until_timestamp) e
      left join unnest(event_timestamps, event_ids, txids) with ordinality as k(event_timestamp, event_id, txid, place)
        on k.event_id = e.id and k.event_timestamp = e.event_timestamp and k.txid = e.txid
     where e.txid + 0 = until_txid
       and (e.event_timestamp, e.id) > (head.cursor_timestamp, head.cursor_id)
       and (e.event_timestamp, e.id) <= (until_timestamp, until_id)
       and (not swept or not exists (select from audit.chain_link o where o.event_id = e.id));
    return;
  end if;
  select count(*), count(distinct k.place) into passed, stored
    from (select h.id, h.event_timestamp, h.txid from audit.audit_log h where h.txid >= first_txid and h.txid < end_txid
          union all
          select l.id, l.event_timestamp, l.txid from audit.audit_log_late l where l.txid >= first_txid and l.txid < end_txid
          union all
          select h.id, h.event_timestamp, h.txid from audit.audit_log h
           where h.txid = any (sealed_running) and h.txid < least(end_txid, first_txid)
          union all
          select l.id, l.event_timestamp, l.txid from audit.audit_log_late l
           where l.txid = any (sealed_running) and l.txid < least(end_txid, first_txid)) e
    left join unnest(event_timestamps, event_ids, txids) with ordinality as k(event_timestamp, event_id, txid, place)
      on k.event_id = e.id and k.event_timestamp = e.event_timestamp and k.txid = e.txid
   where e.txid <> all (running)
     and (head.cursor_txid is null
          or (e.txid, e.event_timestamp, e.id) > (head.cursor_txid, head.cursor_timestamp, head.cursor_id))
     and (until_txid is null or (e.txid, e.event_timestamp, e.id) <= (until_txid, until_timestamp, until_id))
     and (not swept or not exists (select from audit.chain_link o where o.event_id = e.id));
end
$$;

-- Refuses a move of the head that the sealer never makes (SQLSTATE AK027): a snapshot that goes back, lies ahead of now or
-- shows what still runs; a cursor that does not advance to the last link; links that are not, in order, of the round and
-- beyond the cursor. What is linked already lies below the cursor or the snapshot, so nothing is doubled. That links are
-- of stored events, and that none is left out, append_links() asks.
create or replace function audit.check_append(
  head audit.chain_head, event_timestamps timestamptz[], event_ids uuid[], txids bigint[],
  new_snapshot pg_snapshot, new_target pg_snapshot,
  new_cursor_txid bigint, new_cursor_timestamp timestamptz, new_cursor_id uuid
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  appended constant integer := cardinality(event_ids);
  -- What the round seals: that of the cursor, otherwise the one that the head shall have.
  round_snapshot constant pg_snapshot := coalesce(new_target, new_snapshot);
  xmax bigint;
  running bigint[];
  sealed_xmax constant bigint := coalesce(pg_snapshot_xmax(head.snapshot)::text::bigint, 0);
  sealed_running constant bigint[] := array(select x::text::bigint from pg_snapshot_xip(head.snapshot) x);
  problem text;
begin
  xmax := pg_snapshot_xmax(round_snapshot)::text::bigint;
  running := array(select x::text::bigint from pg_snapshot_xip(round_snapshot) x);
  problem := case
    when round_snapshot is null then 'no snapshot'
    when new_target is not null and new_snapshot::text is distinct from head.snapshot::text then 'a snapshot within a round'
    when head.target_snapshot is not null and round_snapshot::text <> head.target_snapshot::text then 'another round'
    when not coalesce(audit.snapshot_within(head.snapshot, round_snapshot), true) then 'a snapshot that goes back'
    when not audit.snapshot_within(round_snapshot, pg_current_snapshot())
      or pg_visible_in_snapshot(pg_current_xact_id(), round_snapshot) then 'a snapshot ahead of now'
    when new_target is not null and (appended = 0 or (new_cursor_txid, new_cursor_timestamp, new_cursor_id)
      is distinct from (txids[appended], event_timestamps[appended], event_ids[appended])) then 'a cursor off the last link'
    -- Each link beside the one before it, the first beside the cursor; the last row is the last link beside nothing.
    when exists (
      select from unnest(txids, event_timestamps, event_ids, head.cursor_txid || txids,
                         head.cursor_timestamp || event_timestamps, head.cursor_id || event_ids)
               as l(txid, event_timestamp, event_id, before_txid, before_timestamp, before_id)
       where (l.txid, l.event_timestamp, l.event_id) <= (l.before_txid, l.before_timestamp, l.before_id)
          or l.txid >= xmax or l.txid = any (running)
          or (l.txid < sealed_xmax and l.txid <> all (sealed_running))) then 'links out of order or of another round' end;
  if problem is not null then
    raise exception 'the move of the head is refused: %', problem using errcode = 'AK027';
  end if;
end
$$;

-- As before (0140), in one pass.
create or replace function audit.append_links(
  expected_size bigint, expected_hash bytea,
  event_timestamps timestamptz[], event_ids uuid[], txids bigint[],
  leaves bytea, commitments bytea, chain_hashes bytea, new_frontier bytea,
  new_snapshot pg_snapshot, new_target pg_snapshot,
  new_cursor_txid bigint, new_cursor_timestamp timestamptz, new_cursor_id uuid
) returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  appended constant integer := cardinality(event_ids);
  head audit.chain_head;
  found_events record;
  size bigint;
begin
  if num_nulls(expected_size, expected_hash, event_timestamps, event_ids, txids, leaves, commitments, chain_hashes,
               new_frontier) > 0
     or (appended > 0 and (array_dims(event_timestamps), array_dims(event_ids), array_dims(txids))
           is distinct from (format('[1:%s]', appended), format('[1:%s]', appended), format('[1:%s]', appended))) then
    raise exception 'the links are not of one length' using errcode = 'AK021';
  end if;
  select * into head from audit.chain_head h for update;
  -- Before the links are there: what a sweep linked is told by them.
  select * into found_events
    from audit.match_passed(head, coalesce(new_target, new_snapshot), new_cursor_txid, new_cursor_timestamp, new_cursor_id,
      event_timestamps, event_ids, txids);
  size := audit.append_fitting_links(expected_size, expected_hash, event_timestamps, event_ids, txids, leaves, commitments,
    chain_hashes, new_frontier, new_snapshot, new_target, new_cursor_txid, new_cursor_timestamp, new_cursor_id);
  if found_events.stored is distinct from appended then
    raise exception 'the move of the head is refused: a link to no stored event' using errcode = 'AK027';
  end if;
  if found_events.passed is distinct from appended then
    raise exception 'the move of the head is refused: % of % events are left out', found_events.passed - appended,
      found_events.passed using errcode = 'AK027';
  end if;
  return size;
end
$$;

drop function audit.count_passed(audit.chain_head, pg_snapshot, bigint, timestamptz, uuid);
