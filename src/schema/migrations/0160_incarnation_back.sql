-- The number of the incarnation is one statement as the engine moves it forward. What somebody wrote into it must not become
-- the log's number for ever, so the command of the two officers sets it to the one after the last that was signed, also
-- where that is less. Who lowers it otherwise gains nothing: the signer's store keeps the number, sealing refuses a smaller
-- one and every verification names it. Breaks nothing: the head accepts one more change, by a new function only.

create or replace function audit.refuse_link_change() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if tg_table_name = 'chain_head' and tg_op = 'UPDATE' then
    if new.size >= old.size and new.incarnation >= old.incarnation then
      return new;
    end if;
    -- By audit.set_incarnation alone: the number, and nothing else.
    if current_setting('auditkeep.incarnation', true) = new.incarnation::text
       and to_jsonb(new) - 'incarnation' = to_jsonb(old) - 'incarnation' then
      return new;
    end if;
  end if;
  raise exception '% on %.% is refused: the chain only grows', tg_op, tg_table_schema, tg_table_name
    using errcode = 'AK100', hint = 'a restored database goes on as a new incarnation';
end
$$;

create function audit.set_incarnation(expected integer, wanted integer) returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform set_config('auditkeep.incarnation', wanted::text, true);
  update audit.chain_head h set incarnation = wanted where h.incarnation = expected;
  if not found then
    raise exception 'the chain is not in incarnation %', expected using errcode = 'AK020';
  end if;
  perform set_config('auditkeep.incarnation', '', true);
  return wanted;
end
$$;
revoke execute on function audit.set_incarnation(integer, integer) from public;
grant execute on function audit.set_incarnation(integer, integer) to auditkeep_engine;
