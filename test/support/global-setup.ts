/**
 * One PostgreSQL server for a test run, on a free loopback port, with a migrated template database that every test
 * file clones. AUDITKEEP_TEST_PG_BIN names another server's bin folder (PostgreSQL 15); default is the embedded 18.
 */
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
  const server = await startTestServer();
  try {
    await makeTemplate(server);
  } catch (error) {
    await server.stop();
    throw error;
  }
  project.provide('adminUrl', server.url('postgres'));
  return () => server.stop();
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
