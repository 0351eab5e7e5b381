/**
 * The installed schema as facts: one line an object, the same on every supported server version, so that it can be
 * compared with the committed design. Partitions, and units beside the late tables or in quarantine, are data, not
 * design: only what is wrong about one (owner, grants, what its family has otherwise) makes it a fact.
 */
import { z } from 'zod';
import type { SqlClient } from '../db/database.ts';
import { queryRows, type SqlValue } from '../db/query.ts';
import { APPLICATION_ROLES, ROLES, SCHEMAS } from './roles.ts';

/** What an object is called (`column audit.audit_log.id`) and how it is defined. */
export interface CatalogFact {
  readonly object: string;
  readonly definition: string;
}

const factShape = z.object({ object: z.string(), definition: z.string() });

/** The empty tables of schema quarantine that quarantined units, and restored copies, inherit from. */
const FAMILIES = ['audit_log', 'data_access_log', 'security_events_log', 'performance_metrics', 'distributed_traces'];
const PARENTS = FAMILIES.flatMap((name) => [`'${name}'`, `'restored_${name}'`]).join(', ');

/** Relations that are design: ours, no partition, nothing that hangs below another table or waits in quarantine. */
const RELATIONS = `
  select c.*, n.nspname || '.' || c.relname as name
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
   where n.nspname = any ($1::text[]) and not exists (select from pg_inherits i where i.inhrelid = c.oid)
     and (n.nspname <> 'quarantine' or c.relname in (${PARENTS}))`;

const HASH = (text: string) => `left(encode(sha256(convert_to(${text}, 'UTF8')), 'hex'), 16)`;

/** pg_get_viewdef prints qualifiers of columns and parentheses differently from 16 on; neither is kept. */
const VIEW_HASH = HASH(`regexp_replace(pg_get_viewdef(oid), '([a-z_0-9"]+\\.)+|[\\s()]', '', 'g')`);

const SCHEMA_FACTS = `
  select 'schema ' || nspname as object, 'owner ' || pg_get_userbyid(nspowner) as definition
    from pg_namespace where nspname = any ($1::text[])`;

const RELATION_FACTS = `
  with r as (${RELATIONS})
  select case relkind when 'v' then 'view ' when 'm' then 'materialized view ' when 'S' then 'sequence '
                      else 'table ' end || name as object,
         concat_ws(', ', 'owner ' || pg_get_userbyid(relowner),
           case relkind when 'p' then 'partition by ' || pg_get_partkeydef(oid) end,
           case when relpersistence = 'u' then 'unlogged' end,
           case when relrowsecurity then 'row security' || case when relforcerowsecurity then ' forced' else '' end end,
           case when reloptions is not null then array_to_string(reloptions, ' ') end,
           case when relkind in ('v', 'm') then 'body ' || ${VIEW_HASH} end) as definition
    from r where relkind in ('r', 'p', 'v', 'm', 'S', 'f')`;

const COLUMN_FACTS = `
  with r as (${RELATIONS})
  select 'column ' || r.name || '.' || a.attname as object,
         concat_ws(' ', format_type(a.atttypid, a.atttypmod), case when a.attnotnull then 'not null' end,
           case a.attidentity when 'a' then 'identity always' when 'd' then 'identity by default' end,
           case when a.attgenerated = '' then 'default ' else 'generated ' end || pg_get_expr(d.adbin, d.adrelid))
         as definition
    from r join pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
    left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
   where r.relkind in ('r', 'p', 'v', 'm', 'f')`;

/** Not-null constraints have rows of their own since 18; the column says it on every version. */
const CONSTRAINT_FACTS = `
  with r as (${RELATIONS})
  select 'constraint ' || r.name || '.' || k.conname as object,
         pg_get_constraintdef(k.oid) as definition
    from r join pg_constraint k on k.conrelid = r.oid
   where k.contype not in ('n', 't')`;

const INDEX_FACTS = `
  with r as (${RELATIONS})
  select 'index ' || r.name || '.' || x.relname as object,
         pg_get_indexdef(i.indexrelid) || case when i.indisvalid then '' else ' INVALID' end as definition
    from r join pg_index i on i.indrelid = r.oid join pg_class x on x.oid = i.indexrelid
   where not exists (select from pg_constraint k where k.conindid = i.indexrelid and k.contype in ('p', 'u', 'x'))`;

const TRIGGER_FACTS = `
  with r as (${RELATIONS})
  select 'trigger ' || r.name || '.' || t.tgname as object,
         pg_get_triggerdef(t.oid) || case t.tgenabled when 'O' then '' when 'A' then ' ENABLE ALWAYS'
           when 'R' then ' ENABLE REPLICA' else ' DISABLED' end as definition
    from r join pg_trigger t on t.tgrelid = r.oid where not t.tgisinternal`;

const POLICY_FACTS = `
  with r as (${RELATIONS})
  select 'policy ' || r.name || '.' || p.polname as object,
         concat_ws(' ', case when p.polpermissive then 'permissive' else 'restrictive' end,
           'for', case p.polcmd when '*' then 'all' when 'r' then 'select' when 'a' then 'insert'
                                when 'w' then 'update' else 'delete' end,
           'to', (select string_agg(case when role = 0 then 'public' else pg_get_userbyid(role)::text end, ', '
                                    order by case when role = 0 then 'public' else pg_get_userbyid(role)::text end)
                    from unnest(p.polroles) as role),
           'using ' || pg_get_expr(p.polqual, p.polrelid),
           'with check ' || pg_get_expr(p.polwithcheck, p.polrelid)) as definition
    from r join pg_policy p on p.polrelid = r.oid`;

const FUNCTION_FACTS = `
  select 'function ' || n.nspname || '.' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')'
           as object,
         concat_ws(', ',
           'owner ' || pg_get_userbyid(p.proowner), 'returns ' || pg_get_function_result(p.oid), l.lanname,
           case p.provolatile when 'i' then 'immutable' when 's' then 'stable' else 'volatile' end,
           case when p.proisstrict then 'strict' end,
           case when p.prosecdef then 'security definer' else 'security invoker' end,
           array_to_string(p.proconfig, ', '),
           'body ' || ${HASH('coalesce(pg_get_function_sqlbody(p.oid), p.prosrc)')}) as definition
    from pg_proc p join pg_namespace n on n.oid = p.pronamespace join pg_language l on l.oid = p.prolang
   where n.nspname = any ($1::text[])`;

const RULE_FACTS = `
  with r as (${RELATIONS})
  select 'rule ' || r.name || '.' || w.rulename as object, pg_get_ruledef(w.oid) as definition
    from r join pg_rewrite w on w.ev_class = r.oid where w.rulename <> '_RETURN'`;

const TYPE_FACTS = `
  select 'type ' || n.nspname || '.' || t.typname as object,
         case t.typtype
           when 'd' then concat_ws(' ', 'domain over', format_type(t.typbasetype, t.typtypmod),
             (select string_agg(pg_get_constraintdef(k.oid), ' ' order by k.conname)
                from pg_constraint k where k.contypid = t.oid and k.contype = 'c'))
           else 'enum ' || (select string_agg(e.enumlabel, ', ' order by e.enumsortorder)
                              from pg_enum e where e.enumtypid = t.oid) end as definition
    from pg_type t join pg_namespace n on n.oid = t.typnamespace
   where n.nspname = any ($1::text[]) and t.typtype in ('d', 'e')`;

/** An owner's own rights are left out: servers since 17 list one more of them. */
const GRANT_FACTS = `
  with r as (${RELATIONS}),
  given as (
    select 'on ' || r.name as target, r.relowner as owner, a.grantee, a.privilege_type, null::name as attname
      from r, aclexplode(r.relacl) a
    union all
    select 'on ' || r.name, r.relowner, a.grantee, a.privilege_type, t.attname
      from r join pg_attribute t on t.attrelid = r.oid and t.attnum > 0 and not t.attisdropped, aclexplode(t.attacl) a
    union all
    select 'on schema ' || n.nspname, n.nspowner, a.grantee, a.privilege_type, null
      from pg_namespace n, aclexplode(n.nspacl) a where n.nspname = any ($1::text[])
    union all
    select 'on function ' || n.nspname || '.' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')',
           p.proowner, a.grantee, a.privilege_type, null
      from pg_proc p join pg_namespace n on n.oid = p.pronamespace,
           aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
     where n.nspname = any ($1::text[])
    union all
    select 'by default on ' || case d.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences'
             when 'f' then 'functions' when 'T' then 'types' else 'schemas' end || coalesce(' in ' || n.nspname, ''),
           d.defaclrole, a.grantee, a.privilege_type, null
      from pg_default_acl d left join pg_namespace n on n.oid = d.defaclnamespace, aclexplode(d.defaclacl) a
     where d.defaclrole in (select oid from pg_roles where rolname = any ($2::text[]))
  ),
  by_privilege as (
    select target, grantee, lower(privilege_type)
             || coalesce(' (' || string_agg(attname, ', ' order by attname collate "C") || ')', '') as privilege
      from given where grantee <> owner group by target, grantee, privilege_type, attname is null
  )
  select 'grant ' || target || ' to ' || case when grantee = 0 then 'public' else pg_get_userbyid(grantee) end
           as object,
         string_agg(privilege, ', ' order by privilege collate "C") as definition
    from by_privilege group by target, grantee`;

/** A grant on a partition goes round the parent's row-level security, a foreign owner round everything. */
const PARTITION_FACTS = `
  select 'partition ' || n.nspname || '.' || c.relname as object,
         concat_ws(', ', case when pg_get_userbyid(c.relowner) <> 'auditkeep_owner'
                              then 'owner ' || pg_get_userbyid(c.relowner) end,
           'granted to ' || (select string_agg(distinct case when a.grantee = 0 then 'public'
                                                        else pg_get_userbyid(a.grantee)::text end, ', ')
                               from (select * from aclexplode(c.relacl)
                                      union all
                                     select x.* from pg_attribute t, aclexplode(t.attacl) x
                                      where t.attrelid = c.oid) a
                              where a.grantee <> c.relowner)) as definition
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
   where n.nspname = any ($1::text[]) and c.relkind in ('r', 'p')
     and (exists (select from pg_inherits i where i.inhrelid = c.oid)
       or n.nspname = 'quarantine' and c.relname not in (${PARENTS}))`;

/** The triggers that a leaf may have, and what they call. The first two every leaf has. */
const LEAF_TRIGGERS = `(values
  ('ak_child_immutable', 27, 'audit.refuse_change', true), ('ak_child_truncate', 34, 'audit.refuse_change', true),
  ('zz_seal_divert', 7, 'retention.divert_late', false), ('zz_late_twin', 7, 'retention.drop_late_twin', false),
  ('aa_default_permanent', 7, 'audit.default_permanent', false))`;

/**
 * Leaves are data, so only what makes one unlike its family is a fact: columns, checks of its own but those of its
 * bounds, triggers, row-level security, policies and rules.
 */
const LEAF_FACTS = `
  with leaf as (
    select c.oid, n.nspname || '.' || c.relname as name, c.relrowsecurity, c.relforcerowsecurity, c.relpersistence,
           p.oid as parent, p.relrowsecurity as rls, p.relforcerowsecurity as forced, p.relpersistence as persistence,
           regexp_replace(f.relname, '_archive$', '') as family
      from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_inherits i on i.inhrelid = c.oid
      join pg_class p on p.oid = i.inhparent join pg_class f on f.oid = pg_partition_root(c.oid)
     where n.nspname = any ($1::text[]) and c.relkind = 'r' and c.relispartition
  ),
  wanted as (
    select l.oid, t.name, t.type, case l.family when 'chain_link' then 'audit.refuse_link_change' else t.called end as called,
           case when t.name = 'aa_default_permanent' or l.family = 'chain_link' then '' else l.family end as argument, t.needed
      from leaf l cross join ${LEAF_TRIGGERS} t(name, type, called, needed)
  ),
  fitting as (
    select w.oid, w.name, w.needed, t.oid as trigger
      from wanted w left join lateral (
        select t.oid from pg_trigger t join pg_proc p on p.oid = t.tgfoid join pg_namespace s on s.oid = p.pronamespace
         where t.tgrelid = w.oid and t.tgname = w.name and t.tgtype = w.type and t.tgenabled = 'A' and t.tgqual is null
           and t.tgattr = '' and s.nspname || '.' || p.proname = w.called
           and t.tgargs = case w.argument when '' then '' else convert_to(w.argument, 'UTF8') || '\\x00' end) t on true
  ),
  unlike as (
    select l.oid, 'row security' as what from leaf l where (l.relrowsecurity, l.relforcerowsecurity) <> (l.rls, l.forced)
    union all
    select l.oid, 'persistence' from leaf l where l.relpersistence <> l.persistence
    union all
    select l.oid, 'column ' || a.attname
      from leaf l join pg_attribute a on a.attrelid = l.oid and a.attnum > 0 and not a.attisdropped
      join pg_attribute b on b.attrelid = l.parent and b.attname = a.attname
      left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
      left join pg_attrdef e on e.adrelid = b.attrelid and e.adnum = b.attnum
     where (a.atttypid, a.atttypmod, a.attnotnull, a.attidentity, a.attgenerated) <>
           (b.atttypid, b.atttypmod, b.attnotnull, b.attidentity, b.attgenerated)
        or pg_get_expr(d.adbin, d.adrelid) is distinct from pg_get_expr(e.adbin, e.adrelid)
    union all
    select l.oid, 'check ' || k.conname from leaf l join pg_constraint k on k.conrelid = l.oid
     where k.contype = 'c' and k.coninhcount = 0 and k.conname not in ('ak_bounds', 'seq_in_bounds')
    union all
    select f.oid, 'trigger ' || f.name from fitting f where f.needed and f.trigger is null
    union all
    select l.oid, 'trigger ' || t.tgname from leaf l join pg_trigger t on t.tgrelid = l.oid
     where not t.tgisinternal and t.tgparentid = 0
       and not exists (select from fitting f where f.trigger = t.oid or (f.oid = l.oid and f.needed and f.name = t.tgname))
    union all
    select l.oid, 'policy ' || p.polname from leaf l join pg_policy p on p.polrelid = l.oid
    union all
    select l.oid, 'rule ' || w.rulename from leaf l join pg_rewrite w on w.ev_class = l.oid
  )
  select 'leaf ' || l.name as object, coalesce((select 'unlike its family: ' || string_agg(u.what, ', ' order by u.what)
           from unlike u where u.oid = l.oid), '') as definition
    from leaf l`;

/** BYPASSRLS depends on who installed; logins outside our roles are the installation's own business. */
const ROLE_FACTS = `
  select 'role ' || r.rolname as object,
         concat_ws(', ', case when r.rolcanlogin then 'login' else 'nologin' end,
           case when r.rolsuper then 'superuser' end, case when r.rolcreaterole then 'createrole' end,
           case when r.rolcreatedb then 'createdb' end, case when r.rolreplication then 'replication' end,
           (select 'member of ' || string_agg(g.rolname, ', ' order by g.rolname)
              from pg_auth_members m join pg_roles g on g.oid = m.roleid where m.member = r.oid)) as definition
    from pg_roles r where r.rolname = any ($2::text[])`;

const QUERIES: readonly string[] = [
  SCHEMA_FACTS,
  RELATION_FACTS,
  COLUMN_FACTS,
  CONSTRAINT_FACTS,
  INDEX_FACTS,
  TRIGGER_FACTS,
  POLICY_FACTS,
  FUNCTION_FACTS,
  TYPE_FACTS,
  GRANT_FACTS,
  PARTITION_FACTS,
  LEAF_FACTS,
  RULE_FACTS,
  ROLE_FACTS,
];

/** The facts about some functions (`function schema.name(arguments)`); those that are not there are left out. */
export function readFunctionFacts(client: SqlClient, objects: readonly string[]): Promise<CatalogFact[]> {
  const text = `select f.object, f.definition from (${FUNCTION_FACTS}) f where f.object = any ($2::text[])`;
  return queryRows(client, factShape, text, [OUR_SCHEMAS, objects]);
}

const OUR_SCHEMAS: SqlValue = Object.keys(SCHEMAS).filter((schema) => schema !== 'pgboss');

/** Every fact about our schemas (but the queue's, which pg-boss upgrades by itself) and roles, sorted by object. Any role may read them. */
export async function readCatalog(client: SqlClient): Promise<CatalogFact[]> {
  const roles: SqlValue = [...Object.values(ROLES), ...APPLICATION_ROLES];
  const facts: CatalogFact[] = [];
  for (const query of QUERIES) {
    // Every query gets both lists and uses one or both; the clause gives an unused parameter its type.
    const text = `with parameters as (select $1::text[], $2::text[]) select f.object, f.definition from (${query}) f`;
    facts.push(...(await queryRows(client, factShape, text, [OUR_SCHEMAS, roles])));
  }
  return facts
    .filter((fact) => !(/^(partition|leaf) /.test(fact.object) && fact.definition === ''))
    .sort((a, b) => (a.object < b.object ? -1 : 1));
}
