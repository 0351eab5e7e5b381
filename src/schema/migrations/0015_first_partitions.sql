-- The first tombstones and partitions: everything before the current month (day, where partitions are daily) is a
-- tombstone; from there to the premake horizon rows have a home before the first job runs. Breaks nothing.
do $$
declare
  branch retention.branch;
  parent regclass;
  starts timestamp;
  count_ahead integer;
begin
  for branch in select * from retention.branch loop
    parent := (select format('%I.%I', f.schema_name, branch.hot_parent)::regclass
                 from retention.family f where f.table_name = branch.table_name);
    count_ahead := case branch.step when '1 day' then 7 else 3 end;
    starts := date_trunc(case branch.step when '1 day' then 'day' else 'month' end, now() at time zone 'UTC');
    perform retention.add_tombstone(branch, parent, '-infinity', starts at time zone 'UTC');
    for i in 0 .. count_ahead loop
      perform retention.create_partition(branch.table_name, (starts + i * branch.step) at time zone 'UTC',
        (starts + (i + 1) * branch.step) at time zone 'UTC', branch.category);
    end loop;
  end loop;
end
$$;
