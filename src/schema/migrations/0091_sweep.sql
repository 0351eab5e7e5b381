-- After dump and restore transaction ids begin anew, and what is committed from then on would never be a candidate of the
-- sealer. The sweep links what is unlinked and gives the head a snapshot of the ids that count now. Breaks nothing: a
-- nullable column and new functions.

alter table audit.chain_head add column swept_until bigint;
comment on column audit.chain_head.swept_until is 'Set by a sweep: rows of transaction ids below it may be linked already, so the sealer looks each candidate up until ids have passed it.';

-- A row's xmin with the epoch that it has now.
create function audit.full_xid(row_xid xid) returns bigint
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
  select n.epoch + n.low - case when n.epoch + n.low > n.current then 4294967296 else 0 end
    from (select c.current, c.current - c.current % 4294967296 as epoch, row_xid::text::bigint as low
            from (select pg_snapshot_xmax(pg_current_snapshot())::text::bigint as current) c) n
$$;

-- Events that no link names and that nothing speaks against. Either they waited already when the dump was taken, or they
-- were written here, after the first link was restored (links are never rewritten) and not before the transaction that
-- they name; a savepoint makes xmin the later of both. Others were put in: they stay what verification says they are.
create function audit.sweepable() returns setof audit.audit_log
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  with known as (
    select pg_snapshot_xmax(h.snapshot)::text::bigint as xmax,
           array(select x::text::bigint from pg_snapshot_xip(h.snapshot) x) as running,
           coalesce((select audit.full_xid(l.xmin) from audit.chain_link l order by l.seq limit 1), audit.full_xid(h.xmin)) as restored
      from audit.chain_head h
  )
  select e.* from audit.audit_log e, known k
   where not exists (select from audit.chain_link l where l.event_id = e.id)
     and (e.txid >= k.xmax or e.txid = any (k.running) or (e.txid >= k.restored and audit.full_xid(e.xmin) >= e.txid))
  union all
  select e.* from audit.audit_log_late e, known k
   where not exists (select from audit.chain_link l where l.event_id = e.id)
     and (e.txid >= k.xmax or e.txid = any (k.running) or (e.txid >= k.restored and audit.full_xid(e.xmin) >= e.txid))
$$;

-- Links up to so many of them, in the order of sealing, and computes everything itself: leaves, chain hashes, frontier.
-- With fewer than asked for the head gets the snapshot of now, and the sealer goes on. SQLSTATE AK020 when the head is
-- elsewhere, AK028 when transaction ids have not gone back. Gives how many were linked.
create function audit.sweep_links(expected_size bigint, expected_hash bytea, max_links integer) returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  head audit.chain_head;
  event audit.audit_log;
  now_snapshot constant pg_snapshot := pg_current_snapshot();
  known_xmax bigint;
  linked integer := 0;
  hash bytea := expected_hash;
  leaf bytea;
  leaves bytea := '';
  last_txid bigint := 0;
begin
  select * into head from audit.chain_head h for update;
  if head.size <> expected_size or head.chain_hash <> expected_hash then
    raise exception 'the head of the chain has moved' using errcode = 'AK020';
  end if;
  known_xmax := pg_snapshot_xmax(coalesce(head.target_snapshot, head.snapshot))::text::bigint;
  if known_xmax is null or known_xmax <= pg_snapshot_xmax(now_snapshot)::text::bigint then
    raise exception 'transaction ids have not gone back' using errcode = 'AK028';
  end if;
  for event in select s.* from audit.sweepable() s order by s.txid, s.event_timestamp, s.id limit max_links loop
    leaf := audit.event_leaf(event);
    hash := sha256('\x02'::bytea || hash || int8send(expected_size + linked) || leaf);
    insert into audit.chain_link (seq, event_timestamp, event_id, txid, leaf, chain_hash, actor_commitment, payload_commitment)
    values (expected_size + linked, event.event_timestamp, event.id, event.txid, leaf, hash,
      audit.event_commitment(event, 'actor'), audit.event_commitment(event, 'payload'));
    leaves := leaves || leaf;
    last_txid := event.txid;
    linked := linked + 1;
  end loop;
  update audit.chain_head h
     set size = expected_size + linked, chain_hash = hash, sealed_at = clock_timestamp(),
         frontier = audit.grow_frontier(expected_size, head.frontier, leaves),
         swept_until = greatest(h.swept_until, known_xmax, last_txid + 1)
   where h.singleton;
  if linked < max_links then
    update audit.chain_head h
       set snapshot = now_snapshot, target_snapshot = null, cursor_txid = null, cursor_timestamp = null, cursor_id = null
     where h.singleton;
  end if;
  return linked;
end
$$;

grant execute on function audit.sweepable(), audit.sweep_links(bigint, bytea, integer) to auditkeep_engine;
