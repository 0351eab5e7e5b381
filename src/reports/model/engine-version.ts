/** The release that makes a report: the package's own version. */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';

/** The version in package.json. */
export async function readEngineVersion(): Promise<string> {
  const text = await readFile(new URL('../../../package.json', import.meta.url), 'utf8');
  return z.object({ version: z.string() }).parse(JSON.parse(text)).version;
}
