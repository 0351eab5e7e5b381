/**
 * Whether recorded history is still protected: each leaf of the events and each table of the chain carries both
 * immutability triggers as released, enabled ALWAYS (a plain ENABLE is skipped under session_replication_role =
 * replica), without a condition, on the function of the release and no other. Names alone prove nothing.
 */
import { z } from 'zod';
import type { SqlClient } from '../../db/database.ts';
import { queryRows } from '../../db/query.ts';
import { readFunctionFacts } from '../../schema/catalog.ts';
import { readDesign } from '../../schema/drift.ts';
import { EVENT_TABLES } from '../event/event-origin.ts';
import { type Finding, finding } from '../links/finding.ts';

interface Guard {
  /** `schema.function` that both triggers call. */
  readonly function: string;
  /** Its arguments as the catalog keeps them, each with a NUL at its end. */
  readonly argument: string;
  /** Tables that carry it, with all their descendants. */
  readonly tables: readonly string[];
}

const GUARDS: readonly Guard[] = [
  { function: 'audit.refuse_change', argument: 'audit_log', tables: EVENT_TABLES },
  {
    function: 'audit.refuse_link_change',
    argument: '',
    tables: ['chain_link', 'chain_head', 'checkpoint', 'cosignature', 'erasure', 'tile'].map((name) => `audit.${name}`),
  },
  { function: 'audit.refuse_segment_change', argument: '', tables: ['audit.inline_segment'] },
];

const leafShape = z.object({ name: z.string(), function: z.string(), wrong: z.string() });

/** BEFORE UPDATE OR DELETE FOR EACH ROW, and BEFORE TRUNCATE (pg_trigger.tgtype). */
const LEAVES = `
  with recursive guard as (
    select g."function", g.argument, g.tables from jsonb_to_recordset($1::jsonb) as g("function" text, argument text, tables text[])
  ), leaf as (
    select c.oid, c.relkind, c.relname, c.relnamespace, g."function", g.argument
      from guard g cross join lateral unnest(g.tables) t(name) join pg_catalog.pg_class c on c.oid = pg_catalog.to_regclass(t.name)
    union
    select c.oid, c.relkind, c.relname, c.relnamespace, l."function", l.argument
      from leaf l join pg_catalog.pg_inherits i on i.inhparent = l.oid join pg_catalog.pg_class c on c.oid = i.inhrelid
  )
  select n.nspname || '.' || l.relname as name, l."function",
         coalesce((select string_agg(w.name, ', ' order by w.name)
           from (values ('ak_child_immutable', 27), ('ak_child_truncate', 34)) w(name, type)
          where not exists (
            select from pg_catalog.pg_trigger t
              join pg_catalog.pg_proc p on p.oid = t.tgfoid join pg_catalog.pg_namespace s on s.oid = p.pronamespace
             where t.tgrelid = l.oid and t.tgname = w.name and t.tgtype = w.type and t.tgenabled = 'A'
               and t.tgqual is null and t.tgattr = '' and not t.tgisinternal and p.pronargs = 0
               and s.nspname || '.' || p.proname = l."function"
               and t.tgargs = case l.argument when '' then '' else convert_to(l.argument, 'UTF8') || '\\x00' end)), '') as wrong
    from leaf l join pg_catalog.pg_namespace n on n.oid = l.relnamespace
   where l.relkind = 'r'
   order by 1`;

/** A finding for each table that is not protected as it was released. */
export async function findUnprotected(client: SqlClient): Promise<Finding[]> {
  const altered = await alteredFunctions(client);
  const leaves = await queryRows(client, leafShape, LEAVES, [JSON.stringify(GUARDS)]);
  return leaves.flatMap(({ name, function: called, wrong }) => {
    const problem = wrong === '' ? altered.get(called) : `${wrong}: missing, off or not as released`;
    if (problem === undefined) return [];
    return [finding('unprotected', { partition: name, expected: 'both triggers as released', actual: problem })];
  });
}

/** The trigger functions whose body or attributes are not those of the release, and what is wrong. */
async function alteredFunctions(client: SqlClient): Promise<Map<string, string>> {
  const design = await readDesign();
  const objects = GUARDS.map((guard) => `function ${guard.function}()`);
  const actual = new Map((await readFunctionFacts(client, objects)).map((fact) => [fact.object, fact.definition]));
  const altered = objects.filter(
    (object) => design.get(object) === undefined || design.get(object) !== actual.get(object),
  );
  return new Map(altered.map((object) => [object.slice('function '.length, -2), `${object} is not the released one`]));
}
