-- Row-level security on every table that holds a user's own rows: a user sees their own, admin_role all, anybody else
-- none. FORCED, so that the owner is filtered too unless it bypasses; a filtered table looks empty, not forbidden.
-- Breaks nothing: the tables are empty.

alter table security_confidential.users enable row level security;
alter table security_confidential.users force row level security;
alter table security_internal.user_roles enable row level security;
alter table security_internal.user_roles force row level security;
alter table security_internal.jwt_tokens enable row level security;
alter table security_internal.jwt_tokens force row level security;
alter table security_internal.user_sessions enable row level security;
alter table security_internal.user_sessions force row level security;
alter table security_confidential.transactions enable row level security;
alter table security_confidential.transactions force row level security;

create policy user_self_access on security_confidential.users
  for all to authenticated_users using (id = security_public.current_user_id());
-- SELECT only: whoever could write their own rows here would grant themselves roles.
create policy user_self_access on security_internal.user_roles
  for select to authenticated_users using (user_id = security_public.current_user_id());
create policy user_self_access on security_internal.jwt_tokens
  for all to authenticated_users using (user_id = security_public.current_user_id());
create policy user_self_access on security_internal.user_sessions
  for all to authenticated_users using (user_id = security_public.current_user_id());
create policy user_self_access on security_confidential.transactions
  for all to authenticated_users using (user_id = security_public.current_user_id());

create policy admin_full_access on security_confidential.users for all to admin_role using (true);
create policy admin_full_access on security_internal.user_roles for all to admin_role using (true);
create policy admin_full_access on security_internal.jwt_tokens for all to admin_role using (true);
create policy admin_full_access on security_internal.user_sessions for all to admin_role using (true);
create policy admin_full_access on security_confidential.transactions for all to admin_role using (true);

-- Stands in where an installation could not give BYPASSRLS to our roles; where they have it, it changes nothing.
create policy auditkeep_access on security_confidential.users
  for all to auditkeep_owner, auditkeep_engine, auditkeep_view using (true);
create policy auditkeep_access on security_internal.user_roles
  for all to auditkeep_owner, auditkeep_engine, auditkeep_view using (true);
create policy auditkeep_access on security_internal.jwt_tokens
  for all to auditkeep_owner, auditkeep_engine, auditkeep_view using (true);
create policy auditkeep_access on security_internal.user_sessions
  for all to auditkeep_owner, auditkeep_engine, auditkeep_view using (true);
create policy auditkeep_access on security_confidential.transactions
  for all to auditkeep_owner, auditkeep_engine, auditkeep_view using (true);
