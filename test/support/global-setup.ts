/**
 * One PostgreSQL server for a test run, on a free loopback port, with a migrated template database that every test
 * file clones. AUDITKEEP_TEST_PG_BIN names another server's bin folder (PostgreSQL 15); default is the embedded 18.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { openDatabase } from '../../src/db/database.ts';
import { migrate } from '../../src/schema/migrate.ts';
import { startTestServer, type TestServer } from './server.ts';

declare module 'vitest' {
  interface ProvidedContext {
    adminUrl: string;
  }
}

const TEMPLATE = 'auditkeep_template';

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  // The tests start a hundred processes and more, and each would strip the types of every source file again.
  const compiled = await mkdtemp(join(tmpdir(), 'auditkeep-test-compiled-'));
  process.env['NODE_COMPILE_CACHE'] = compiled;
  const server = await startTestServer();
  const end = async () => {
    await server.stop();
    // A process that ends late still writes its cache there: removed again until it is empty.
    await rm(compiled, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  };
  try {
    await makeTemplate(server);
  } catch (error) {
    await end();
    throw error;
  }
  project.provide('adminUrl', server.url('postgres'));
  return end;
}

async function makeTemplate(server: TestServer): Promise<void> {
  const postgres = openDatabase({ url: server.url('postgres'), applicationName: 'test-setup' });
  const template = openDatabase({ url: server.url(TEMPLATE), applicationName: 'test-setup' });
  try {
    await postgres.withClient((client) =>
      client.query(`create database ${TEMPLATE} encoding 'UTF8' template template0`),
    );
    await migrate(template);
  } finally {
    await Promise.all([postgres.end(), template.end()]);
  }
}
