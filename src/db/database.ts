/** A pool of connections to one PostgreSQL database as one role, with every session set up the same way. */
import pg from 'pg';
import { translateDatabaseError } from './errors.ts';

/** What a query accepts: a pooled connection inside or outside a transaction. */
export type SqlClient = pg.ClientBase;

export interface Database {
  /** Runs fn on one connection, which returns to the pool afterwards (or is destroyed when fn fails). */
  withClient<T>(fn: (client: SqlClient) => Promise<T>): Promise<T>;
  end(): Promise<void>;
}

export interface DatabaseOptions {
  readonly url: string;
  /** The role that sessions take on with SET ROLE; undefined keeps the login itself. */
  readonly role?: string;
  readonly applicationName: string;
  readonly maxConnections?: number;
  readonly connectTimeoutMs?: number;
}

/** pg waits for the hook's promise before it hands a connection out, which its type declarations do not say. */
interface PoolOptions extends Omit<pg.PoolConfig, 'onConnect'> {
  onConnect(client: SqlClient): Promise<void>;
}

const TIMESTAMPTZ_TYPES: ReadonlySet<number> = new Set([1114, 1184, 1082]);
const INT8_TYPE = 20;

/**
 * Values as they are: int8 is bigint, numeric text, timestamps and dates PostgreSQL's own text (microseconds are kept;
 * parse them with time/clock.ts), json parsed, bytea Buffer.
 */
const sessionTypes: pg.CustomTypesConfig = {
  getTypeParser(oid: number, format?: 'text' | 'binary') {
    if (format !== 'binary' && oid === INT8_TYPE) return (text: string) => BigInt(text);
    if (format !== 'binary' && TIMESTAMPTZ_TYPES.has(oid)) return (text: string) => text;
    return pg.types.getTypeParser(oid, format === 'binary' ? 'binary' : 'text') as (text: string) => unknown;
  },
} as pg.CustomTypesConfig;

/**
 * Opens a pool. No connection is made until the first query.
 * @throws DB_UNREACHABLE, DB_AUTHENTICATION, DB_PRIVILEGE from withClient when a connection cannot be made.
 */
export function openDatabase(options: DatabaseOptions): Database {
  const poolOptions: PoolOptions = {
    connectionString: options.url,
    max: options.maxConnections ?? 8,
    connectionTimeoutMillis: options.connectTimeoutMs ?? 10_000,
    application_name: options.applicationName,
    types: sessionTypes,
    onConnect: (client) => setUpSession(client, options.role),
  };
  const pool = new pg.Pool(poolOptions);
  // An idle connection that the server closes raises 'error' on the pool; unheard, it would end the process. The next
  // checkout makes a new connection and reports its own failure.
  pool.on('error', () => undefined);
  // The same for a connection that is checked out but idle: its next query fails and tells.
  pool.on('connect', (client) => client.on('error', () => undefined));
  return {
    async withClient(fn) {
      const client = await pool.connect().catch((error: unknown) => {
        throw translateDatabaseError(error);
      });
      let failed = true;
      try {
        const result = await fn(client);
        failed = false;
        return result;
      } catch (error) {
        throw translateDatabaseError(error);
      } finally {
        client.release(failed);
      }
    },
    end: () => pool.end(),
  };
}

/**
 * row_security off turns a silently filtered read into an error. It is set only where the role bypasses row-level
 * security: elsewhere policies stand in and off would be an error on every read.
 */
async function setUpSession(client: SqlClient, role: string | undefined): Promise<void> {
  if (role !== undefined) await client.query(`set role ${pg.escapeIdentifier(role)}`);
  await client.query(
    `select set_config('TimeZone', 'UTC', false), set_config('client_encoding', 'UTF8', false),
            set_config('DateStyle', 'ISO', false), set_config('IntervalStyle', 'postgres', false),
            -- What is reported as done must outlive a crash of the server, whatever the server's own default is.
            set_config('synchronous_commit', case current_setting('synchronous_commit') when 'off' then 'on'
                                               else current_setting('synchronous_commit') end, false),
            set_config('extra_float_digits', '1', false), set_config('bytea_output', 'hex', false),
            set_config('search_path', 'pg_catalog, pg_temp', false),
            -- A query whose process was killed would run on for hours, with its locks. Only Linux can tell.
            set_config('client_connection_check_interval', case when version() like '%linux%' then '10s'
                         else current_setting('client_connection_check_interval') end, false),
            set_config('row_security', case when r.rolbypassrls or r.rolsuper then 'off' else 'on' end, false)
       from pg_catalog.pg_roles r where r.rolname = current_user`,
  );
}
