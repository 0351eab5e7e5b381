-- A database that was restored to before rows came, or that collected late ones otherwise since, never holds again what a
-- certificate of the journal says, and purge run was refused for good. Who restored the database leaves such a destruction,
-- with a reason: what lies there is judged by new plans alone. It counts only while nothing lies there that is what was
-- destroyed: that is destroyed again. Breaks nothing: new objects only.

create table retention.unreplayed (
  certificate_id uuid primary key,
  document    text not null,
  sha256      char(64) not null check (sha256 = encode(sha256(convert_to(document, 'UTF8')), 'hex')),
  signature   text not null check (btrim(signature) <> ''),
  reason      text not null check (btrim(reason) <> ''),
  login       text not null default session_user,
  recorded_at timestamptz not null default retention.clock(),
  check (certificate_id = (document::jsonb ->> 'certificate_id')::uuid)
);
comment on table retention.unreplayed is 'Certified destructions that this database, restored to before, does not do again: what lies there is something else.';
create trigger append_only before update or delete on retention.unreplayed
  for each row execute function compliance.refuse_change();
create trigger no_truncate before truncate on retention.unreplayed
  for each statement execute function compliance.refuse_change();
alter table retention.unreplayed enable always trigger append_only, enable always trigger no_truncate;
grant select on retention.unreplayed to auditkeep_engine, auditkeep_view;

-- What lies in the range of a certificate and is not destroyed: units, and late rows that are in no unit yet (state late).
create function retention.certified_remains(p_said jsonb) returns table (relation text, state text, row_count bigint)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
  family retention.family;
  said_from timestamptz := coalesce((p_said #>> '{unit,from}')::timestamptz, '-infinity');
  said_to timestamptz := (p_said #>> '{unit,to}')::timestamptz;
  said_category text := coalesce(p_said #>> '{unit,category}', '');
  late bigint;
begin
  select * into strict family from retention.family f where f.table_name = p_said #>> '{unit,table}';
  return query select u.relation_name, u.state, u.row_count from retention.unit u
    where u.table_name = family.table_name and u.category = said_category
      and u.lower_bound < said_to and u.upper_bound > said_from
      and u.state not in ('purged', 'split', 'restored', 'expired')
    order by u.lower_bound, u.generation;
  execute format('select count(*) from only %1$I.%2$I l where l.%3$I >= $1 and l.%3$I < $2', family.schema_name,
      family.table_name || '_late', family.time_column)
    || case when family.category_column is null then '' else format(' and l.%I = $3', family.category_column) end
    into late using said_from, said_to, said_category;
  if late > 0 then
    return query select family.table_name || '_late', 'late', late;
  end if;
end
$$;
grant execute on function retention.certified_remains(jsonb) to auditkeep_engine;

-- The owner's alone, as a replay is: whether the certificate is signed only the code can check.
create function retention.leave_destruction(p_document text, p_signature text, p_reason text) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set lock_timeout = '100ms'
as $$
declare
  said jsonb := p_document::jsonb;
  unsettled text;
begin
  perform retention.take_structure();
  perform retention.lock_disposal(said #>> '{unit,table}');
  if exists (select from retention.certified_place(said) p where p.same) then
    raise exception 'what certificate % is of is there, or destroyed', said ->> 'certificate_id' using errcode = 'AK104';
  end if;
  -- Rows that are in no archive yet may turn out to be it.
  select string_agg(r.relation || ' (' || r.state || ')', ', ') into unsettled from retention.certified_remains(said) r
   where r.state in ('late', 'hot', 'sealed', 'failed');
  if unsettled is not null then
    raise exception 'what lies in its range is not archived yet: %', unsettled using errcode = 'AK108';
  end if;
  insert into retention.unreplayed (certificate_id, document, sha256, signature, reason)
  values ((said ->> 'certificate_id')::uuid, p_document, encode(sha256(convert_to(p_document, 'UTF8')), 'hex'), p_signature, p_reason);
end
$$;

-- Whether a destruction was left, and still may be: nothing lies there that is what was destroyed.
create function retention.is_left(p_said jsonb) returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select exists (select from retention.unreplayed r where r.certificate_id = (p_said ->> 'certificate_id')::uuid
                    and r.document::jsonb = p_said)
     and not exists (select from retention.certified_place(p_said) p where p.same)
$$;
grant execute on function retention.is_left(jsonb) to auditkeep_engine;
