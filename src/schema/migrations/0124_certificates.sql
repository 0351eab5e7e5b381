-- Certificates of destruction, kept for ever: purging -> purged only together with one. Verification reads the places in the
-- chain from here: a link without a row is of a purged event only where a certificate covers its seq. A database that was
-- restored to before a destruction destroys again under the same certificate. Breaks nothing: new.
-- SQLSTATE AK129: the certificate does not say what is known of the unit.

create table retention.certificate (
  certificate_id uuid primary key,
  unit_id    bigint not null unique references retention.unit,
  plan_id    uuid not null references retention.plan,
  -- RFC 8785 text (docs/spec/certificate-v1.md), exactly the bytes that are signed.
  document   text not null,
  sha256     char(64) not null unique check (sha256 = encode(sha256(convert_to(document, 'UTF8')), 'hex')),
  -- Ed25519 by the log's key, base64.
  signature  text not null check (signature ~ '^[A-Za-z0-9+/]{86}==$'),
  -- The places in the chain that it covers; empty where the table is not the audit log.
  seqs       int8multirange not null,
  recorded_at timestamptz not null default clock_timestamp()
);
comment on table retention.certificate is 'Certificates of destruction; written by retention.record_certificate only, kept for ever.';
create trigger append_only before update or delete on retention.certificate
  for each row execute function compliance.refuse_change();
create trigger no_truncate before truncate on retention.certificate
  for each statement execute function compliance.refuse_change();
alter table retention.certificate enable always trigger append_only, enable always trigger no_truncate;
grant select on retention.certificate to auditkeep_engine, auditkeep_view;

-- purging -> purged with its certificate, in one transaction.
create function retention.record_certificate(p_document text, p_signature text) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  said jsonb := p_document::jsonb;
  unit retention.unit;
  sealed retention.manifest;
begin
  unit := retention.lock_unit((said #>> '{unit,id}')::bigint, array['purging']);
  select * into strict sealed from retention.manifest m where m.unit_id = unit.unit_id;
  if (said ->> 'format', (said ->> 'certificate_id')::uuid, (said #>> '{plan,id}')::uuid, said #>> '{plan,hash}',
      (said #>> '{unit,rows}')::bigint, said #>> '{unit,fingerprint}', said #>> '{unit,table}',
      coalesce((select range_agg(int8range((r ->> 0)::bigint, (r ->> 1)::bigint)) from jsonb_array_elements(said -> 'seqs') r), '{}'))
     is distinct from
     ('auditkeep-certificate/v1', retention.certificate_id(unit.plan_id, unit.unit_id), unit.plan_id, retention.plan_hash(unit.plan_id),
      sealed.row_count, encode(sealed.fingerprint, 'hex'), unit.table_name, coalesce(sealed.seqs, '{}')) then
    raise exception 'the certificate does not say what is known of unit %', unit.relation_name using errcode = 'AK129';
  end if;
  insert into retention.certificate (certificate_id, unit_id, plan_id, document, sha256, signature, seqs)
  values ((said ->> 'certificate_id')::uuid, unit.unit_id, unit.plan_id, p_document,
    encode(sha256(convert_to(p_document, 'UTF8')), 'hex'), p_signature, coalesce(sealed.seqs, '{}'));
  perform retention.finish_purge(unit.unit_id);
end
$$;
grant execute on function retention.record_certificate(text, text) to auditkeep_engine;
