-- Roles, extensions and schemas: what the installing login does before the owner takes over. Run by roles.ts in one
-- transaction; safe to run again. Roles belong to the cluster, so another auditkeep database may have made them.
do $$
declare
  wanted record;
  may_bypass boolean := (select rolsuper from pg_catalog.pg_roles where rolname = current_user)
    or (current_setting('server_version_num')::int >= 160000
        and (select rolbypassrls and rolcreaterole from pg_catalog.pg_roles where rolname = current_user));
begin
  for wanted in
    select * from (values
      ('auditkeep_owner',      'nologin',                     true),
      ('auditkeep_view',       'nologin',                     true),
      ('auditkeep_engine',     'login',                       true),
      ('auditkeep_report',     'login connection limit 20',   false),
      ('auditkeep_maint',      'login',                       false),
      ('app_readonly_role',    'nologin',                     false),
      ('app_readwrite_role',   'nologin',                     false),
      ('app_admin_role',       'nologin',                     false),
      ('audit_role',           'nologin',                     false),
      ('security_analyst_role','nologin',                     false),
      ('authenticated_users',  'nologin',                     false),
      ('admin_role',           'nologin',                     false)
    ) as r(name, attributes, bypass)
  loop
    begin
      if not exists (select from pg_catalog.pg_roles where rolname = wanted.name) then
        execute format('create role %I %s', wanted.name, wanted.attributes);
      end if;
    exception when duplicate_object or unique_violation then
      null; -- another migration of this cluster made it in between
    end;
    if wanted.bypass and may_bypass
       and not (select rolbypassrls from pg_catalog.pg_roles where rolname = wanted.name) then
      execute format('alter role %I bypassrls', wanted.name);
    end if;
  end loop;
end
$$;

-- The installing login acts as the owner for the rest of the migration and may take on the engine's and report roles.
do $$
declare
  granted text;
begin
  foreach granted in array array['auditkeep_owner', 'auditkeep_view', 'auditkeep_engine', 'auditkeep_report'] loop
    if not exists (select from pg_catalog.pg_auth_members m
                    where m.roleid = granted::regrole and m.member = current_user::regrole) then
      execute format('grant %I to %I', granted, current_user);
    end if;
  end loop;
  if not pg_catalog.pg_has_role('auditkeep_maint', 'auditkeep_owner', 'member') then
    grant auditkeep_owner to auditkeep_maint;
  end if;
end
$$;

create extension if not exists "uuid-ossp" schema public;
create extension if not exists pgcrypto schema public;
create extension if not exists pg_trgm schema public;

create schema if not exists security_public authorization auditkeep_owner;
create schema if not exists security_internal authorization auditkeep_owner;
create schema if not exists security_confidential authorization auditkeep_owner;
create schema if not exists security_secret authorization auditkeep_owner;
create schema if not exists audit authorization auditkeep_owner;
create schema if not exists config authorization auditkeep_owner;
create schema if not exists ops authorization auditkeep_owner;
create schema if not exists retention authorization auditkeep_owner;
create schema if not exists quarantine authorization auditkeep_owner;
create schema if not exists privacy authorization auditkeep_owner;
create schema if not exists compliance authorization auditkeep_owner;
create schema if not exists facts authorization auditkeep_view;
