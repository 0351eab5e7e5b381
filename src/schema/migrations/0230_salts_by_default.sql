-- An event's salts are the database's own by grants and defaults, not by a CHECK: every INSERT statement parsed and prepared
-- the two CHECKs over 16 columns anew, which was a tenth of its time (docs/decisions/0230). A salt still is 16 random bytes
-- and NULL only when its whole group is, for everybody but the owner: no role may give a salt (0012, 0017), the DEFAULT
-- draws it, and an UPDATE passes only if it empties one whole group (audit.refuse_change). The late table, into which the
-- divert trigger writes as the owner, keeps both CHECKs; verification names a row that breaks the promise. Brief: nothing is
-- scanned. Breaks nothing.

alter table audit.audit_log drop constraint audit_log_actor_salt_check, drop constraint audit_log_payload_salt_check;
alter table audit.audit_log_archive drop constraint audit_log_actor_salt_check, drop constraint audit_log_payload_salt_check;
alter table quarantine.audit_log drop constraint audit_log_actor_salt_check, drop constraint audit_log_payload_salt_check;

-- Tables that hang below none of them now, or hang by INHERIT, keep a CHECK as their own: partitions would be unlike their
-- family once they come back. Siblings and late units hang beside the late table and need theirs.
do $$
declare
  leaf record;
begin
  for leaf in
    select c.oid::regclass as relation, k.conname
      from retention.unit u
      join pg_class c on c.oid = to_regclass(format('%I.%I', u.schema_name, u.relation_name))
      join pg_constraint k on k.conrelid = c.oid
       and k.conname in ('audit_log_actor_salt_check', 'audit_log_payload_salt_check')
     where u.table_name = 'audit_log' and u.generation = 1
  loop
    execute format('alter table %s drop constraint %I', leaf.relation, leaf.conname);
  end loop;
end
$$;

comment on column audit.audit_log.actor_salt is 'Drawn by the database; NULL once the group is erased.';
comment on column audit.audit_log.payload_salt is 'Drawn by the database; NULL once the group is erased.';
