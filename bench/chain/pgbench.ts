/** PostgreSQL's own load program: 16 clients in C take less of the machine than any driver of ours would. */
import { execFile } from 'node:child_process';
import { access, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const CLIENTS = 16;
const THREADS = 2;

/** The program's path: AUDITKEEP_PGBENCH, Debian's folders, or what PATH finds; null where there is none. */
export async function findPgbench(): Promise<string | null> {
  const named = process.env['AUDITKEEP_PGBENCH'];
  const debian = '/usr/lib/postgresql';
  const versions = await readdir(debian).catch(() => []);
  const candidates = [
    ...(named === undefined ? [] : [named]),
    ...versions
      .sort()
      .reverse()
      .map((version) => join(debian, version, 'bin', 'pgbench')),
    ...(process.env['PATH'] ?? '').split(':').map((folder) => join(folder, 'pgbench')),
  ];
  for (const path of candidates) {
    if (
      await access(path).then(
        () => true,
        () => false,
      )
    )
      return path;
  }
  return null;
}

/** Transactions a second of a script that 16 clients run for some seconds, each transaction one statement. */
export async function runScript(pgbench: string, url: string, script: string, seconds: number): Promise<number> {
  const args = ['-n', '-M', 'prepared', '-c', String(CLIENTS), '-j', String(THREADS), '-T', String(seconds)];
  const { stdout } = await promisify(execFile)(pgbench, [...args, '-f', script, url]);
  const [, rate] = /^tps = ([\d.]+)/m.exec(stdout) ?? [];
  if (rate === undefined) throw new Error(`pgbench said no rate: ${stdout}`);
  return Number(rate);
}
