-- A restored copy is there or expired, never failed: destruction asks for the copies that are restored, and one that somebody
-- had taken to failed survived it. Those that are there already come back; housekeeping drops them on their day. And the
-- triggers on retention.unit fire for everybody, as those on the data do. Breaks nothing: no step ever failed a copy.

update retention.unit set state = 'restored', failed_from = null where state = 'failed' and failed_from = 'restored';
delete from retention.unit_edge where (from_state, to_state) in (('restored', 'failed'), ('failed', 'restored'));

alter table retention.unit
  enable always trigger ak_unit_change,
  enable always trigger ak_unit_copies,
  enable always trigger ak_unit_attached,
  enable always trigger ak_unit_rolled_up;
