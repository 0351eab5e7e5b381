-- The audit chain: links, head, tiles, checkpoints and erasure records, born in their final shape. A link is never
-- rewritten; the head moves only through audit.append_links(), by compare-and-set. Breaks nothing: new tables only.

create table audit.chain_link (
  seq                bigint      not null check (seq >= 0),
  event_timestamp    timestamptz not null,
  event_id           uuid        not null,
  txid               bigint      not null,
  leaf               bytea       not null check (octet_length(leaf) = 32),
  chain_hash         bytea       not null check (octet_length(chain_hash) = 32),
  actor_commitment   bytea       check (octet_length(actor_commitment) = 32),
  payload_commitment bytea       check (octet_length(payload_commitment) = 32),
  primary key (seq)
) partition by range (seq);
create index chain_link_event on audit.chain_link (event_id);
comment on table audit.chain_link is 'One row per sealed event: its place, leaf and chain hash (docs/spec/audit-event-v1.md). Never rewritten.';
comment on column audit.chain_link.seq is 'Dense, 0-based: the index of the leaf in the Merkle tree.';
comment on column audit.chain_link.actor_commitment is 'As hashed into the leaf, so that a broken or erased group can be told from a changed event; null when the event had no actor group.';

create table audit.chain_head (
  singleton        boolean     primary key default true check (singleton),
  size             bigint      not null default 0 check (size >= 0),
  chain_hash       bytea       not null default decode(repeat('00', 32), 'hex') check (octet_length(chain_hash) = 32),
  frontier         bytea       not null default ''::bytea check (octet_length(frontier) % 32 = 0),
  snapshot         pg_snapshot,
  target_snapshot  pg_snapshot,
  cursor_txid      bigint,
  cursor_timestamp timestamptz,
  cursor_id        uuid,
  incarnation      integer     not null default 1 check (incarnation >= 1),
  sealed_at        timestamptz not null default clock_timestamp(),
  check ((target_snapshot is null) = (cursor_txid is null)
     and (cursor_txid is null) = (cursor_timestamp is null) and (cursor_txid is null) = (cursor_id is null))
);
insert into audit.chain_head default values;
comment on column audit.chain_head.snapshot is 'Everything visible in it is sealed; the next candidates are rows whose txid was not.';
comment on column audit.chain_head.target_snapshot is 'Set while a batch was cut short: what is visible in it is sealed up to the cursor.';
comment on column audit.chain_head.sealed_at is 'When the sealer last came to its end, whether or not it found anything.';

create table audit.tile (
  level  smallint not null check (level >= 1),
  index  bigint   not null check (index >= 0),
  hashes bytea    not null check (octet_length(hashes) = 8192),
  primary key (level, index)
);
comment on table audit.tile is 'Full tiles of level 1 and up (C2SP tlog-tiles); level 0 is cut from chain_link.';

create table audit.checkpoint (
  origin    text        not null,
  size      bigint      not null check (size > 0),
  root      bytea       not null check (octet_length(root) = 32),
  note      text        not null,
  signed_at timestamptz not null default clock_timestamp(),
  primary key (origin, size)
);
comment on table audit.checkpoint is 'Signed tree heads (docs/spec/checkpoint-v1.md). A copy: the signer proves growth against its own store, not this table.';

create table audit.erasure (
  event_id        uuid        not null,
  event_group     text        not null check (event_group in ('actor', 'payload')),
  commitment      bytea       not null check (octet_length(commitment) = 32),
  request_id      uuid        not null,
  record_event_id uuid,
  erased_at       timestamptz not null default clock_timestamp(),
  primary key (event_id, event_group)
);
comment on table audit.erasure is 'Groups of events that were erased, with their commitments, so that the leaf can still be recomputed.';

create function audit.refuse_link_change() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if tg_table_name = 'chain_head' and tg_op = 'UPDATE' then
    if new.size >= old.size and new.incarnation >= old.incarnation then
      return new;
    end if;
  end if;
  raise exception '% on %.% is refused: the chain only grows', tg_op, tg_table_schema, tg_table_name
    using errcode = 'AK100', hint = 'a restored database goes on as a new incarnation';
end
$$;

-- Every table of the chain carries its own triggers: TRUNCATE triggers are not cloned from a parent.
create function audit.protect_chain_table(table_name text) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  execute format('create trigger ak_child_immutable before update or delete on audit.%I
                    for each row execute function audit.refuse_link_change()', table_name);
  execute format('create trigger ak_child_truncate before truncate on audit.%I
                    for each statement execute function audit.refuse_link_change()', table_name);
  execute format('alter table audit.%I enable always trigger ak_child_immutable', table_name);
  execute format('alter table audit.%I enable always trigger ak_child_truncate', table_name);
end
$$;

-- Makes the partitions of chain_link up to two beyond the head; the number that were made. ATTACH, not CREATE ...
-- PARTITION OF: that would take an ACCESS EXCLUSIVE lock on the parent and wait behind every verification.
create function audit.extend_chain_links() returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  rows_each constant bigint := 5000000;
  made integer := 0;
  first bigint;
  name text;
begin
  for first in
    select p * rows_each from generate_series(0, (select h.size from audit.chain_head h) / rows_each + 1) p
  loop
    name := 'chain_link_p' || lpad((first / rows_each)::text, 6, '0');
    continue when exists (select from pg_class c where c.relname = name and c.relnamespace = 'audit'::regnamespace);
    execute format('create table audit.%I (like audit.chain_link including all)', name);
    execute format('alter table audit.%I add constraint seq_in_bounds check (seq >= %s and seq < %s)',
      name, first, first + rows_each);
    perform audit.protect_chain_table(name);
    execute format('alter table audit.chain_link attach partition audit.%I for values from (%s) to (%s)',
      name, first, first + rows_each);
    made := made + 1;
  end loop;
  return made;
end
$$;
select audit.extend_chain_links();
select audit.protect_chain_table(t) from unnest(array['chain_head', 'tile', 'checkpoint', 'erasure']) t;

-- What a snapshot shows, as numbers: everything below xmax but the running ones.
create function audit.snapshot_within(inner_snapshot pg_snapshot, outer_snapshot pg_snapshot) returns boolean
language sql immutable strict
set search_path = pg_catalog, pg_temp
return pg_snapshot_xmax(inner_snapshot) <= pg_snapshot_xmax(outer_snapshot)
   and pg_snapshot_xmin(inner_snapshot) <= pg_snapshot_xmin(outer_snapshot)
   and not exists (select from pg_snapshot_xip(outer_snapshot) x where pg_visible_in_snapshot(x, inner_snapshot));
comment on function audit.snapshot_within(pg_snapshot, pg_snapshot) is 'Whether nothing is visible in the inner snapshot that is not visible in the outer one.';

-- The frontier (see audit.chain_head) of a tree of old_size leaves after further leaves, level by level.
create function audit.grow_frontier(old_size bigint, old_frontier bytea, leaves bytea) returns bytea
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  nodes bytea := leaves;
  size bigint := old_size;
  remaining bytea := old_frontier;
  grown bytea := '';
  pairs integer;
begin
  -- The last node of the remaining frontier is that of the lowest level whose bit is set in size.
  while octet_length(nodes) > 0 or size > 0 loop
    if size % 2 = 1 then
      nodes := substring(remaining, octet_length(remaining) - 31, 32) || nodes;
      remaining := substring(remaining, 1, octet_length(remaining) - 32);
    end if;
    pairs := octet_length(nodes) / 64;
    if octet_length(nodes) % 64 = 32 then
      grown := substring(nodes, pairs * 64 + 1, 32) || grown;
    end if;
    select coalesce(string_agg(sha256('\x01'::bytea || substring(nodes, i * 64 + 1, 64)), ''::bytea order by i), '')
      into nodes from generate_series(0, pairs - 1) i;
    size := size / 2;
  end loop;
  return grown;
end
$$;

-- Refuses a move of the head that the sealer never makes (SQLSTATE AK027): a snapshot that goes back, lies ahead of now or
-- shows what still runs; a cursor that does not advance to the last link; links that are not, in order, stored rows of
-- the round and beyond the cursor. What is linked already lies below the cursor or the snapshot, so nothing is doubled.
create function audit.check_append(
  head audit.chain_head, event_timestamps timestamptz[], event_ids uuid[], txids bigint[],
  new_snapshot pg_snapshot, new_target pg_snapshot,
  new_cursor_txid bigint, new_cursor_timestamp timestamptz, new_cursor_id uuid
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
-- Stored rows are probed by key, whatever the planner thinks of 10,000 probes.
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
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
    when exists (
      select from (
        select e.event_timestamp, e.event_id, e.txid,
               lag(e.txid, 1, head.cursor_txid) over w as before_txid,
               lag(e.event_timestamp, 1, head.cursor_timestamp) over w as before_timestamp,
               lag(e.event_id, 1, head.cursor_id) over w as before_id
          from unnest(event_timestamps, event_ids, txids) with ordinality as e(event_timestamp, event_id, txid, i)
        window w as (order by e.i)) l
       where (l.txid, l.event_timestamp, l.event_id) <= (l.before_txid, l.before_timestamp, l.before_id)
          or l.txid >= xmax or l.txid = any (running)
          or (l.txid < sealed_xmax and l.txid <> all (sealed_running))) then 'links out of order or of another round'
    when exists (
      select from unnest(event_timestamps, event_ids, txids) as e(event_timestamp, event_id, txid)
       where not exists (select from audit.audit_log h where h.event_timestamp = e.event_timestamp
                            and h.id = e.event_id and h.txid = e.txid)
         and not exists (select from audit.audit_log_late h where h.event_timestamp = e.event_timestamp
                            and h.id = e.event_id and h.txid = e.txid)) then 'a link to no stored event'
  end;
  if problem is not null then
    raise exception 'the move of the head is refused: %', problem using errcode = 'AK027';
  end if;
end
$$;

-- Appends links and moves the head, if the head still is where the caller read it (SQLSTATE AK020 otherwise). Leaves,
-- chain hashes and commitments come packed, 32 and 64 bytes a link; 32 zero bytes stand for an absent commitment. The
-- chain hashes and the frontier are computed again here and every link must be of a stored event that the round may seal,
-- so that even the engine by raw SQL can neither append a link that does not fit nor lead the next rounds astray.
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
  absent constant bytea := decode(repeat('00', 32), 'hex');
  head audit.chain_head;
begin
  select * into head from audit.chain_head h for update;
  if head.size <> expected_size or head.chain_hash <> expected_hash then
    raise exception 'the head of the chain has moved' using errcode = 'AK020';
  end if;
  if appended > 10000 or cardinality(event_timestamps) <> appended or cardinality(txids) <> appended
     or octet_length(leaves) <> 32 * appended or octet_length(chain_hashes) <> 32 * appended
     or octet_length(commitments) <> 64 * appended
     or octet_length(new_frontier) <> 32 * length(replace((expected_size + appended)::bit(64)::text, '0', '')) then
    raise exception 'the links are not of one length' using errcode = 'AK021';
  end if;
  if exists (
    select from generate_series(1, appended) i
     where substring(chain_hashes, (i - 1) * 32 + 1, 32) <> sha256(
       '\x02'::bytea || case i when 1 then expected_hash else substring(chain_hashes, (i - 2) * 32 + 1, 32) end
       || int8send(expected_size + i - 1) || substring(leaves, (i - 1) * 32 + 1, 32))
  ) then
    raise exception 'a chain hash does not follow from its predecessor' using errcode = 'AK021';
  end if;
  if new_frontier <> audit.grow_frontier(expected_size, head.frontier, leaves) then
    raise exception 'the frontier does not grow out of the one before' using errcode = 'AK021';
  end if;
  perform audit.check_append(head, event_timestamps, event_ids, txids, new_snapshot, new_target,
    new_cursor_txid, new_cursor_timestamp, new_cursor_id);
  update audit.chain_head h
     set size = expected_size + appended,
         chain_hash = case appended when 0 then h.chain_hash
                      else substring(chain_hashes, (appended - 1) * 32 + 1, 32) end,
         frontier = new_frontier, snapshot = new_snapshot, target_snapshot = new_target, cursor_txid = new_cursor_txid,
         cursor_timestamp = new_cursor_timestamp, cursor_id = new_cursor_id, sealed_at = clock_timestamp()
   where h.singleton;
  insert into audit.chain_link (seq, event_timestamp, event_id, txid, leaf, chain_hash,
                                actor_commitment, payload_commitment)
  select expected_size + e.i - 1, e.event_timestamp, e.event_id, e.txid,
         substring(leaves, (e.i::int - 1) * 32 + 1, 32), substring(chain_hashes, (e.i::int - 1) * 32 + 1, 32),
         nullif(substring(commitments, (e.i::int - 1) * 64 + 1, 32), absent),
         nullif(substring(commitments, (e.i::int - 1) * 64 + 33, 32), absent)
    from unnest(event_timestamps, event_ids, txids) with ordinality as e(event_timestamp, event_id, txid, i);
  return expected_size + appended;
end
$$;

-- The root of the tree that a frontier stands for; null of the empty one.
create function audit.frontier_root(frontier bytea) returns bytea
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  root bytea;
begin
  for i in reverse octet_length(frontier) / 32 - 1 .. 0 loop
    root := case when root is null then substring(frontier, i * 32 + 1, 32)
            else sha256('\x01'::bytea || substring(frontier, i * 32 + 1, 32) || root) end;
  end loop;
  return root;
end
$$;

-- Keeps a signed checkpoint. The same one twice is no error; another one of the same size is (SQLSTATE AK022), and so is
-- a note that does not say what its row says, or is of a tree that the chain never had. Its signature is for readers
-- to check: no public key is in the database.
create function audit.publish_checkpoint(log_origin text, tree_size bigint, root_hash bytea, signed_note text)
returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if not starts_with(signed_note, format(e'%s\n%s\n%s\n', log_origin, tree_size, encode(root_hash, 'base64')))
     or not exists (select from audit.chain_head h
                     where tree_size < h.size or (tree_size = h.size and audit.frontier_root(h.frontier) = root_hash)) then
    raise exception 'the chain has no such tree of size %', tree_size using errcode = 'AK022';
  end if;
  insert into audit.checkpoint (origin, size, root, note) values (log_origin, tree_size, root_hash, signed_note)
  on conflict (origin, size) do nothing;
  if not found and not exists (select from audit.checkpoint c where c.origin = log_origin and c.size = tree_size
                                and c.root = root_hash) then
    raise exception 'another checkpoint of size % exists', tree_size using errcode = 'AK022';
  end if;
end
$$;

grant select on audit.chain_link, audit.chain_head, audit.tile, audit.checkpoint, audit.erasure
  to auditkeep_engine, auditkeep_view;
grant execute on function audit.extend_chain_links() to auditkeep_engine;
grant execute on function audit.append_links(bigint, bytea, timestamptz[], uuid[], bigint[], bytea, bytea, bytea, bytea,
  pg_snapshot, pg_snapshot, bigint, timestamptz, uuid) to auditkeep_engine;
grant execute on function audit.publish_checkpoint(text, bigint, bytea, text) to auditkeep_engine;
