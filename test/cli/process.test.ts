/** The command line as a process, against databases that refuse it. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { installQueues } from '../../src/jobs/install.ts';
import { useDatabase } from '../support/database.ts';
import { bareEnvironment, runCli } from './process.ts';

const db = useDatabase();
const bare = useDatabase();
const NOTHING_LISTENS = 'postgres://me@127.0.0.1:1/x';

beforeAll(async () => {
  await db.as('auditkeep_owner').withClient((client) => installQueues(client, []));
  await db.admin.withClient(async (client) => {
    await client.query(`create role test_stranger login`).catch(() => undefined);
  });
});

describe('a database that refuses', () => {
  it.each([
    ['is not there', () => NOTHING_LISTENS, 'DB_UNREACHABLE', 5],
    ['does not know the login', () => db.url('nobody_at_all'), 'DB_AUTHENTICATION', 5],
    ['does not exist', () => db.url().replace(/test_\w+$/, 'absent'), 'DB_UNREACHABLE', 5],
    ['gives the login no rights', () => db.url('test_stranger'), 'DB_PRIVILEGE', 2],
    ['was never migrated', () => db.url().replace(/test_\w+$/, 'postgres'), 'SCHEMA_MISSING', 2],
  ])('because it %s', async (_why, url, code, exit) => {
    const run = await runCli(['job', 'list'], { DATABASE_URL: url() });
    expect(run).toMatchObject({ code: exit, stdout: '' });
    expect(run.stderr).toMatch(new RegExp(`^error ${code}: [^\\n]+; [^\\n]+\\n$`));
  });

  it('gives a stack only when asked', async () => {
    const run = await runCli(['job', 'list'], { DATABASE_URL: NOTHING_LISTENS, AUDITKEEP_DEBUG: '1' });
    expect(run.stderr).toMatch(/^error DB_UNREACHABLE: .*\n.*Error.*\n\s+at /);
  });

  it('was migrated without its queues', async () => {
    const run = await runCli(['schedule', 'run', 'anonymize'], { DATABASE_URL: bare.url() });
    expect(run.stderr).toMatch(/^error SCHEMA_MISSING: the job queues/);
  });

  it('prefers the flag', async () => {
    const env = { DATABASE_URL: NOTHING_LISTENS };
    expect(await runCli(['job', 'list', '--database-url', db.url()], env)).toMatchObject({ code: 0, stderr: '' });
  });
});

describe('the process', () => {
  it('reports a misspelt variable with the nearest name', async () => {
    const run = await runCli(['db', 'status'], { AUDITKEEP_HOM: '/x' });
    expect(run).toMatchObject({ code: 2, stdout: '' });
    expect(run.stderr).toContain('did you mean AUDITKEEP_HOME?');
  });

  it('is quiet when its reader goes away', async () => {
    const entry = fileURLToPath(new URL('./entry.ts', import.meta.url));
    const child = spawn('/bin/sh', ['-c', `"$0" "$1" --help | true; echo done`, process.execPath, entry], {
      env: bareEnvironment({}),
    });
    let output = '';
    child.stderr.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
    await new Promise((resolve) => child.on('close', resolve));
    expect(output).toBe('');
  });

  it('prints a completion script', async () => {
    const run = await runCli(['completion']);
    expect(run).toMatchObject({ code: 0, stderr: '' });
    expect(run.stdout).toContain('_auditkeep_yargs_completions');
  });
});
