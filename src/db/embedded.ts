/**
 * The embedded PostgreSQL of a home folder: started when needed, found and used again by later commands, recovered
 * after a kill. PostgreSQL's own lock file decides between two processes that start it at once; the loser waits for the
 * winner's server.
 */
import { realpath, unlink } from 'node:fs/promises';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { AuditkeepError } from '../errors.ts';
import { openDatabase, type SqlClient } from './database.ts';
import { createCluster, isCreated } from './embedded-create.ts';
import {
  type EmbeddedPaths,
  embeddedPaths,
  isAlive,
  isServerProcess,
  prepareHome,
  readLastPort,
  readLockFile,
  readOptional,
  serverIdentity,
} from './embedded-files.ts';
import { type EmbeddedPrograms, failureLine, findPrograms, runProgram } from './embedded-programs.ts';
import { sqlStateOf } from './errors.ts';
import { execute, queryOne } from './query.ts';

const DATABASE = 'auditkeep';
const ATTEMPTS = 120;
const ATTEMPT_PAUSE_MS = 250;

export interface EmbeddedServer {
  /** As the superuser, to the database `auditkeep`. */
  readonly url: string;
  readonly port: number;
  readonly pid: number;
}

export type EmbeddedState =
  | ({ readonly state: 'running'; readonly folder: string } & EmbeddedServer)
  | { readonly state: 'stopped' | 'absent'; readonly folder: string };

/**
 * The running server of a home folder, created and started if need be. Safe to call from several processes at once.
 * @throws EMBEDDED_FOLDER, EMBEDDED_FAILED
 */
export async function startEmbedded(home: string): Promise<EmbeddedServer> {
  const paths = embeddedPaths(home);
  const programs = await findPrograms();
  const identity = serverIdentity();
  await prepareHome(home, identity, dirname(programs.pg_ctl));
  if (!(await isCreated(paths))) await createCluster(paths, programs, identity);
  let port = (await readLastPort(paths)) ?? (await freePort());
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const running = await findRunning(paths);
    if (running !== null && running !== 'starting') {
      await ensureDatabase(paths, running.port);
      return running;
    }
    if (running === null) {
      const outcome = await startServer(paths, programs, port);
      if (outcome === 'port-taken') port = await freePort();
      if (outcome === 'started') continue;
    }
    await delay(ATTEMPT_PAUSE_MS);
  }
  throw failed('it does not accept connections', paths);
}

/** Stops the server; false when none was running. Connections are ended, committed work is kept. */
export async function stopEmbedded(home: string): Promise<boolean> {
  const paths = embeddedPaths(home);
  const lock = await readLockFile(paths);
  if (lock === null || !(await isServerProcess(lock.pid, paths))) return false;
  const programs = await findPrograms();
  const args = ['-D', paths.data, '-m', 'fast', '-w', '-t', '60', 'stop'];
  const result = await runProgram(programs.pg_ctl, args, serverIdentity(), paths.root);
  if (!result.ok && (await readLockFile(paths)) !== null) throw failed(failureLine(result.output), paths);
  return true;
}

/** What there is, without starting anything. */
export async function readEmbeddedState(home: string): Promise<EmbeddedState> {
  const paths = embeddedPaths(home);
  if (!(await isCreated(paths))) return { state: 'absent', folder: paths.root };
  const running = await findRunning(paths);
  if (running === null || running === 'starting') return { state: 'stopped', folder: paths.root };
  return { state: 'running', folder: paths.root, ...running };
}

/** Only a server that answers with our password from our own folder is ours. */
async function findRunning(paths: EmbeddedPaths): Promise<EmbeddedServer | 'starting' | null> {
  const lock = await readLockFile(paths);
  if (lock === null) return null;
  if (!isAlive(lock.pid)) return null; // PostgreSQL itself recovers from a lock file of a dead process
  if (!(await isServerProcess(lock.pid, paths))) {
    // After a restart of the machine the number may belong to another program of this user, which PostgreSQL would respect.
    if ((await readLockFile(paths))?.pid === lock.pid) await unlink(join(paths.data, 'postmaster.pid'));
    return null;
  }
  const folder = lock.port === 0 ? null : await askDataFolder(paths, lock.port);
  if (folder !== (await realpath(paths.data))) return 'starting';
  return { url: await urlOf(paths, lock.port, DATABASE), port: lock.port, pid: lock.pid };
}

async function askDataFolder(paths: EmbeddedPaths, port: number): Promise<string | null> {
  try {
    return await asSuperuser(paths, port, async (client) => {
      const row = await queryOne(
        client,
        z.object({ folder: z.string() }),
        `select pg_catalog.current_setting('data_directory') as folder`,
      );
      return await realpath(row.folder);
    });
  } catch (error) {
    if (error instanceof AuditkeepError) return null; // starting up, or another server on that port
    throw error;
  }
}

async function startServer(
  paths: EmbeddedPaths,
  programs: EmbeddedPrograms,
  port: number,
): Promise<'started' | 'port-taken' | 'somebody-else'> {
  const logged = (await readOptional(paths.log))?.length ?? 0;
  const args = ['-D', paths.data, '-l', paths.log, '-w', '-t', '60', '-o', `-p ${port}`, 'start'];
  const result = await runProgram(programs.pg_ctl, args, serverIdentity(), paths.root);
  if (result.ok) return 'started';
  const said = `${result.output}\n${(await readOptional(paths.log))?.slice(logged) ?? ''}`;
  if (/could not create any TCP\/IP sockets|Address already in use/.test(said)) return 'port-taken';
  // Backends of a killed server hold its shared memory for a moment longer.
  if (/postmaster\.pid" already exists|shared memory block|another server might be running/.test(said)) {
    return 'somebody-else';
  }
  throw failed(failureLine(said), paths);
}

async function ensureDatabase(paths: EmbeddedPaths, port: number): Promise<void> {
  await asSuperuser(paths, port, async (client) => {
    const found = await queryOne(
      client,
      z.object({ exists: z.boolean() }),
      'select exists (select from pg_catalog.pg_database where datname = $1) as exists',
      [DATABASE],
    );
    if (found.exists) return;
    await execute(client, `create database ${DATABASE} encoding 'UTF8' template template0`).catch((error: unknown) => {
      const state = sqlStateOf(error);
      if (state !== '42P04' && state !== '23505') throw error; // another process made it in between
    });
  });
}

async function asSuperuser<T>(paths: EmbeddedPaths, port: number, fn: (client: SqlClient) => Promise<T>): Promise<T> {
  const url = await urlOf(paths, port, 'postgres');
  const postgres = openDatabase({ url, applicationName: 'auditkeep-db', maxConnections: 1, connectTimeoutMs: 5_000 });
  try {
    return await postgres.withClient(fn);
  } finally {
    await postgres.end();
  }
}

async function urlOf(paths: EmbeddedPaths, port: number, database: string): Promise<string> {
  const password = (await readOptional(paths.password))?.trim() ?? '';
  return `postgres://postgres:${password}@127.0.0.1:${port}/${database}?sslmode=disable`;
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}

function failed(reason: string, paths: EmbeddedPaths): AuditkeepError {
  return new AuditkeepError('EMBEDDED_FAILED', {
    message: `the embedded PostgreSQL could not be started: ${reason}`,
    hint: `see ${paths.log}, or set DATABASE_URL to a server of your own`,
    details: { log: paths.log },
  });
}
