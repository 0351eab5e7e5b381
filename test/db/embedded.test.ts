/** The embedded PostgreSQL: made once, found again, recovered, and never half-made. */
import { chmod, chown, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { openDatabase } from '../../src/db/database.ts';
import { readEmbeddedState, startEmbedded, stopEmbedded } from '../../src/db/embedded.ts';
import { findClosed } from '../../src/db/embedded-files.ts';
import { queryOne } from '../../src/db/query.ts';
import { runCli, startCli } from '../cli/process.ts';

const up = z.object({ port: z.number(), pid: z.number() });

let home = '';
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'auditkeep-test-home-'));
});
afterEach(async () => {
  await stopEmbedded(home);
  await rm(home, { recursive: true, force: true });
});

async function ask(url: string, text: string): Promise<string> {
  const db = openDatabase({ url, applicationName: 'test', maxConnections: 1 });
  try {
    return (await db.withClient((client) => queryOne(client, z.object({ v: z.string() }), text))).v;
  } finally {
    await db.end();
  }
}

async function execute(url: string, text: string): Promise<void> {
  const db = openDatabase({ url, applicationName: 'test', maxConnections: 1 });
  await db.withClient((client) => client.query(text));
  await db.end();
}

describe('the embedded PostgreSQL', () => {
  it('is made by one of several processes at once and used by all', async () => {
    // What a shell may hold for another server must not reach this one.
    const env = { AUDITKEEP_HOME: home, PGDATA: '/nonexistent', PGPORT: '1', LC_ALL: 'xx_XX' };
    const runs = await Promise.all([1, 2, 3].map(() => runCli(['db', 'up', '--json'], env)));
    expect(runs.map((run) => [run.code, run.code === 0 ? '' : run.stdout])).toEqual([
      [0, ''],
      [0, ''],
      [0, ''],
    ]);
    const servers = runs.map((run) => up.parse(JSON.parse(run.stdout)));
    expect(new Set(servers.map((server) => server.pid)).size).toBe(1);
    expect(await readdir(home)).toEqual(['pg']);
    const again = await startEmbedded(home);
    expect(again.pid).toBe(servers[0]?.pid);
    expect(
      await ask(
        again.url,
        `select concat_ws(' ', current_setting('fsync'), pg_encoding_to_char(encoding),
                                   current_setting('listen_addresses'), current_setting('unix_socket_directories'))
             as v from pg_database where datname = current_database()`,
      ),
    ).toBe('on UTF8 127.0.0.1 ');
  });
});

describe('a cluster that exists', () => {
  // One for these tests: each leaves it as it found it, running or not.
  let kept = '';
  beforeAll(async () => {
    kept = await mkdtemp(join(tmpdir(), 'auditkeep-test-home-'));
  });
  afterAll(async () => {
    await stopEmbedded(kept);
    await rm(kept, { recursive: true, force: true });
  });

  it('keeps what was committed when its server is killed', async () => {
    const first = await startEmbedded(kept);
    await execute(first.url, `create table public.t as select 'kept' as v`);
    expect(await ask(first.url, 'select v from public.t')).toBe('kept');
    process.kill(first.pid, 'SIGKILL');
    const second = await startEmbedded(kept);
    expect(second.pid).not.toBe(first.pid);
    expect(await ask(second.url, 'select v from public.t')).toBe('kept');
  });

  it('recovers when the number in the lock file belongs to another program now', async () => {
    const first = await startEmbedded(kept);
    expect(await stopEmbedded(kept)).toBe(true);
    await writeFile(join(kept, 'pg/data/postmaster.pid'), `${process.pid}\n${kept}/pg/data\n1\n${first.port}\n`);
    expect((await readEmbeddedState(kept)).state).toBe('stopped');
    expect((await startEmbedded(kept)).port).toBe(first.port);
  });

  it('takes another port when its own is taken', async () => {
    const { port } = await startEmbedded(kept);
    await stopEmbedded(kept);
    const squatter = createServer();
    await new Promise<void>((resolve) => squatter.listen(port, '127.0.0.1', resolve));
    const moved = await startEmbedded(kept);
    squatter.close();
    expect(moved.port).not.toBe(port);
    expect(await ask(moved.url, `select 'alive' as v`)).toBe('alive');
  });

  it('is private: one password, in a file of its own', async () => {
    const { url } = await startEmbedded(kept);
    const password = (await readFile(join(kept, 'pg/password'), 'utf8')).trim();
    expect(password).toHaveLength(48);
    expect(url).toContain(password);
    expect((await stat(join(kept, 'pg/password'))).mode & 0o777).toBe(0o600);
    expect((await stat(join(kept, 'pg'))).mode & 0o777).toBe(0o700);
    await expect(ask(url.replace(password, 'guess'), `select 'in' as v`)).rejects.toMatchObject({
      code: 'DB_AUTHENTICATION',
    });
  });

  it('stops, and says so', async () => {
    expect(await readEmbeddedState(home)).toEqual({ state: 'absent', folder: join(home, 'pg') });
    expect(await stopEmbedded(home)).toBe(false);
    await startEmbedded(kept);
    expect(await readEmbeddedState(kept)).toMatchObject({ state: 'running' });
    expect(await stopEmbedded(kept)).toBe(true);
    expect(await readEmbeddedState(kept)).toMatchObject({ state: 'stopped' });
    expect(await stopEmbedded(kept)).toBe(false);
    expect(await runCli(['db', 'url'], { AUDITKEEP_HOME: kept })).toMatchObject({ code: 5, stdout: '' });
    expect(await readEmbeddedState(kept)).toMatchObject({ state: 'stopped' });
  });
});

describe('a folder that cannot hold it', () => {
  it('below a file is refused', async () => {
    await writeFile(join(home, 'file'), '');
    await expect(startEmbedded(join(home, 'file/home'))).rejects.toMatchObject({ code: 'EMBEDDED_FOLDER' });
    expect(await readdir(home)).toEqual(['file']);
  });

  it('without space leaves nothing half-made', async () => {
    // A limit on file size fails initdb in the middle, as a full disk does.
    const run = await startCli(['db', 'up'], { AUDITKEEP_HOME: home }, { shell: 'ulimit -f 64' }).ended;
    expect(run.code).toBe(5);
    expect(run.stderr).toMatch(/^error EMBEDDED_FAILED: the embedded PostgreSQL could not be created: .*; .*\n$/);
    expect(await readdir(home)).toEqual([]);
  });

  it('clears away what a killed maker left', async () => {
    // Beyond the greatest process number there is.
    await mkdir(join(home, 'pg.new-4194305-abcd/data'), { recursive: true });
    await startEmbedded(home);
    expect(await readdir(home)).toEqual(['pg']);
  });

  it.runIf(process.getuid?.() === 0)('that nobody may enter serves root all the same', async () => {
    const closed = join(home, 'closed');
    await mkdir(closed, { mode: 0o700 });
    const { pid } = await startEmbedded(join(closed, 'home'));
    expect((await stat(`/proc/${pid}`)).uid).toBe(65534);
    expect(await stopEmbedded(join(closed, 'home'))).toBe(true);
  });
});

describe.runIf(process.getuid?.() === 0)('an ordinary user (nobody; only root can become one for a test)', () => {
  const NOBODY = { uid: 65534, gid: 65534 };

  it('gets a server of its own, which others can neither enter nor read', async () => {
    await chown(home, NOBODY.uid, NOBODY.gid);
    const run = await runCli(['db', 'up', '--json'], { AUDITKEEP_HOME: join(home, 'own') }, NOBODY);
    expect(run.code, run.stderr).toBe(0);
    const { pid } = up.parse(JSON.parse(run.stdout));
    expect((await stat(`/proc/${pid}`)).uid).toBe(NOBODY.uid);
    expect((await stat(join(home, 'own'))).mode & 0o777).toBe(0o700);
    expect((await stat(join(home, 'own/pg/password'))).uid).toBe(NOBODY.uid);
    expect(await runCli(['db', 'down'], { AUDITKEEP_HOME: join(home, 'own') }, NOBODY)).toMatchObject({ code: 0 });
  });

  it('is told of a folder that it may not write to, and leaves nothing there', async () => {
    await chmod(home, 0o755);
    for (const folder of [home, join(home, 'below')]) {
      const run = await runCli(['db', 'up'], { AUDITKEEP_HOME: folder }, NOBODY);
      expect(run.code).toBe(2);
      expect(run.stderr).toMatch(/^error EMBEDDED_FOLDER: the folder .* cannot be made: EACCES; .*AUDITKEEP_HOME.*\n$/);
    }
    expect(await readdir(home)).toEqual([]);
  });

  it('without the right to pass is named the folder that stops it', async () => {
    const closed = join(home, 'closed');
    await mkdir(join(closed, 'pg'), { recursive: true });
    await chmod(home, 0o711);
    await chmod(closed, 0o700);
    expect(await findClosed(join(closed, 'pg'), NOBODY)).toBe(closed);
    await chmod(closed, 0o711);
    expect(await findClosed(join(closed, 'pg'), NOBODY)).toBe(null);
  });
});
