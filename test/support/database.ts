/** One database per test file, cloned from the migrated template, kept when the file failed. */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, inject, onTestFailed, vi } from 'vitest';
import { type Database, openDatabase } from '../../src/db/database.ts';

export interface TestDatabase {
  /** Connection string as the superuser; replace the user name to connect as another login (trust). */
  url(user?: string): string;
  /** A pool as the superuser: for arranging and tampering, never for the code under test. */
  readonly admin: Database;
  /** A pool as auditkeep_engine, as the worker has it. */
  readonly engine: Database;
  /** A pool as auditkeep_report, as controls have it. */
  readonly report: Database;
  /** A new pool as any login, or as the superuser with SET ROLE for a role that may not log in; closed at the end. */
  as(role: string): Database;
}

/** What connects as several roles to one database, and the end of all of it. */
function connectionsTo(name: string): TestDatabase & { end(): Promise<unknown> } {
  const open: Database[] = [];
  const url = (user = 'postgres') => {
    const result = new URL(inject('adminUrl'));
    result.username = user;
    result.pathname = `/${name}`;
    return result.href;
  };
  const pool = (user: string, role?: string) => {
    const options = { url: url(user), applicationName: `test-${role ?? user}`, maxConnections: 20 };
    const database = openDatabase(role === undefined ? options : { ...options, role });
    open.push(database);
    return database;
  };
  const databases = { admin: pool('postgres'), engine: pool('auditkeep_engine'), report: pool('auditkeep_report') };
  const end = () => Promise.all(open.map((database) => database.end()));
  return { url, ...databases, as: (role) => pool('postgres', role), end };
}

/** A database as this one is now: what a backup of it would bring back. Dropped after the file. */
export async function copyDatabase(source: TestDatabase): Promise<TestDatabase> {
  const adminUrl = inject('adminUrl');
  const [name, from] = [`test_${randomBytes(6).toString('hex')}`, new URL(source.url()).pathname.slice(1)];
  // Nobody may be connected to a template: the pools of the source are, idle, and connect again by themselves.
  const leave = `select pg_terminate_backend(pid) from pg_stat_activity where datname = '${from}'`;
  const create = async () => {
    await onServer(adminUrl, leave);
    await onServer(adminUrl, `create database ${name} template ${from}`);
  };
  await vi.waitFor(create, { timeout: 20_000, interval: 50 });
  for (const pool of [source.admin, source.engine, source.report]) {
    await vi.waitFor(() => pool.withClient((client) => client.query('select 1')), { timeout: 20_000, interval: 20 });
  }
  const copy = connectionsTo(name);
  copies.push(async () => {
    await copy.end();
    await onServer(adminUrl, `drop database ${name} with (force)`);
  });
  return copy;
}

const copies: (() => Promise<void>)[] = [];

/** Drops every copy that this file's tests made. */
export async function dropCopies(): Promise<void> {
  for (const drop of copies.splice(0)) await drop();
}

/** Call at the top of a test file or describe block; the databases are ready from beforeAll on. */
export function useDatabase(): TestDatabase {
  const adminUrl = inject('adminUrl');
  const name = `test_${randomBytes(6).toString('hex')}`;
  const { end, ...connections } = connectionsTo(name);
  let failed = false;
  beforeAll(async () => {
    await onServer(adminUrl, `create database ${name} template auditkeep_template`);
  });
  beforeEach(() => {
    onTestFailed(() => {
      failed = true;
    });
  });
  afterAll(async () => {
    await end();
    if (!failed) await onServer(adminUrl, `drop database ${name} with (force)`);
  });
  return connections;
}

async function onServer(adminUrl: string, statement: string): Promise<void> {
  const postgres = openDatabase({ url: adminUrl, applicationName: 'test-support', maxConnections: 1 });
  try {
    await postgres.withClient((client) => client.query(statement));
  } finally {
    await postgres.end();
  }
}
