-- A unit that is taken back before it left its archive is an event too, as every other edge. Words only: breaks nothing.
update retention.unit_edge set does = does || ', event'
 where (from_state, to_state) in (('purge_due', 'archived'), ('purge_approved', 'archived'));
