-- The first tombstones and partitions: everything before the current month (day, where partitions are daily) is a
-- tombstone; from there to the premake horizon rows have a home before the first job runs. Breaks nothing.
do $$
declare
  branch retention.branch;
  parent regclass;
  step interval;
  starts timestamp;
  count_ahead integer;
begin
  for branch in select * from retention.branch loop
    parent := (select format('%I.%I', f.schema_name, branch.hot_parent)::regclass
                 from retention.family f where f.table_name = branch.table_name);
    if branch.table_name = 'distributed_traces' or branch.category = 'minute' then
      step := interval '1 day'; count_ahead := 7; starts := date_trunc('day', now() at time zone 'UTC');
    else
      step := interval '1 month'; count_ahead := 3; starts := date_trunc('month', now() at time zone 'UTC');
    end if;
    perform retention.add_tombstone(branch, parent, '-infinity', starts at time zone 'UTC');
    for i in 0 .. count_ahead loop
      perform retention.create_partition(branch.table_name, (starts + i * step) at time zone 'UTC',
        (starts + (i + 1) * step) at time zone 'UTC', branch.category);
    end loop;
  end loop;
end
$$;
