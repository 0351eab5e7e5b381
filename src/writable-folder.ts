/** Whether files could be written, for dry runs: nothing is made. */
import { access, constants, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { AuditkeepError } from './errors.ts';

/** The folder is there and may be written, or can be made. @throws INPUT_FILE */
export async function checkWritableFolder(folder: string): Promise<void> {
  let nearest = resolve(folder);
  // Whether a folder can be made, the nearest one that exists says.
  while (!(await exists(nearest)) && dirname(nearest) !== nearest) nearest = dirname(nearest);
  try {
    if (!(await stat(nearest)).isDirectory()) throw new Error('no folder');
    await access(nearest, constants.W_OK | constants.X_OK);
  } catch (cause) {
    throw new AuditkeepError('INPUT_FILE', {
      message: `no file can be written to ${folder}`,
      hint: 'name a folder that you may write to',
      cause,
    });
  }
}

/** Whether there is something at a path. */
export function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    (error: unknown) => !(error instanceof Error && 'code' in error && error.code === 'ENOENT'),
  );
}
