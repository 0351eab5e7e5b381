-- What every later migration uses: identity of the session's user, lock numbers, default privileges.
-- Breaks nothing: first migration.

-- Functions are for those they are granted to, never for PUBLIC.
alter default privileges for role auditkeep_owner revoke execute on functions from public;

-- The seed's current_user_id(): '' (a pooled session after SET LOCAL) means nobody, as does an unset value.
create function security_public.current_user_id() returns uuid
language sql stable
set search_path = pg_catalog, pg_temp
return coalesce(
  nullif(current_setting('app.current_user_id', true), '')::uuid,
  '00000000-0000-0000-0000-000000000000'::uuid
);
comment on function security_public.current_user_id() is
  'The application user of this session (app.current_user_id), or the nil UUID. Row-level security trusts the application login to set it.';
grant execute on function security_public.current_user_id() to public;

grant usage on schema ops, audit, retention, quarantine, privacy, compliance, config,
  security_public, security_internal, security_confidential, security_secret to auditkeep_engine;

-- security_public holds current_user_id(), which policies call as whoever queries.
grant usage on schema security_public to public;
