-- Cosignatures of witnesses below checkpoints (docs/spec/witness-v1.md). A copy for bundles and reports: what is anchored
-- is judged by the files beside the signer's key, never by this table. Breaks nothing: a new table only.

create table audit.cosignature (
  origin      text        not null,
  size        bigint      not null,
  witness     text        not null,
  key_id      bytea       not null check (octet_length(key_id) = 4),
  line        text        not null check (line like '— %'),
  cosigned_at timestamptz not null,
  primary key (origin, size, witness, key_id),
  foreign key (origin, size) references audit.checkpoint (origin, size)
);
comment on table audit.cosignature is 'Signature lines of witnesses (C2SP tlog-cosignature); appended to the note of the checkpoint they make a cosigned one.';
comment on column audit.cosignature.cosigned_at is 'When the witness says that it cosigned.';
select audit.protect_chain_table('cosignature');

-- Keeps a cosignature; a further one of the same witness for the same checkpoint changes nothing.
create function audit.publish_cosignature(log_origin text, tree_size bigint, witness_name text, witness_key_id bytea,
                                          signature_line text, witnessed_at timestamptz)
returns void
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  insert into audit.cosignature (origin, size, witness, key_id, line, cosigned_at)
  values (log_origin, tree_size, witness_name, witness_key_id, signature_line, witnessed_at)
  on conflict (origin, size, witness, key_id) do nothing
$$;

grant select on audit.cosignature to auditkeep_engine, auditkeep_view;
grant execute on function audit.publish_cosignature(text, bigint, text, bytea, text, timestamptz) to auditkeep_engine;
