/** What must hold before a migration touches anything: the server's version and encoding, and the login's rights. */
import { z } from 'zod';
import type { SqlClient } from '../db/database.ts';
import { quoteIdentifier } from '../db/identifier.ts';
import { queryOne } from '../db/query.ts';
import { AuditkeepError } from '../errors.ts';
import { APPLICATION_ROLES, ROLES, SCHEMAS } from './roles.ts';

const OLDEST_SERVER = 150_000;
const NEEDED_EXTENSIONS = ['uuid-ossp', 'pgcrypto', 'pg_trgm'] as const;
/** Who the migration acts as. */
const TAKEN_ON = [ROLES.owner, ROLES.view] as const;

export interface ServerFacts {
  /** server_version_num, for example 180004. */
  readonly version: number;
  readonly encoding: string;
}

/**
 * Refuses a server this release does not support.
 * @throws DB_VERSION, DB_ENCODING
 */
export function checkServerFacts(server: ServerFacts): void {
  if (server.version < OLDEST_SERVER) {
    throw new AuditkeepError('DB_VERSION', {
      message: `PostgreSQL ${Math.floor(server.version / 10_000)} is too old`,
      hint: 'use PostgreSQL 15 to 18',
      details: { serverVersionNum: server.version },
    });
  }
  if (server.encoding !== 'UTF8') {
    throw new AuditkeepError('DB_ENCODING', {
      message: `the database encoding is ${server.encoding}; event hashes need UTF8`,
      hint: "create the database with ENCODING 'UTF8' TEMPLATE template0",
      details: { encoding: server.encoding },
    });
  }
}

/** Reads version and encoding and refuses what checkServerFacts refuses. */
export async function checkServer(client: SqlClient): Promise<void> {
  const facts = await queryOne(
    client,
    z.object({ version: z.number(), encoding: z.string() }),
    `select pg_catalog.current_setting('server_version_num')::int as version,
            pg_catalog.current_setting('server_encoding') as encoding`,
  );
  checkServerFacts(facts);
}

const rightsShape = z.object({
  login: z.string(),
  database: z.string(),
  superuser: z.boolean(),
  /** CREATEROLE. */
  mayCreateRoles: z.boolean(),
  /** CREATE on the database. */
  mayCreateSchemas: z.boolean(),
  /** Our roles that do not exist yet. */
  absentRoles: z.array(z.string()),
  /** Roles the migration acts as that exist and that the login can neither take on nor give itself. */
  barredRoles: z.array(z.string()),
  /** Our schema names that belong to somebody else, with the role that should own them. */
  foreignSchemas: z.array(z.object({ schema: z.string(), owner: z.string() })),
  /** Extensions that are neither installed nor available on the server. */
  absentExtensions: z.array(z.string()),
});

export type LoginRights = Readonly<z.infer<typeof rightsShape>>;

/** The statements somebody with the right must run before this login can migrate; empty when it can. */
export function missingRights(rights: LoginRights): string[] {
  const login = quoteIdentifier(rights.login);
  const statements: string[] = [];
  if (!rights.superuser) {
    if (rights.absentRoles.length > 0 && !rights.mayCreateRoles) statements.push(`ALTER ROLE ${login} CREATEROLE`);
    if (!rights.mayCreateSchemas) {
      statements.push(`GRANT CREATE ON DATABASE ${quoteIdentifier(rights.database)} TO ${login}`);
    }
    if (rights.barredRoles.length > 0) {
      statements.push(`GRANT ${rights.barredRoles.map((role) => quoteIdentifier(role)).join(', ')} TO ${login}`);
    }
  }
  for (const { schema, owner } of rights.foreignSchemas) {
    statements.push(`ALTER SCHEMA ${quoteIdentifier(schema)} OWNER TO ${quoteIdentifier(owner)}`);
  }
  return statements;
}

/**
 * Checks, before anything is changed, that the login may do all that roles.sql and the migrations do.
 * @throws DB_PRIVILEGE with the statements that give what is missing, DB_EXTENSION
 */
export async function checkRights(client: SqlClient): Promise<void> {
  const rights = await readRights(client);
  if (rights.absentExtensions.length > 0) {
    throw new AuditkeepError('DB_EXTENSION', {
      message: `the server has no extension ${rights.absentExtensions.join(', ')}`,
      hint: "install PostgreSQL's contrib package on the server (postgresql-contrib)",
      details: { extensions: rights.absentExtensions },
    });
  }
  const missing = missingRights(rights);
  if (missing.length > 0) {
    throw new AuditkeepError('DB_PRIVILEGE', {
      message: `the login ${rights.login} may not migrate database ${rights.database}`,
      hint: `as a superuser run: ${missing.join('; ')}; or migrate as another login (docs/guide/dba.md)`,
      details: { missing },
    });
  }
}

/** What the login may do and what is there already. */
function readRights(client: SqlClient): Promise<LoginRights> {
  const schemas = Object.keys(SCHEMAS);
  return queryOne(
    client,
    rightsShape,
    `select me.rolname as login, current_database() as database, me.rolsuper as superuser,
            me.rolcreaterole as "mayCreateRoles",
            has_database_privilege(current_database(), 'create') as "mayCreateSchemas",
            array(select wanted.name from unnest($1::text[]) as wanted(name)
                   where not exists (select from pg_roles where rolname = wanted.name)) as "absentRoles",
            array(select r.rolname::text from pg_roles r
                   where r.rolname = any ($2::text[]) and not me.rolsuper
                     and not case when current_setting('server_version_num')::int < 160000
                                  then me.rolcreaterole or pg_has_role(r.oid, 'member')
                                  else pg_has_role(r.oid, 'set')
                                    or pg_has_role(r.oid, 'member with admin option') end) as "barredRoles",
            (select coalesce(jsonb_agg(jsonb_build_object('schema', n.nspname, 'owner', wanted.owner)), '[]')
               from unnest($3::text[], $4::text[]) as wanted(schema, owner)
               join pg_namespace n on n.nspname = wanted.schema
              where pg_get_userbyid(n.nspowner) <> wanted.owner) as "foreignSchemas",
            array(select needed.name from unnest($5::text[]) as needed(name)
                   where not exists (select from pg_available_extensions a where a.name = needed.name))
              as "absentExtensions"
       from pg_roles me where me.rolname = current_user`,
    [
      [...Object.values(ROLES), ...APPLICATION_ROLES],
      [...TAKEN_ON],
      schemas,
      Object.values(SCHEMAS),
      [...NEEDED_EXTENSIONS],
    ],
  );
}
