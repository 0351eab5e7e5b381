/** A throw-away PostgreSQL server: trust on loopback, no fsync, in a temporary folder that is removed at the end. */
import { chown, mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { serverIdentity } from '../../src/db/embedded-files.ts';
import { type EmbeddedPrograms, failureLine, findPrograms, runProgram } from '../../src/db/embedded-programs.ts';

export interface TestServer {
  url(database: string): string;
  readonly dataFolder: string;
  /** Stops at once, as a crash of the server does: no checkpoint, every session lost. */
  crash(): Promise<void>;
  /** Starts again after crash(), on the same port; recovery is done when it returns. */
  restart(): Promise<void>;
  /** Ends the server, wherever it is, and removes its folder. */
  stop(): Promise<void>;
}

/** `bin` is the folder of another version's programs than the tests' own. */
export async function startTestServer(
  settings: readonly string[] = [],
  bin = process.env['AUDITKEEP_TEST_PG_BIN'] ?? '',
): Promise<TestServer> {
  const binaries: EmbeddedPrograms =
    bin === '' ? await findPrograms() : { initdb: join(bin, 'initdb'), pg_ctl: join(bin, 'pg_ctl') };
  // PostgreSQL refuses to run as root.
  const identity = serverIdentity();
  const folder = await mkdtemp(join(tmpdir(), 'auditkeep-test-pg-'));
  if (identity !== null) await chown(folder, identity.uid, identity.gid);
  const data = join(folder, 'data');
  const run = async (program: string, args: readonly string[]) => {
    const result = await runProgram(program, args, identity, folder);
    if (!result.ok) throw new Error(`${program}: ${failureLine(result.output)}`);
  };
  await run(binaries.initdb, ['-D', data, '-U', 'postgres', '-E', 'UTF8', '--locale=C', '-A', 'trust', '-N']);
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
  const start = () => run(binaries.pg_ctl, ['-D', data, '-l', log, '-w', '-t', '60', '-o', options, 'start']);
  const crash = () => run(binaries.pg_ctl, ['-D', data, '-m', 'immediate', '-w', 'stop']);
  let running = true;
  await start();
  return {
    dataFolder: data,
    url: (database) => `postgres://postgres@127.0.0.1:${port}/${database}`,
    async crash() {
      await crash();
      running = false;
    },
    async restart() {
      await start();
      running = true;
    },
    async stop() {
      if (running) await crash();
      await rm(folder, { recursive: true, force: true });
    },
  };
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
