-- What ends by itself outside the partitioned families is removed a while after its end: tokens, sessions, rate-limit
-- windows. Grants of roles and attestations of enclaves that have expired are marked, never deleted: they are history.
-- Bounded batches; the batch and its audit event are one transaction of the caller. Sealed enclave data is judged in
-- place: its blob never leaves the database. Breaks nothing: new functions only.

-- Removes up to p_limit ended rows of a kind, 30 days after their end; gives the number.
create function retention.remove_ended(p_kind text, p_now timestamptz, p_limit integer) returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  kept constant interval := interval '720 hours';
  removed bigint;
begin
  -- A caller's clock may lag, never lead: nothing goes before its time by the database's own clock.
  if p_limit not between 1 and 100000 or p_now > clock_timestamp() + interval '1 minute' then
    raise exception 'housekeeping takes 1 to 100000 rows, as of now' using errcode = 'AK102';
  end if;
  case p_kind
    when 'jwt_tokens' then
      delete from security_internal.jwt_tokens t where t.id in (
        select e.id from security_internal.jwt_tokens e
         where least(e.expires_at, coalesce(e.revoked_at, 'infinity')) < p_now - kept
         order by e.id limit p_limit for update skip locked);
    when 'user_sessions' then
      delete from security_internal.user_sessions t where t.id in (
        select e.id from security_internal.user_sessions e
         where e.expires_at < p_now - kept order by e.id limit p_limit for update skip locked);
    when 'rate_limit_state' then
      delete from security_internal.rate_limit_state t where t.id in (
        select e.id from security_internal.rate_limit_state e
         where greatest(e.window_start + make_interval(secs => coalesce(e.window_size_seconds, 0)), e.blocked_until) < p_now - kept
         order by e.id limit p_limit for update skip locked);
    else
      raise exception 'nothing of % is removed by housekeeping', p_kind using errcode = 'AK101';
  end case;
  get diagnostics removed = row_count;
  return removed;
end
$$;

-- Marks up to p_limit rows of a kind that have expired; gives the number.
create function retention.mark_expired(p_kind text, p_now timestamptz, p_limit integer) returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  marked bigint;
begin
  if p_limit not between 1 and 100000 or p_now > clock_timestamp() + interval '1 minute' then
    raise exception 'housekeeping takes 1 to 100000 rows, as of now' using errcode = 'AK102';
  end if;
  case p_kind
    when 'user_roles' then
      update security_internal.user_roles t set is_active = false where t.id in (
        select e.id from security_internal.user_roles e
         where e.is_active and e.expires_at <= p_now order by e.id limit p_limit for update skip locked);
    when 'sgx_enclaves' then
      update security_secret.sgx_enclaves t set attestation_status = 'expired' where t.id in (
        select e.id from security_secret.sgx_enclaves e
         where e.attestation_status in ('pending', 'valid') and e.attestation_expires_at <= p_now
         order by e.id limit p_limit for update skip locked);
    else
      raise exception 'nothing of % is marked by housekeeping', p_kind using errcode = 'AK101';
  end case;
  get diagnostics marked = row_count;
  return marked;
end
$$;

-- What is wrong with sealed enclave data: the blob is not the one that was hashed, it has expired, nobody is named who
-- may unseal it, or its enclave's attestation does not stand. After p_after by id, so that a check goes on where it was.
create function retention.judge_sealed_data(p_now timestamptz, p_after uuid, p_limit integer)
returns table (id uuid, problems text[])
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select d.id, array_remove(array[
           case when encode(sha256(d.sealed_blob), 'hex') <> lower(d.integrity_hash) then 'integrity' end,
           case when d.expires_at <= p_now then 'expired' end,
           case when d.access_policy is null or d.access_policy in ('{}'::jsonb, '[]'::jsonb, 'null'::jsonb)
                  or jsonb_typeof(d.access_policy) not in ('object', 'array') then 'access-policy' end,
           case when e.attestation_status <> 'valid' or e.attestation_expires_at <= p_now or not e.is_active then 'enclave' end
         ], null)
    from security_secret.sgx_sealed_data d
    join security_secret.sgx_enclaves e on e.id = d.enclave_id
   where p_after is null or d.id > p_after
   order by d.id limit p_limit
$$;

grant execute on function retention.remove_ended(text, timestamptz, integer) to auditkeep_engine;
grant execute on function retention.mark_expired(text, timestamptz, integer) to auditkeep_engine;
grant execute on function retention.judge_sealed_data(timestamptz, uuid, integer) to auditkeep_engine;
