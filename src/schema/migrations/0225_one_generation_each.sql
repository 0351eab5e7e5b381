-- Generations of one range are given out one after another: two that asked at once got the same, and the slower one ended
-- with a duplicate key that nobody explains. Now it waits as for any lock: briefly, then it is tried again. Breaks nothing:
-- the function keeps its name, arguments and result; nothing reads in it that was not committed.

create or replace function retention.next_generation(p_branch retention.branch, p_lower timestamptz) returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
set lock_timeout = '100ms'
as $$
begin
  -- The first unit of the range stands for all of them. Where there is none yet, collect_late is the only one that asks, and
  -- it has the structure lock to itself.
  perform from retention.unit u
    where u.table_name = p_branch.table_name and u.category = p_branch.category and u.lower_bound = p_lower
    order by u.generation, u.unit_id limit 1 for no key update;
  return (select 1 + greatest(1, max(u.generation)) from retention.unit u
           where u.table_name = p_branch.table_name and u.category = p_branch.category and u.lower_bound = p_lower);
end
$$;
