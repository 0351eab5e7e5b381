/** One database per test file, cloned from the migrated template, kept when the file failed. */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, inject, onTestFailed } from 'vitest';
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

/** Call at the top of a test file or describe block; the databases are ready from beforeAll on. */
export function useDatabase(): TestDatabase {
  const adminUrl = inject('adminUrl');
  const name = `test_${randomBytes(6).toString('hex')}`;
  const open: Database[] = [];
  let failed = false;
  const url = (user = 'postgres') => {
    const result = new URL(adminUrl);
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
  beforeAll(async () => {
    await onServer(adminUrl, `create database ${name} template auditkeep_template`);
  });
  beforeEach(() => {
    onTestFailed(() => {
      failed = true;
    });
  });
  afterAll(async () => {
    await Promise.all(open.map((database) => database.end()));
    if (!failed) await onServer(adminUrl, `drop database ${name} with (force)`);
  });
  return { url, ...databases, as: (role) => pool('postgres', role) };
}

async function onServer(adminUrl: string, statement: string): Promise<void> {
  const postgres = openDatabase({ url: adminUrl, applicationName: 'test-support', maxConnections: 1 });
  try {
    await postgres.withClient((client) => client.query(statement));
  } finally {
    await postgres.end();
  }
}
