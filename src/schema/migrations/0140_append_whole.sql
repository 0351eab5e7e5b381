-- The move of the head is whole: audit.append_links() refuses arrays that are numbered otherwise than from 1, arguments that
-- are null, and a move that leaves out an event that it passes by. Without that, raw SQL as the engine could have the
-- honest sealer link events twice, or skip events, which verification would call inserted. Breaks nothing: the
-- function keeps its name, arguments, result and grants; the sealer never made such a move.

alter function audit.append_links(bigint, bytea, timestamptz[], uuid[], bigint[], bytea, bytea, bytea, bytea,
  pg_snapshot, pg_snapshot, bigint, timestamptz, uuid) rename to append_fitting_links;
revoke execute on function audit.append_fitting_links(bigint, bytea, timestamptz[], uuid[], bigint[], bytea, bytea, bytea,
  bytea, pg_snapshot, pg_snapshot, bigint, timestamptz, uuid) from auditkeep_engine;

-- How many stored events a move of the head passes by: those of the round beyond the head's cursor and up to the new one.
create function audit.count_passed(
  head audit.chain_head, round_snapshot pg_snapshot, until_txid bigint, until_timestamp timestamptz, until_id uuid
) returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
-- An index scan, whatever the statistics of a partition that was just filled say.
set enable_seqscan = off
as $$
declare
  sealed_xmax constant bigint := coalesce(pg_snapshot_xmax(head.snapshot)::text::bigint, 0);
  sealed_running constant bigint[] := array(select x::text::bigint from pg_snapshot_xip(head.snapshot) x);
  running constant bigint[] := array(select x::text::bigint from pg_snapshot_xip(round_snapshot) x);
  first_txid constant bigint := greatest(sealed_xmax, head.cursor_txid);
  end_txid constant bigint := least(pg_snapshot_xmax(round_snapshot)::text::bigint, until_txid + 1);
  -- After a sweep what is linked may lie ahead (audit.chain_head.swept_until).
  swept constant boolean := coalesce(sealed_xmax < head.swept_until, false);
  passed bigint;
begin
  -- Within one transaction by time: it may have a million rows, of which this is one batch.
  if head.cursor_txid = until_txid then
    select count(*) into passed
      from (select h.id, h.event_timestamp, h.txid from audit.audit_log h
             where h.event_timestamp between head.cursor_timestamp and until_timestamp
            union all
            select l.id, l.event_timestamp, l.txid from audit.audit_log_late l
             where l.event_timestamp between head.cursor_timestamp and until_timestamp) e
     where e.txid + 0 = until_txid
       and (e.event_timestamp, e.id) > (head.cursor_timestamp, head.cursor_id)
       and (e.event_timestamp, e.id) <= (until_timestamp, until_id)
       and (not swept or not exists (select from audit.chain_link k where k.event_id = e.id));
    return passed;
  end if;
  select count(*) into passed
    from (select h.id, h.event_timestamp, h.txid from audit.audit_log h where h.txid >= first_txid and h.txid < end_txid
          union all
          select l.id, l.event_timestamp, l.txid from audit.audit_log_late l where l.txid >= first_txid and l.txid < end_txid
          union all
          select h.id, h.event_timestamp, h.txid from audit.audit_log h
           where h.txid = any (sealed_running) and h.txid < least(end_txid, first_txid)
          union all
          select l.id, l.event_timestamp, l.txid from audit.audit_log_late l
           where l.txid = any (sealed_running) and l.txid < least(end_txid, first_txid)) e
   where e.txid <> all (running)
     and (head.cursor_txid is null
          or (e.txid, e.event_timestamp, e.id) > (head.cursor_txid, head.cursor_timestamp, head.cursor_id))
     and (until_txid is null or (e.txid, e.event_timestamp, e.id) <= (until_txid, until_timestamp, until_id))
     and (not swept or not exists (select from audit.chain_link k where k.event_id = e.id));
  return passed;
end
$$;

-- Appends links and moves the head, if the head still is where the caller read it (SQLSTATE AK020 otherwise), as
-- append_fitting_links() does, which computes chain hashes and frontier again and finds every link's event; and only if
-- the links are all that the move passes by (SQLSTATE AK027). Not computed again are leaves and commitments.
create function audit.append_links(
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
  passed bigint;
  size bigint;
begin
  if num_nulls(expected_size, expected_hash, event_timestamps, event_ids, txids, leaves, commitments, chain_hashes,
               new_frontier) > 0
     or (appended > 0 and (array_dims(event_timestamps), array_dims(event_ids), array_dims(txids))
           is distinct from (format('[1:%s]', appended), format('[1:%s]', appended), format('[1:%s]', appended))) then
    raise exception 'the links are not of one length' using errcode = 'AK021';
  end if;
  select * into head from audit.chain_head h for update;
  passed := audit.count_passed(head, coalesce(new_target, new_snapshot), new_cursor_txid, new_cursor_timestamp, new_cursor_id);
  size := audit.append_fitting_links(expected_size, expected_hash, event_timestamps, event_ids, txids, leaves, commitments,
    chain_hashes, new_frontier, new_snapshot, new_target, new_cursor_txid, new_cursor_timestamp, new_cursor_id);
  if passed is distinct from appended then
    raise exception 'the move of the head is refused: % of % events are left out', passed - appended, passed
      using errcode = 'AK027';
  end if;
  return size;
end
$$;
grant execute on function audit.append_links(bigint, bytea, timestamptz[], uuid[], bigint[], bytea, bytea, bytea, bytea,
  pg_snapshot, pg_snapshot, bigint, timestamptz, uuid) to auditkeep_engine;
