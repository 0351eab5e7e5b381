-- A replay finds the unit of a certificate by what it is, not by its id: late units and siblings of a split that are made
-- anew after a restore have other ids, and their destruction was refused for good. Breaks nothing: certified_unit was called
-- by replay_destruction alone, which keeps its name, arguments and grants.

-- Where the unit of a certificate lies: the one of its table, list value, range and generation, and whether it holds what
-- the certificate says. Copies take generations, so a late unit or sibling of the same content is it under another one too.
create function retention.certified_place(p_said jsonb) returns table (unit_id bigint, same boolean)
language sql stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
  select u.unit_id, s.same
    from retention.unit u
    left join retention.manifest m on m.unit_id = u.unit_id
    cross join lateral (select (p_said #>> '{unit,generation}')::int as generation) c
    cross join lateral (select (u.upper_bound, m.row_count, encode(m.fingerprint, 'hex'), coalesce(m.seqs, '{}')) is not distinct from
      ((p_said #>> '{unit,to}')::timestamptz, (p_said #>> '{unit,rows}')::bigint, p_said #>> '{unit,fingerprint}',
       coalesce((select range_agg(int8range((r ->> 0)::bigint, (r ->> 1)::bigint)) from jsonb_array_elements(p_said -> 'seqs') r), '{}')) as same) s
   where u.table_name = p_said #>> '{unit,table}' and u.category = coalesce(p_said #>> '{unit,category}', '')
     and u.lower_bound = coalesce((p_said #>> '{unit,from}')::timestamptz, '-infinity')
     and (u.generation = c.generation
          or (s.same and least(u.generation, c.generation) > 1 and u.state not in ('purged', 'split', 'restored', 'expired')))
   order by s.same desc, (u.generation = c.generation) desc, u.unit_id
   limit 1
$$;
grant execute on function retention.certified_place(jsonb) to auditkeep_engine;

-- As before (0167), for the unit that certified_place finds; the plan names it by the id that the certificate has.
-- archived (or anywhere on the way) -> purged, once more. Gives { relation, copies }; relation is null where the table was
-- gone already and only the certificate was missing.
create or replace function retention.replay_destruction(p_document text, p_signature text, p_plan text, p_actor text, p_reason text)
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
  if not exists (select from retention.certified_place(said) p where p.same) then
    raise exception 'no unit is the one that certificate % is of', said ->> 'certificate_id' using errcode = 'AK129';
  end if;
  unit := retention.lock_unit((select p.unit_id from retention.certified_place(said) p where p.same), array['archived', 'purge_due', 'purge_approved', 'quarantined', 'purging']);
  if said ->> 'format' is distinct from 'auditkeep-certificate/v1'
     or encode(sha256(convert_to(p_plan, 'UTF8')), 'hex') is distinct from said #>> '{plan,hash}'
     or not exists (select from jsonb_array_elements(p_plan::jsonb -> 'units') e
                     where e ->> 'unit_id' = said #>> '{unit,id}' and e ->> 'fingerprint' = said #>> '{unit,fingerprint}'
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

drop function retention.certified_unit(jsonb);

-- As before (0122), with the certificate that a unit has where it is destroyed again under one that names another id.
create or replace function retention.destroyed_within(p_table text, p_from timestamptz, p_to timestamptz)
returns table (unit_id bigint, relation_name text, certificate_id uuid)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select u.unit_id, u.relation_name, coalesce((select c.certificate_id from retention.certificate c where c.unit_id = u.unit_id),
           retention.certificate_id(u.plan_id, u.unit_id)) from retention.unit u
   where u.state in ('purging', 'purged') and u.table_name = coalesce(p_table, u.table_name)
     and u.lower_bound < p_to and u.upper_bound > p_from
   order by u.lower_bound, u.unit_id
$$;
