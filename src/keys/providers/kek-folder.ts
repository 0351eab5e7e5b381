/** The folder of the key files: where it may lie, that it lasts, and what a killed process left in it. */
import { access, mkdir, open, readdir, realpath, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { AuditkeepError } from '../../errors.ts';

/** Makes the folder with mode 0700, and each folder above it that is missing, so that all of them outlast a crash. */
export async function makeKeyFolder(folder: string): Promise<void> {
  await checkPlace(folder);
  const made = await mkdir(folder, { recursive: true, mode: 0o700 });
  if (made === undefined) return;
  for (let parent = dirname(folder); parent.length >= dirname(made).length; parent = dirname(parent)) {
    await syncFolder(parent);
    if (parent === dirname(parent)) return;
  }
}

/**
 * A copy or backup of a data folder would carry the key beside what it encrypts.
 * @throws KEY_FILE_PLACE inside a PostgreSQL data folder, also by a symbolic link
 */
export async function checkPlace(folder: string): Promise<void> {
  for (let at = await realFolder(folder); ; at = dirname(at)) {
    if (await isThere(join(at, 'PG_VERSION'))) {
      throw new AuditkeepError('KEY_FILE_PLACE', {
        message: `${folder} lies in the PostgreSQL data folder ${at}`,
        hint: 'set AUDITKEEP_HOME to a folder outside and move keys/ there; rotate the key if copies were made',
      });
    }
    if (at === dirname(at)) return;
  }
}

/** Durable only when the folder's own entry is; a file system that cannot sync a folder keeps its own promise. */
export async function syncFolder(path: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await open(path, 'r');
  await handle.sync().finally(() => handle.close());
}

/**
 * Deletes the temporary files of a key file that exists: a process killed between making the one and deleting the other
 * leaves a second name of the live key. A folder that cannot be written keeps them.
 */
export async function removeLeftovers(folder: string, keyFile: string): Promise<void> {
  const names = await readdir(folder).catch(() => []);
  for (const name of names) {
    const rest = name.startsWith(keyFile) ? name.slice(keyFile.length) : '';
    if (/^\.[0-9a-f]{12}\.tmp$/.test(rest)) await unlink(join(folder, name)).catch(() => undefined);
  }
}

/** Without symbolic links; of a folder that is not there yet, the nearest one above it that is. */
async function realFolder(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if (dirname(path) === path) throw error;
    return realFolder(dirname(path));
  }
}

function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
