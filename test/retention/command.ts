/** A command of the product in this process, with a home and a database of a test. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { main } from '../../src/cli/main.ts';
import { temporaryHome } from '../support/context.ts';

/** Where a command works: its home, its database, and the login of the owner's role where it needs one. */
export interface CommandPlace {
  readonly home: string;
  readonly databaseUrl: string;
  readonly maintenanceDatabaseUrl?: string;
}

/** Runs one command; what it printed, and how it ended. */
export async function runCommand(place: CommandPlace, ...argv: string[]) {
  const config = join(await temporaryHome(), 'auditkeep.yaml');
  await writeFile(config, JSON.stringify({ ...place, logLevel: 'silent' }));
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const code = await main([...argv, '--config', config], { stdout, stderr });
  stdout.end();
  stderr.end();
  return { code, stdout: await text(stdout), stderr: await text(stderr) };
}
