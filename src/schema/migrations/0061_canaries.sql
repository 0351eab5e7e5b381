-- One known row in every table under forced row-level security, for a reader to prove that it sees them all. The reader
-- rolls its transaction back (src/schema/visibility.ts). Should somebody commit, the rows are a disabled user that cannot
-- log in; ids and names are new ones at each call, so that what was left behind stands in nobody's way.
-- Breaks nothing: a new function.
create function ops.plant_canaries()
returns table (schema_name text, table_name text, id uuid)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  canary constant uuid := gen_random_uuid();
  name constant text := 'canary ' || canary;
begin
  insert into security_confidential.users (id, username, email, password_hash, password_salt, account_status)
    values (canary, name, canary || '@invalid', '!', '!', 'disabled');
  insert into security_internal.roles (id, name) values (canary, name);
  insert into security_internal.user_roles (id, user_id, role_id, is_active) values (canary, canary, canary, false);
  insert into security_internal.jwt_tokens (id, user_id, token_hash, issued_at, expires_at, is_active)
    values (canary, canary, canary, '-infinity', '-infinity', false);
  insert into security_internal.user_sessions (id, user_id, session_token_hash, expires_at, is_active)
    values (canary, canary, canary, '-infinity', false);
  insert into security_internal.blockchain_networks (id, network_name, network_type, rpc_endpoints)
    values (canary, name, 'custom', '{}');
  insert into security_confidential.transactions (id, transaction_hash, network_id, user_id)
    values (canary, name, canary, canary);
  return query
    select n.nspname::text, c.relname::text, canary
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relforcerowsecurity and n.nspname in ('security_confidential', 'security_internal')
     order by 1, 2;
end
$$;
grant execute on function ops.plant_canaries() to auditkeep_engine;

-- The tables whose canary the owner of the report views sees: controls read through it, with row_security on, so what is
-- hidden from it would silently be missing from a report.
grant select on security_confidential.users, security_internal.user_roles, security_internal.jwt_tokens,
  security_internal.user_sessions, security_confidential.transactions to auditkeep_view;
grant usage on schema security_confidential, security_internal to auditkeep_view;
set local role auditkeep_view;
create function facts.seen_canaries(p_canary uuid) returns setof text
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select 'security_confidential.users' from security_confidential.users where id = p_canary
  union all select 'security_internal.user_roles' from security_internal.user_roles where id = p_canary
  union all select 'security_internal.jwt_tokens' from security_internal.jwt_tokens where id = p_canary
  union all select 'security_internal.user_sessions' from security_internal.user_sessions where id = p_canary
  union all select 'security_confidential.transactions' from security_confidential.transactions where id = p_canary
$$;
revoke execute on function facts.seen_canaries(uuid) from public;
grant usage on schema facts to auditkeep_engine;
grant execute on function facts.seen_canaries(uuid) to auditkeep_engine;
set local role auditkeep_owner;
