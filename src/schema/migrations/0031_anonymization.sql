-- Anonymization of transactions: what a processed row looks like, enforced by the table, and the only functions through
-- which the engine changes rows. Breaks nothing: new columns are null in existing rows, so the CHECK holds for them.

alter table security_confidential.transactions
  add column value_bucket smallint, -- floor(log10(amount)), -1 for zero
  -- How much was taken away; null: nothing yet. 1 keyed pseudonyms, bucket, day; 2 without pseudonyms; 3 without the
  -- bucket; 4 times to the month; 5 times to the year.
  add column anonymization_level smallint check (anonymization_level between 1 and 5),
  add constraint transactions_processed_row check (
    anonymization_level is null
    or (from_address_encrypted is null and to_address_encrypted is null and value_encrypted is null
        and gas_used is null and gas_price is null and block_height is null and block_hash is null
        and transaction_index is null and contract_id is null and function_signature is null
        and input_data_hash is null and user_id is null
        and transaction_hash like 's1.%'
        and (pseudonym_from is null or pseudonym_from ~ '^p1\.[0-9a-f]{16}\.[A-Za-z0-9_-]{43}$')
        and (pseudonym_to is null or pseudonym_to ~ '^p1\.[0-9a-f]{16}\.[A-Za-z0-9_-]{43}$')
        and (anonymization_level < 2 or (pseudonym_from is null and pseudonym_to is null))
        and (anonymization_level < 3 or value_bucket is null)));

create index idx_transactions_not_processed on security_confidential.transactions (id) where anonymization_level is null;
create index idx_transactions_processed on security_confidential.transactions (anonymization_level, anonymized)
  where anonymization_level is not null;

-- The ids that imported transactions had. An import skips them, so importing twice adds nothing, and nobody without the
-- import-id secret can tell whose they were. Nothing here leads to the row that is left.
create table privacy.anonymized_transaction (
  import_id uuid primary key
);
grant select on privacy.anonymized_transaction to auditkeep_engine;

-- Replaces rows by what may stay of them, once: a row that is no longer due is left alone. Delete and insert in random
-- order instead of update: an update keeps the row's page, and the order of pages is the order of the chain. A column
-- that is not named here does not survive.
create function privacy.pseudonymize_transactions(
  p_before timestamptz, p_old uuid[], p_new uuid[], p_hash text[], p_from text[], p_to text[], p_bucket smallint[]
) returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_rows bigint;
begin
  -- The policy's age once more, for whoever calls this by hand; a day more, since the engine counts whole days and years.
  if p_before > now() - interval '2 years' + interval '1 day' then
    raise exception 'transactions younger than two years are not due' using errcode = 'AK030';
  end if;
  with gone as (
    delete from security_confidential.transactions t
     using unnest(p_old, p_new, p_hash, p_from, p_to, p_bucket)
        as c(old_id, new_id, surrogate, from_pseudonym, to_pseudonym, bucket)
     where t.id = c.old_id
       and t.anonymization_level is null
       and coalesce(t.confirmed_at, t.created_at) < p_before
    returning c.*, t.network_id, t.status, t.pseudonym_from, t.pseudonym_to, t.created_at, t.confirmed_at
  ), left_over as (
    insert into security_confidential.transactions
      (id, transaction_hash, network_id, status, anonymized, pseudonym_from, pseudonym_to, value_bucket,
       anonymization_level, created_at, confirmed_at)
    select new_id, surrogate, network_id, status, false,
           -- A pseudonym that was there already stays: never a pseudonym of a pseudonym. Whatever else an application
           -- wrote there may be the address itself and goes.
           case when pseudonym_from ~ '^p1\.[0-9a-f]{16}\.[A-Za-z0-9_-]{43}$' then pseudonym_from else from_pseudonym end,
           case when pseudonym_to ~ '^p1\.[0-9a-f]{16}\.[A-Za-z0-9_-]{43}$' then pseudonym_to else to_pseudonym end,
           bucket, 1,
           date_trunc('day', created_at, 'UTC'), date_trunc('day', confirmed_at, 'UTC')
      from gone order by random()
    returning 1
  ), remembered as (
    insert into privacy.anonymized_transaction (import_id)
    select old_id from gone where substr(old_id::text, 15, 1) = '8' order by random()
    on conflict do nothing
  )
  select count(*) into v_rows from left_over;
  return v_rows;
end
$$;

-- Takes one more thing away from rows that are still too rare.
create function privacy.generalize_transactions(p_ids uuid[]) returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_rows bigint;
begin
  update security_confidential.transactions t
     set anonymization_level = t.anonymization_level + 1,
         pseudonym_from = null,
         pseudonym_to = null,
         value_bucket = case when t.anonymization_level + 1 >= 3 then null else t.value_bucket end,
         created_at = date_trunc(u.unit, t.created_at, 'UTC'),
         confirmed_at = date_trunc(u.unit, t.confirmed_at, 'UTC')
    from (values (1, 'day'), (2, 'day'), (3, 'month'), (4, 'year')) as u(level, unit)
   where t.id = any (p_ids) and u.level = t.anonymization_level;
  get diagnostics v_rows = row_count;
  return v_rows;
end
$$;

-- Sets the verdict of the gate on processed rows.
create function privacy.set_anonymized(p_ids uuid[], p_anonymized boolean) returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_rows bigint;
begin
  update security_confidential.transactions
     set anonymized = p_anonymized
   where id = any (p_ids) and anonymization_level is not null and anonymized is distinct from p_anonymized;
  get diagnostics v_rows = row_count;
  return v_rows;
end
$$;

-- The planner's statistics hold samples of what the rows were: hashes, heights, times. They are made anew from what is
-- left; autovacuum would do it some day. Dead rows stay in the table's file until VACUUM, which no function may run.
create function privacy.analyze_transactions() returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  analyze security_confidential.transactions;
end
$$;

grant execute on function
  privacy.analyze_transactions(),
  privacy.pseudonymize_transactions(timestamptz, uuid[], uuid[], text[], text[], text[], smallint[]),
  privacy.generalize_transactions(uuid[]),
  privacy.set_anonymized(uuid[], boolean)
  to auditkeep_engine;
