-- LOCK TABLE on a partitioned table locks its partitions too: a vacuum of any leaf, which can take hours, stopped every
-- creation, adoption, repair and merge of the branch. What these functions have to exclude is each other, for which the
-- parent alone is enough. Breaks nothing: the same functions, with ONLY.
do $$
declare
  body record;
begin
  for body in
    select pg_get_functiondef(p.oid) as definition
      from pg_proc p join pg_namespace n on n.oid = p.pronamespace
     where n.nspname = 'retention' and p.prosrc like '%lock table %%s in share update exclusive mode%'
  loop
    execute replace(body.definition, 'lock table %s in share update exclusive mode', 'lock table only %s in share update exclusive mode');
  end loop;
end
$$;
