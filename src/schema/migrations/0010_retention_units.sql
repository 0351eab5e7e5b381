-- The catalogue of what is under retention: families of partitioned tables, their branches, and the units (one
-- partition generation each) with the states they go through. Breaks nothing: new tables only.

create table retention.family (
  table_name      text primary key,
  schema_name     text not null,
  time_column     text not null,
  category_column text
);
comment on table retention.family is 'The partitioned tables under retention. Definer functions act on these and on no other table.';

-- A branch is what RANGE partitions hang on: the table itself, or one list value of it.
create table retention.branch (
  table_name     text not null references retention.family,
  category       text not null default '',
  hot_parent     text not null,
  archive_parent text not null,
  step           interval not null check (step in ('1 day', '1 month')),
  primary key (table_name, category)
);
comment on column retention.branch.step is 'The calendar step of one partition; none may be made wider.';
comment on column retention.branch.category is 'The list value (retention_category, aggregation_period); empty where the table has none.';

create table retention.unit_edge (
  from_state      text not null,
  to_state        text not null,
  blocked_by_hold boolean not null,
  primary key (from_state, to_state)
);
comment on table retention.unit_edge is 'The legal transitions of a unit; shared by the trigger on retention.unit, the code and the crash tests.';

insert into retention.unit_edge (from_state, to_state, blocked_by_hold) values
  ('hot',            'sealed',         false),
  ('sealed',         'archived',       true),
  ('archived',       'copied',         false),
  ('copied',         'verified',       false),
  ('verified',       'locked',         false),
  ('locked',         'committed',      false),
  ('committed',      'quarantined',    true),
  ('quarantined',    'dropped',        true),
  ('archived',       'purge_due',      true),
  ('dropped',        'purge_due',      true),
  ('purge_due',      'purge_approved', true),
  ('purge_approved', 'purging',        true),
  ('purging',        'purged',         false),
  ('restored',       'quarantined',    false);

-- An edge that fails leads to failed and, on retry, back to where the edge started (retention.unit.failed_from).
insert into retention.unit_edge (from_state, to_state, blocked_by_hold)
select distinct from_state, 'failed', false from retention.unit_edge
union all
select distinct 'failed', from_state, false from retention.unit_edge;

create table retention.unit (
  unit_id       bigint generated always as identity primary key,
  table_name    text not null,
  category      text not null default '',
  lower_bound   timestamptz not null,
  upper_bound   timestamptz not null,
  generation    integer not null default 1 check (generation >= 1),
  schema_name   text not null,
  relation_name text not null,
  state         text not null check (state in ('hot', 'sealed', 'archived', 'copied', 'verified', 'locked', 'committed',
                  'quarantined', 'dropped', 'purge_due', 'purge_approved', 'purging', 'purged', 'restored', 'failed')),
  failed_from   text,
  held          boolean not null default false,
  row_count     bigint check (row_count >= 0),
  created_at    timestamptz not null default clock_timestamp(),
  diverted_at   timestamptz,
  sealed_at     timestamptz,
  archived_at   timestamptz,
  changed_at    timestamptz not null default clock_timestamp(),
  foreign key (table_name, category) references retention.branch,
  unique (table_name, category, lower_bound, generation),
  unique (schema_name, relation_name),
  check (lower_bound < upper_bound),
  check ((state = 'failed') = (failed_from is not null))
);
comment on table retention.unit is 'One partition generation under retention. Changed by the definer functions of schema retention only.';
comment on column retention.unit.lower_bound is 'Inclusive; -infinity stands for MINVALUE of an adopted partition.';
comment on column retention.unit.row_count is 'Rows counted when the unit was sealed; null while it is hot.';

create function retention.check_unit_change() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  edge retention.unit_edge;
begin
  if tg_op = 'DELETE' then
    raise exception 'unit % cannot be deleted: its row is its history', old.unit_id using errcode = 'AK104';
  end if;
  if tg_op = 'INSERT' then
    if new.state not in ('hot', 'restored') then
      raise exception 'a unit begins hot or restored, not %', new.state using errcode = 'AK104';
    end if;
    return new;
  end if;
  if (new.unit_id, new.table_name, new.category, new.lower_bound, new.upper_bound, new.generation, new.relation_name)
     is distinct from
     (old.unit_id, old.table_name, old.category, old.lower_bound, old.upper_bound, old.generation, old.relation_name) then
    raise exception 'the identity of unit % cannot change', old.unit_id using errcode = 'AK104';
  end if;
  if new.state <> old.state then
    select * into edge from retention.unit_edge e where e.from_state = old.state and e.to_state = new.state;
    if not found or (old.state = 'failed' and new.state <> old.failed_from)
       or (new.state = 'failed' and new.failed_from <> old.state) then
      raise exception 'unit % cannot go from % to %', old.unit_id, old.state, new.state using errcode = 'AK104';
    end if;
    if edge.blocked_by_hold and old.held then
      raise exception 'unit % is under a legal hold and cannot go from % to %', old.unit_id, old.state, new.state
        using errcode = 'AK105';
    end if;
  end if;
  new.changed_at := clock_timestamp();
  return new;
end
$$;
create trigger ak_unit_change before insert or update or delete on retention.unit
  for each row execute function retention.check_unit_change();

grant select on retention.family, retention.branch, retention.unit_edge, retention.unit to auditkeep_engine, auditkeep_view;
grant usage on schema retention, audit, security_internal to auditkeep_view;
