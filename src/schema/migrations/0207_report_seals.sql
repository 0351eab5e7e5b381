-- The seal of the organisation on an approved report: made once, kept with the bytes that were sealed, so that every bundle of the
-- report has the same PDFs whatever release packs it. The certificates that seals were made with are known here, so that a lost key
-- is not replaced in silence. Breaks nothing: new tables and functions.

create table compliance.seal_certificate (
  -- Of the DER form.
  sha256 char(64) primary key check (sha256 ~ '^[0-9a-f]{64}$'),
  -- The signer's own first, then those up to its issuer.
  pem text not null check (pem like '-----BEGIN CERTIFICATE-----%'),
  -- True: made by the product itself; false: given by the operator.
  made boolean not null,
  registered_at timestamptz not null default now()
);
-- There is one key that the product made: two homes must not make one each.
create unique index seal_certificate_made on compliance.seal_certificate (made) where made;

create table compliance.report_seal (
  report_id uuid primary key references audit.compliance_reports (id),
  -- P1: of final.pdf as it was drawn; P2: with the seal.
  final_pdf_sha256 char(64) not null check (final_pdf_sha256 ~ '^[0-9a-f]{64}$'),
  sealed_pdf_sha256 char(64) not null check (sealed_pdf_sha256 ~ '^[0-9a-f]{64}$'),
  certificate_sha256 char(64) not null references compliance.seal_certificate (sha256),
  -- As it stands in the signature.
  sealed_at timestamptz not null check (sealed_at = date_trunc('second', sealed_at)),
  -- Envelopes v1 of review.pdf and of the sealed PDF; their context is this table, the column and the report's id.
  review_pdf_encrypted text not null check (review_pdf_encrypted like 'ak1.%'),
  sealed_pdf_encrypted text not null check (sealed_pdf_encrypted like 'ak1.%')
);

do $$
declare
  guarded text;
begin
  foreach guarded in array array['seal_certificate', 'report_seal'] loop
    execute format('create trigger append_only before update or delete on compliance.%I
                    for each row execute function compliance.refuse_change()', guarded);
    execute format('create trigger no_truncate before truncate on compliance.%I
                    for each statement execute function compliance.refuse_change()', guarded);
    execute format('alter table compliance.%I enable always trigger append_only', guarded);
    execute format('alter table compliance.%I enable always trigger no_truncate', guarded);
    execute format('grant select on compliance.%I to auditkeep_engine', guarded);
  end loop;
end
$$;

-- Registers the certificate of a seal; false where it is known. SQLSTATE AK138 for a second one that the product made.
create function compliance.register_seal_certificate(p_sha256 text, p_pem text, p_made boolean) returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  insert into compliance.seal_certificate (sha256, pem, made) values (p_sha256, p_pem, p_made)
  on conflict (sha256) do nothing;
  return found;
exception when unique_violation then
  raise exception 'this installation has a seal certificate already' using errcode = 'AK138';
end
$$;

-- Records the seal of an approved report. SQLSTATE AK001 unknown report, AK015 not approved, AK137 sealed before.
create function compliance.seal_report(p_report uuid, p_final_pdf_sha256 text, p_sealed_pdf_sha256 text,
  p_certificate_sha256 text, p_sealed_at timestamptz, p_review_pdf text, p_sealed_pdf text) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  report audit.compliance_reports;
begin
  select * into report from audit.compliance_reports r where r.id = p_report for update;
  if report.id is null then
    raise exception 'no report has the id %', p_report using errcode = 'AK001';
  end if;
  if report.approved_by is null then
    raise exception 'report % has not been approved; it is %', p_report, report.status using errcode = 'AK015';
  end if;
  if exists (select from compliance.report_seal s where s.report_id = p_report) then
    raise exception 'report % has been sealed', p_report using errcode = 'AK137';
  end if;
  insert into compliance.report_seal (report_id, final_pdf_sha256, sealed_pdf_sha256, certificate_sha256, sealed_at,
                                      review_pdf_encrypted, sealed_pdf_encrypted)
  values (p_report, p_final_pdf_sha256, p_sealed_pdf_sha256, p_certificate_sha256, p_sealed_at, p_review_pdf, p_sealed_pdf);
end
$$;

revoke execute on function compliance.register_seal_certificate(text, text, boolean) from public;
revoke execute on function compliance.seal_report(uuid, text, text, text, timestamptz, text, text) from public;
grant execute on function compliance.register_seal_certificate(text, text, boolean) to auditkeep_engine;
grant execute on function compliance.seal_report(uuid, text, text, text, timestamptz, text, text) to auditkeep_engine;
