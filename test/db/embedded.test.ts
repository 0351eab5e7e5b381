/** The embedded PostgreSQL: made once, found again, recovered, and never half-made. */
import { spawn } from 'node:child_process';
import { chmod, chown, copyFile, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { z } from 'zod';
import { openDatabase } from '../../src/db/database.ts';
import { readEmbeddedState, startEmbedded, stopEmbedded } from '../../src/db/embedded.ts';
import { findClosed } from '../../src/db/embedded-files.ts';
import { queryOne } from '../../src/db/query.ts';
import { runCli, startCli } from '../cli/process.ts';

const up = z.object({ port: z.number(), pid: z.number() });
/** No process has this number: it is beyond the greatest there is. */
const BEYOND = 4_194_305;

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

const NO_RIGHTS = '0000000000000000';
/** What a process may do beyond its user, as capabilities(7) numbers the bits; only Linux has such. */
async function rightsOf(pid: number): Promise<string> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  return /^CapEff:\s*(\w+)$/m.exec(status)?.[1] ?? NO_RIGHTS;
}

async function execute(url: string, text: string): Promise<void> {
  const db = openDatabase({ url, applicationName: 'test', maxConnections: 1 });
  await db.withClient((client) => client.query(text)).finally(() => db.end());
}

describe('the embedded PostgreSQL', () => {
  it('is made by one of several processes at once and used by all', async () => {
    // What a shell may hold for another server must not reach this one.
    const env = { AUDITKEEP_HOME: home, PGDATA: '/nonexistent', PGPORT: '1', PGDATESTYLE: 'none', LC_ALL: 'xx_XX' };
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
        // As the file says: sessions of ours set their time zone themselves.
        `select concat_ws(' ', datname, pg_encoding_to_char(encoding), datlocprovider, datlocale, current_setting('fsync'), (
             select string_agg(setting, ' ' order by name) from pg_file_settings
              where applied and name in ('listen_addresses', 'log_timezone', 'logging_collector', 'max_connections',
                             'max_locks_per_transaction', 'password_encryption', 'timezone', 'unix_socket_directories')))
             as v from pg_database where datname = current_database()`,
      ),
    ).toBe('auditkeep UTF8 b C.UTF-8 on 127.0.0.1 UTC off 100 512 scram-sha-256 UTC ');
    expect(await rightsOf(again.pid)).toBe(NO_RIGHTS);
    // As root others pass through to the server's folder, and see no name in ours.
    expect((await stat(home)).mode & 0o777).toBe(process.getuid?.() === 0 ? 0o711 : 0o700);
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
    // A session that is busy outlives its server, and PostgreSQL starts no other beside it.
    const busy = `do $$ begin while (pg_stat_file('stop', true)).size is null
      and clock_timestamp() < now() + interval '1 minute' loop null; end loop; end $$`;
    const ended = execute(first.url, busy).catch(() => undefined);
    const seen = `select count(*)::text as v from pg_stat_activity where state = 'active' and query like 'do $$%'`;
    while ((await ask(first.url, seen)) !== '1');
    process.kill(first.pid, 'SIGKILL');
    const starting = startEmbedded(kept);
    const failed = starting.catch(() => null);
    const log = join(kept, 'pg/server.log');
    while (!(await readFile(log, 'utf8')).includes('shared memory block'));
    await writeFile(join(kept, 'pg/data/stop'), '');
    await Promise.all([ended, failed]);
    const second = await starting;
    expect(second.pid).not.toBe(first.pid);
    expect(await ask(second.url, 'select v from public.t')).toBe('kept');
  });

  it('recovers when the number in the lock file belongs to another program now', async () => {
    const first = await startEmbedded(kept);
    expect(await stopEmbedded(kept)).toBe(true);
    // Even one that works in the server's folder.
    const data = join(kept, 'pg/data');
    const other = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { cwd: data });
    onTestFinished(() => void other.kill());
    await writeFile(join(data, 'postmaster.pid'), `${other.pid}\n${data}\n1\n${first.port}\n`);
    expect((await readEmbeddedState(kept)).state).toBe('stopped');
    expect((await startEmbedded(kept)).port).toBe(first.port);
  });

  it('is not mistaken for that of a copied folder, whose lock file names it', async () => {
    const { pid } = await startEmbedded(kept);
    const copy = join(home, 'pg/data');
    await mkdir(copy, { recursive: true });
    for (const file of ['password', 'data/PG_VERSION', 'data/postmaster.pid']) {
      await copyFile(join(kept, 'pg', file), join(home, 'pg', file));
    }
    expect(await stopEmbedded(home)).toBe(false);
    expect((await readEmbeddedState(home)).state).toBe('stopped');
    expect(await readdir(copy)).toEqual(['PG_VERSION']);
    expect(await readEmbeddedState(kept)).toMatchObject({ state: 'running', pid });
  });

  it('leaves the lock file of a dead server to PostgreSQL, which knows whether a part of it still lives', async () => {
    await mkdir(join(home, 'pg/data'), { recursive: true });
    await writeFile(join(home, 'pg/data/PG_VERSION'), '18\n');
    await writeFile(join(home, 'pg/data/postmaster.pid'), `${BEYOND}\n${home}/pg/data\n1\n1\n`);
    expect((await readEmbeddedState(home)).state).toBe('stopped');
    expect(await stopEmbedded(home)).toBe(false);
    expect(await readdir(join(home, 'pg/data'))).toEqual(['PG_VERSION', 'postmaster.pid']);
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
    const run = await runCli(['migrate', 'status'], { DATABASE_URL: url.replace(password, 'guess') });
    expect(run).toMatchObject({ code: 5, stdout: '' });
    expect(run.stderr).toMatch(/^error DB_AUTHENTICATION: [^\n]+; [^\n]+\n$/);
    expect(run.stderr).not.toContain('guess');
  });

  it('that does not start says why', async () => {
    await stopEmbedded(kept);
    const { port } = await startEmbedded(kept);
    await stopEmbedded(kept);
    await chmod(join(kept, 'pg/data'), 0o755);
    const run = await runCli(['db', 'up'], { AUDITKEEP_HOME: kept });
    expect(run).toMatchObject({ code: 5, stdout: '' });
    expect(run.stderr).toMatch(
      /^error EMBEDDED_FAILED: [^\n]*could not be started: [^\n]*has invalid permissions; see [^\n]*server\.log[^\n]*\n$/,
    );
    await chmod(join(kept, 'pg/data'), 0o700);
    expect((await startEmbedded(kept)).port).toBe(port);
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
    expect((await readEmbeddedState(join(home, 'file/home'))).state).toBe('absent');
    expect(await readdir(home)).toEqual(['file']);
  });

  it('without space leaves nothing half-made', async () => {
    // A limit on file size fails initdb in the middle, as a full disk does.
    const run = await startCli(['db', 'up'], { AUDITKEEP_HOME: home }, { shell: 'ulimit -f 64' }).ended;
    expect(run.code).toBe(5);
    expect(run.stderr).toMatch(/^error EMBEDDED_FAILED: the embedded PostgreSQL could not be created: .*; .*\n$/);
    expect(await readdir(home)).toEqual([]);
  });

  it('on a machine that the package has no programs for is said so', async () => {
    const arch = Object.getOwnPropertyDescriptor(process, 'arch');
    Object.defineProperty(process, 'arch', { ...arch, value: 'pdp11' });
    try {
      await expect(startEmbedded(home)).rejects.toMatchObject({
        code: 'EMBEDDED_FAILED',
        message: `there is no embedded PostgreSQL for ${process.platform}-pdp11`,
      });
    } finally {
      Object.defineProperty(process, 'arch', { ...arch });
    }
    expect(await readdir(home)).toEqual([]);
  });

  it('clears away what a killed maker left', async () => {
    await mkdir(join(home, `pg.new-${BEYOND}-abcd/data`), { recursive: true });
    const ours = `pg.new-${process.pid}-abcd`;
    await mkdir(join(home, ours));
    await startEmbedded(home);
    expect(await readdir(home)).toEqual(['pg', ours]);
  });

  it.runIf(process.getuid?.() === 0)('that nobody may enter serves root all the same', async () => {
    const closed = join(home, 'closed');
    await mkdir(closed, { mode: 0o700 });
    const { pid } = await startEmbedded(join(closed, 'home'));
    expect((await stat(`/proc/${pid}`)).uid).toBe(65534);
    // CAP_DAC_READ_SEARCH, and nothing else.
    expect(await rightsOf(pid)).toBe('0000000000000004');
    expect((await stat(join(closed, 'home'))).mode & 0o777).toBe(0o711);
    // As in a container, where root may not look into other users' processes.
    const shell = 'set -- setpriv --bounding-set=-sys_ptrace "$@"';
    const status = startCli(['db', 'status', '--json'], { AUDITKEEP_HOME: join(closed, 'home') }, { shell });
    expect(JSON.parse((await status.ended).stdout)).toMatchObject({ state: 'running', pid });
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
    const other = await runCli(['db', 'status'], { AUDITKEEP_HOME: join(home, 'own') }, { uid: 65533, gid: 65533 });
    expect(other).toMatchObject({ code: 2, stdout: '' });
    expect(other.stderr).toMatch(/^error EMBEDDED_FOLDER: [^\n]* cannot be read: EACCES; [^\n]*\n$/);
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
    // Owner before group before others, as the kernel decides.
    const cases = [
      [NOBODY.uid, 0, 0o011, false],
      [NOBODY.uid, 0, 0o100, true],
      [0, NOBODY.gid, 0o101, false],
      [0, NOBODY.gid, 0o010, true],
    ] as const;
    for (const [uid, gid, mode, open] of cases) {
      await chown(closed, uid, gid);
      await chmod(closed, mode);
      expect([uid, gid, mode, await findClosed(join(closed, 'pg'), NOBODY)]).toEqual([
        uid,
        gid,
        mode,
        open ? null : closed,
      ]);
    }
  });
});
