-- A transaction writes an event once, late or not. The late table has no key, since a differing double of another
-- transaction is kept and reported; but two rows of one transaction, time and id have no order in the chain, so that any
-- login which writes events could stop the sealer for good. The second one is now refused (SQLSTATE 23505), as the key of
-- the hot table refuses it. Breaks nothing: where such rows lie already, the sealer stands still, and the warning names it.
do $$
begin
  create unique index audit_log_late_once on audit.audit_log_late (event_timestamp, id, txid);
exception when unique_violation then
  raise warning 'audit.audit_log_late holds an event twice under one transaction: it cannot be sealed, see auditkeep doctor';
end
$$;
