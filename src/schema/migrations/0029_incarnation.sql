-- A new incarnation of the chain: after a restore the chain goes on under another origin. Only the number is moved here;
-- who decided so is a signed event of the chain, and verification demands it. Breaks nothing: a new function only.

create function audit.begin_incarnation(expected integer) returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  update audit.chain_head h set incarnation = expected + 1 where h.incarnation = expected;
  if not found then
    raise exception 'the chain is not in incarnation %', expected using errcode = 'AK020';
  end if;
  return expected + 1;
end
$$;
grant execute on function audit.begin_incarnation(integer) to auditkeep_engine;
