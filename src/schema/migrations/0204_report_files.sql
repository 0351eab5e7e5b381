-- Files of a report beside its model: evidence/CONTROL/exceptions.csv with all exceptions of a control and evidence/CONTROL/sample.csv
-- with its sample. Each is a row of envelopes, in order, so that a million exceptions are stored with the report and in its
-- transaction, and are never held in memory. The model has the hash of each. Breaks nothing: a new table and functions.

create table compliance.report_file (
  report_id uuid not null references audit.compliance_reports (id),
  path text not null check (path ~ '^evidence/[a-z]{2}-[0-9]{2}/(exceptions|sample)[.]csv$'),
  chunk integer not null check (chunk >= 0),
  -- Envelope v1; its context is this table, the column, and `report_id/path/chunk`.
  envelope text not null check (envelope like 'ak1.%'),
  primary key (report_id, path, chunk)
);
create trigger append_only before update or delete on compliance.report_file
  for each row execute function compliance.refuse_change();
create trigger no_truncate before truncate on compliance.report_file
  for each statement execute function compliance.refuse_change();
alter table compliance.report_file enable always trigger append_only;
alter table compliance.report_file enable always trigger no_truncate;
grant select on compliance.report_file to auditkeep_engine;

-- Whether a row with this xmin, which the caller can see, is of the caller's own transaction: what is visible and still in progress
-- is ours, also when a savepoint gave it an id of its own. The full id is the one nearest to ours with these 32 bits.
create function compliance.is_own_row(p_xmin xid) returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select pg_xact_status((own.id + (p_xmin::text::bigint - own.id % 4294967296 + 6442450944) % 4294967296 - 2147483648)::text::xid8)
           is not distinct from 'in progress'
    from (select pg_current_xact_id()::text::bigint as id) own
$$;

-- Stores the next chunks of a file, in the transaction that inserts the report, so that nobody adds to a report later.
-- SQLSTATE AK001 unknown report, AK002 not in its transaction or out of order.
create function compliance.add_report_file(p_report uuid, p_path text, p_first integer, p_envelopes text[]) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  owner_row xid;
begin
  select r.xmin into owner_row from audit.compliance_reports r where r.id = p_report;
  if owner_row is null then
    raise exception 'no report has the id %', p_report using errcode = 'AK001';
  end if;
  if not compliance.is_own_row(owner_row)
     or p_first <> (select count(*) from compliance.report_file f where f.report_id = p_report and f.path = p_path) then
    raise exception 'files are stored with their report only' using errcode = 'AK002';
  end if;
  insert into compliance.report_file (report_id, path, chunk, envelope)
  select p_report, p_path, p_first + given.place - 1, given.envelope
    from unnest(p_envelopes) with ordinality as given (envelope, place);
end
$$;

revoke execute on function compliance.is_own_row(xid) from public;
revoke execute on function compliance.add_report_file(uuid, text, integer, text[]) from public;
grant execute on function compliance.add_report_file(uuid, text, integer, text[]) to auditkeep_engine;
