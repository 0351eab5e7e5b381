/** The composition root: config -> pools -> key ring -> logger -> Context. The only place that builds these things. */
import { type Logger, pino } from 'pino';
import { z } from 'zod';
import type { Config } from './config.ts';
import type { Actor, Context, Progress } from './context.ts';
import { type Database, openDatabase } from './db/database.ts';
import { startEmbedded } from './db/embedded.ts';
import { queryOne } from './db/query.ts';
import { openRehearsal } from './db/rehearsal.ts';
import { AuditkeepError } from './errors.ts';
import { openQueue, type Queue } from './jobs/queue.ts';
import { openKeyring } from './keys/open-keyring.ts';
import { type KeyHome, openScratchHome } from './keys/scratch-home.ts';
import type { SealKeyOptions } from './keys/seal-key.ts';
import { countOf } from './plural.ts';
import { migrationStatus } from './schema/migrate.ts';
import { ROLES } from './schema/roles.ts';
import { checkVisibility } from './schema/visibility.ts';
import { type Clock, systemClock } from './time/clock.ts';

export interface App {
  readonly context: Context;
  /** The job queue, connected on first use. @throws SCHEMA_MISSING, DB_* */
  queue(): Promise<Queue>;
  /** A queue for one worker, which supervises it and closes it. @throws DB_* */
  openWorkerQueue(): Promise<Queue>;
  /** Ends every connection. The embedded server keeps running for the next command. */
  close(): Promise<void>;
}

export interface AppOptions {
  /** Default: the person of `as`, or the service `auditkeep`. */
  readonly actor?: Actor;
  /** Default: none is shown. */
  readonly progress?: Progress;
  readonly clock?: Clock;
  /** True: the context's engine pool is a rehearsal (db/rehearsal.ts), and no key file is made. */
  readonly rehearsal?: boolean;
}

const SILENT: Progress = { start: () => undefined, update: () => undefined, stop: () => undefined };

/**
 * Builds the Context on a migrated database, starting the embedded server where no other is configured.
 * @throws SCHEMA_MISSING, SCHEMA_NEWER, DB_ROWS_HIDDEN, DB_*, EMBEDDED_*
 */
export async function openApp(config: Config, options: AppOptions = {}): Promise<App> {
  const url = await resolveDatabaseUrl(config);
  await requireSchema(url);
  const applicationName = 'auditkeep';
  const pool = openDatabase({ url, role: ROLES.engine, applicationName });
  const reportUrl = config.reportDatabaseUrl ?? url;
  const reportDb = openDatabase({ url: reportUrl, role: ROLES.report, applicationName, maxConnections: 4 });
  try {
    await pool.withClient(refuseOtherSchema);
    await pool.withClient(checkVisibility);
  } catch (error) {
    await Promise.all([pool.end(), reportDb.end()]);
    throw error;
  }
  const db = options.rehearsal === true ? openRehearsal(pool) : pool;
  const keyHome: KeyHome = options.rehearsal === true ? await openScratchHome(db, config.home) : { path: config.home };
  const clock = options.clock ?? systemClock;
  const actor = options.actor ?? actorOf(config);
  const log = createLogger(config);
  const keys = openKeyring({ db, clock, home: keyHome.path, actor, seal: sealOptions(config, !options.rehearsal) });
  const context = { db, reportDb, clock, log, keys, actor, progress: options.progress ?? SILENT, config };
  const queueOptions = { url, role: ROLES.engine, log, clock };
  let queue: Promise<Queue> | null = null;
  return {
    context,
    queue: () => (queue ??= openQueue(queueOptions)),
    openWorkerQueue: () => openQueue(queueOptions, true),
    async close() {
      // Whoever asked for a queue that did not open was told so; there is nothing of it to close.
      const opened = await queue?.catch(() => null);
      await opened?.close();
      await Promise.all([db.end(), reportDb.end()]);
      await keyHome.remove?.();
    },
  };
}

function sealOptions({ organization, origin, sealKey: key, sealCertificate }: Config, writes: boolean): SealKeyOptions {
  const files = key === null || sealCertificate === null ? null : { key, certificate: sealCertificate };
  return { organization: organization ?? origin.slice(0, 48), files, writes };
}

/** The connection string of the configured server, or of the embedded one, which this starts if need be. */
export async function resolveDatabaseUrl(config: Config): Promise<string> {
  if (config.databaseUrl !== null) return config.databaseUrl;
  const server = await startEmbedded(config.home);
  return server.url;
}

/** A pool as the configured login itself, for `migrate`. */
export async function openAdminDatabase(config: Config): Promise<Database> {
  return openDatabase({
    url: await resolveDatabaseUrl(config),
    applicationName: 'auditkeep-admin',
    maxConnections: 4,
  });
}

function actorOf(config: Config): Actor {
  return config.as === null
    ? { kind: 'service', name: 'auditkeep' }
    : { kind: 'person', email: config.as, keyFile: config.key };
}

/** JSON lines on stderr; stdout is for data. */
function createLogger(config: Config): Logger {
  return pino({ level: config.logLevel, base: null }, pino.destination({ dest: 2, sync: true }));
}

/** Looks as the login itself: before the first migration the engine's role and its right to look need not exist. */
async function requireSchema(url: string): Promise<void> {
  const login = openDatabase({ url, applicationName: 'auditkeep', maxConnections: 1 });
  try {
    const found = await login.withClient((client) =>
      queryOne(
        client,
        z.object({ migrated: z.boolean() }),
        `select coalesce(pg_catalog.has_table_privilege(pg_catalog.to_regrole('auditkeep_engine'),
                         pg_catalog.to_regclass('ops.migration'), 'select'), false) as migrated`,
      ),
    );
    if (!found.migrated) throw schemaMissing('the database has not been migrated');
  } finally {
    await login.end();
  }
}

async function refuseOtherSchema(client: Parameters<typeof migrationStatus>[0]): Promise<void> {
  const { pending } = await migrationStatus(client);
  if (pending.length > 0)
    throw schemaMissing(`the database lacks ${countOf(pending.length, 'migration')} of this release`);
}

function schemaMissing(message: string): AuditkeepError {
  return new AuditkeepError('SCHEMA_MISSING', { message, hint: 'run: auditkeep migrate' });
}
