-- Roles, extensions and schemas: what the installing login does before the owner takes over. Run by roles.ts in one
-- transaction; safe to run again. Roles belong to the cluster: another auditkeep database, or a DBA beforehand, may have
-- made them, and what is there already is not asked for again. preflight.ts has checked that the login may do the rest.
do $$
declare
  modern constant boolean := current_setting('server_version_num')::int >= 160000;
  me record;
  wanted record;
  administers boolean;
begin
  select rolsuper, rolcreaterole, rolbypassrls into me from pg_catalog.pg_roles where rolname = current_user;
  for wanted in
    select * from (values
      ('auditkeep_owner',      'nologin',                     true,  true),
      ('auditkeep_view',       'nologin',                     true,  true),
      ('auditkeep_engine',     'login',                       true,  true),
      ('auditkeep_report',     'login connection limit 20',   false, true),
      ('auditkeep_maint',      'login',                       false, false),
      ('app_readonly_role',    'nologin',                     false, false),
      ('app_readwrite_role',   'nologin',                     false, false),
      ('app_admin_role',       'nologin',                     false, false),
      ('audit_role',           'nologin',                     false, false),
      ('security_analyst_role','nologin',                     false, false),
      ('authenticated_users',  'nologin',                     false, false),
      ('admin_role',           'nologin',                     false, false)
    ) as r(name, attributes, bypass, taken_on)
  loop
    begin
      if not exists (select from pg_catalog.pg_roles where rolname = wanted.name) then
        execute format('create role %I %s', wanted.name, wanted.attributes);
      end if;
    exception when duplicate_object or unique_violation then
      null; -- another migration of this cluster made it in between
    end;
    administers := me.rolsuper
      or pg_catalog.pg_has_role(current_user, wanted.name, 'member with admin option')
      or (me.rolcreaterole and not modern); -- before 16 CREATEROLE governs every role that is no superuser

    -- BYPASSRLS: before 16 only a superuser gives it, since 16 also a CREATEROLE login that has it.
    if wanted.bypass and (me.rolsuper or (modern and administers and me.rolcreaterole and me.rolbypassrls))
       and not (select rolbypassrls from pg_catalog.pg_roles where rolname = wanted.name) then
      execute format('alter role %I bypassrls', wanted.name);
    end if;

    -- The installing login takes on the owner and the view owner to migrate, the engine and report roles to work.
    -- Since 16 the creator of a role administers it but neither inherits its rights nor may SET ROLE to it.
    if wanted.taken_on and administers and not me.rolsuper then
      if not modern then
        if not pg_catalog.pg_has_role(current_user, wanted.name, 'member') then
          execute format('grant %I to %I', wanted.name, current_user);
        end if;
      elsif not pg_catalog.pg_has_role(current_user, wanted.name, 'set') then
        execute format('grant %I to %I with inherit true, set true', wanted.name, current_user);
      end if;
    end if;

    -- VACUUM and concurrent index builds need the owner; this login is for those alone.
    if wanted.name = 'auditkeep_maint' and not pg_catalog.pg_has_role('auditkeep_maint', 'auditkeep_owner', 'member')
       and (me.rolsuper or (me.rolcreaterole and not modern)
            or pg_catalog.pg_has_role(current_user, 'auditkeep_owner', 'member with admin option')) then
      grant auditkeep_owner to auditkeep_maint;
    end if;
  end loop;

  -- So that an autovacuum of a partition gives way to its move; without it the move waits until that is done.
  if me.rolsuper then
    grant set on parameter deadlock_timeout to auditkeep_owner, auditkeep_engine;
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
create schema if not exists pgboss authorization auditkeep_owner;
create schema if not exists compliance authorization auditkeep_owner;
create schema if not exists facts authorization auditkeep_view;
