-- A DBA's request of archival is done although units of it hang below the hot table again for a while, and says how many
-- partitions have left since it was made, not how many the last run moved. Breaks nothing: the row keeps its columns.

create function retention.finish_archive_request(p_plan uuid) returns void
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  update retention.archive_request r set done_at = clock_timestamp(),
      units = (select count(*) from retention.unit u
                where u.table_name = r.table_name and u.generation = 1 and u.upper_bound <= r.before and u.archived_at >= r.requested_at)
   where r.plan_id = p_plan and r.done_at is null
     and not exists (select from retention.unit u where u.table_name = r.table_name and u.state in ('hot', 'sealed', 'failed')
                        and u.upper_bound <= r.before and not (u.state = 'sealed' and coalesce(u.expires_at > retention.clock(), false)))
$$;
grant execute on function retention.finish_archive_request(uuid) to auditkeep_engine;
drop function retention.finish_archive_request(uuid, integer);
