-- Stores full tiles of the tree (C2SP tlog-tiles), so that a proof reads a few tiles and not every leaf. The hashes come
-- from the engine, which checks them against the root of the head in the same transaction; whoever uses a tile checks
-- the root again. Breaks nothing: a new function only.

-- True when the tile was new. A tile that the tree has not filled is refused, and so is another one in its place.
create function audit.store_tile(tile_level smallint, tile_index bigint, tile_hashes bytea) returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if tile_level not between 1 and 6 or tile_index < 0 or octet_length(tile_hashes) <> 8192
     or (tile_index + 1)::numeric * 256::numeric ^ (tile_level + 1) > (select h.size from audit.chain_head h) then
    raise exception 'the tree has no full tile % of level %', tile_index, tile_level using errcode = 'AK023';
  end if;
  insert into audit.tile (level, index, hashes) values (tile_level, tile_index, tile_hashes)
  on conflict (level, index) do nothing;
  if found then
    return true;
  end if;
  if not exists (select from audit.tile t
                  where t.level = tile_level and t.index = tile_index and t.hashes = tile_hashes) then
    raise exception 'another tile % of level % exists', tile_index, tile_level using errcode = 'AK023';
  end if;
  return false;
end
$$;

grant execute on function audit.store_tile(smallint, bigint, bytea) to auditkeep_engine;
