/** What the seed's archive_old_audit_data() does to the events, on plain tables of its own: INSERT..SELECT, then DELETE. */

/** Schema seed with audit_log and audit_log_archive of the same columns, and the function. */
export const SEED_SCHEMA = `
  create schema seed;
  create table seed.audit_log (like audit.audit_log including all);
  create table seed.audit_log_archive (like audit.audit_log including all);
  create function seed.archive_old_audit_data(p_cutoff timestamptz) returns void language plpgsql as $$
  begin
    insert into seed.audit_log_archive select * from seed.audit_log where event_timestamp < p_cutoff;
    delete from seed.audit_log where event_timestamp < p_cutoff;
  end
  $$`;

/** Its two statements one by one, for whoever wants to stand between them. */
export const SEED_COPY = 'insert into seed.audit_log_archive select * from seed.audit_log where event_timestamp < $1';
export const SEED_DELETE = 'delete from seed.audit_log where event_timestamp < $1';
