-- A checkpoint of the right tree under a signature that is not the log's was taken for a copy of the real one, which then
-- was never kept. Now what is kept must be the same note to the byte; Ed25519 signs a text in one way only, so the signer
-- itself never offers another. Breaks nothing: the function takes what it took, but for such a second note.

create or replace function audit.publish_checkpoint(log_origin text, tree_size bigint, root_hash bytea, signed_note text)
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
                                and c.root = root_hash and c.note = signed_note) then
    raise exception 'another checkpoint of size % exists', tree_size using errcode = 'AK022';
  end if;
end
$$;
