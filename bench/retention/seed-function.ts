/** The seed's archive_old_audit_data() as it is written there, on tables of a schema of its own. */

/** Schema seed: the seed's tables with the columns, checks and indexes of ours, and its function. */
export const SEED_SCHEMA = `
  create schema seed;
  create table seed.audit_log (like audit.audit_log including all);
  create table seed.audit_log_archive (like audit.audit_log including all);
  create table seed.security_events_log (like audit.security_events_log including all);
  create function seed.archive_old_audit_data() returns void language plpgsql as $$
  declare
    cutoff_date timestamp with time zone;
  begin
    cutoff_date := now() - interval '2 years';
    insert into seed.audit_log_archive select * from seed.audit_log where event_timestamp < cutoff_date;
    delete from seed.audit_log where event_timestamp < cutoff_date;
    cutoff_date := now() - interval '7 years';
    update seed.security_events_log set archived = true where event_timestamp < cutoff_date and archived = false;
    raise notice 'Data archival completed at %', now();
  end
  $$`;

/** One call of it. */
export const SEED_CALL = 'select seed.archive_old_audit_data()';
