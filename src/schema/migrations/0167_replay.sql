-- A database that was restored to before a destruction destroys again, under the certificate that exists already (purge
-- replay). Whether certificate, plan and approvals are signed only the code can check, so the engine may not call this: it
-- is the owner's, whose login restored the database. Holds stop it as they stop everything; the fingerprint is proven; the
-- whole way from archived to purged is one transaction. Breaks nothing: check_disposal lets nothing more through but
-- what this function has registered in the same transaction.

create table retention.replay_move (
  xid     xid8 primary key default pg_current_xact_id(),
  unit_id bigint not null references retention.unit,
  plan_id uuid not null
);
comment on table retention.replay_move is 'The transaction that is destroying a unit again under its certificate; empty between transactions.';

alter function retention.check_disposal(bigint, uuid) rename to check_approval;

create function retention.check_disposal(p_unit bigint, p_plan uuid) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (select from retention.replay_move m
                  where m.xid = pg_current_xact_id() and m.unit_id = p_unit and m.plan_id = p_plan) then
    perform retention.check_approval(p_unit, p_plan);
    return;
  end if;
  perform retention.lock_disposal((select u.table_name from retention.unit u where u.unit_id = p_unit));
  if retention.is_held(p_unit) then
    raise exception 'unit % is under a legal hold', p_unit using errcode = 'AK105';
  end if;
end
$$;

-- The unit that a certificate is of, or nothing; refused where another one has its id.
create function retention.certified_unit(p_said jsonb) returns retention.unit
language plpgsql stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
  unit retention.unit;
  sealed retention.manifest;
begin
  select * into unit from retention.unit u where u.unit_id = (p_said #>> '{unit,id}')::bigint;
  select * into sealed from retention.manifest m where m.unit_id = unit.unit_id;
  if (unit.table_name, nullif(unit.category, ''), unit.generation, unit.upper_bound, unit.lower_bound,
      sealed.row_count, encode(sealed.fingerprint, 'hex'), coalesce(sealed.seqs, '{}'))
     is distinct from
     (p_said #>> '{unit,table}', p_said #>> '{unit,category}', (p_said #>> '{unit,generation}')::int,
      (p_said #>> '{unit,to}')::timestamptz, coalesce((p_said #>> '{unit,from}')::timestamptz, '-infinity'),
      (p_said #>> '{unit,rows}')::bigint, p_said #>> '{unit,fingerprint}',
      coalesce((select range_agg(int8range((r ->> 0)::bigint, (r ->> 1)::bigint)) from jsonb_array_elements(p_said -> 'seqs') r), '{}')) then
    raise exception 'unit % is not the one that certificate % is of', p_said #>> '{unit,id}', p_said ->> 'certificate_id'
      using errcode = 'AK129';
  end if;
  return unit;
end
$$;

-- archived (or anywhere on the way) -> purged, once more. Gives { relation, copies }; relation is null where the table was
-- gone already and only the certificate was missing.
create function retention.replay_destruction(p_document text, p_signature text, p_plan text, p_actor text, p_reason text)
returns jsonb
language plpgsql
set search_path = pg_catalog, pg_temp
set lock_timeout = '100ms'
set timezone = 'UTC'
as $$
declare
  said jsonb := p_document::jsonb;
  plan uuid := (said #>> '{plan,id}')::uuid;
  unit retention.unit;
  leaf text;
  gone text;
  copies jsonb := '[]';
  found_rows bigint;
  found_print bytea;
begin
  perform retention.take_structure();
  perform retention.certified_unit(said);
  unit := retention.lock_unit((said #>> '{unit,id}')::bigint, array['archived', 'purge_due', 'purge_approved', 'quarantined', 'purging']);
  if said ->> 'format' is distinct from 'auditkeep-certificate/v1'
     or encode(sha256(convert_to(p_plan, 'UTF8')), 'hex') is distinct from said #>> '{plan,hash}'
     or not exists (select from jsonb_array_elements(p_plan::jsonb -> 'units') e
                     where (e ->> 'unit_id')::bigint = unit.unit_id and e ->> 'fingerprint' = said #>> '{unit,fingerprint}'
                       and e ->> 'action' = 'purge') then
    raise exception 'unit % was not destroyed under that plan', unit.relation_name using errcode = 'AK126';
  end if;
  insert into retention.plan (plan_id, document, plan_hash, actor, reason)
  values (plan, p_plan, said #>> '{plan,hash}', p_actor, p_reason) on conflict (plan_id) do nothing;
  insert into retention.plan_start (plan_id) values (plan) on conflict (plan_id) do nothing;
  if unit.state <> 'purging' then
    insert into retention.replay_move (unit_id, plan_id) values (unit.unit_id, plan);
    -- Before the long proof, and by the trigger after it.
    perform retention.check_disposal(unit.unit_id, plan);
    leaf := format('%I.%I', unit.schema_name, unit.relation_name);
    select f.row_count, f.fingerprint into found_rows, found_print from retention.fingerprint(unit.table_name, leaf) f;
    if (found_rows, encode(found_print, 'hex')) is distinct from ((said #>> '{unit,rows}')::bigint, said #>> '{unit,fingerprint}') then
      raise exception 'unit % does not hold what certificate % says', unit.relation_name, said ->> 'certificate_id' using errcode = 'AK111';
    end if;
    select coalesce(jsonb_agg(retention.drop_copy(c)), '[]') into copies from retention.copies_of(unit.unit_id) c;
    -- From wherever it stands, the way that it went before, under the plan of its certificate.
    if unit.state <> 'archived' then
      update retention.unit u set state = 'archived', plan_id = null where u.unit_id = unit.unit_id;
    end if;
    update retention.unit u set state = 'purge_due' where u.unit_id = unit.unit_id;
    update retention.unit u set state = 'purge_approved', plan_id = plan where u.unit_id = unit.unit_id;
    update retention.unit u set state = 'quarantined', quarantined_at = clock_timestamp() where u.unit_id = unit.unit_id;
    update retention.unit u set state = 'purging', purged_at = clock_timestamp() where u.unit_id = unit.unit_id;
    perform retention.unhang(leaf::regclass);
    execute format('drop table %s', leaf);
    delete from retention.replay_move m where m.xid = pg_current_xact_id();
    gone := leaf;
  elsif unit.plan_id <> plan then
    raise exception 'unit % is being destroyed under another plan', unit.relation_name using errcode = 'AK129';
  end if;
  insert into retention.certificate (certificate_id, unit_id, plan_id, document, sha256, signature, seqs)
  select (said ->> 'certificate_id')::uuid, unit.unit_id, plan, p_document, encode(sha256(convert_to(p_document, 'UTF8')), 'hex'),
    p_signature, coalesce(m.seqs, '{}') from retention.manifest m where m.unit_id = unit.unit_id;
  perform retention.finish_purge(unit.unit_id);
  return jsonb_build_object('relation', gone, 'copies', copies);
end
$$;
