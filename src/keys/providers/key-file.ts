/** Creating a file with a key in it: whole or not at all, once however many do it at the same time, for its owner alone. */
import { randomBytes } from 'node:crypto';
import { link, open, stat, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { AuditkeepError } from '../../errors.ts';
import { makeKeyFolder, syncFolder } from './kek-folder.ts';

/**
 * Makes a file with mode 0600, and its folder; one that another process made at the same moment stays. The name appears only when the content is on disk.
 * @throws KEY_FILE_PLACE, KEY_FILE_MODE
 */
export async function createKeyFile(path: string, text: string): Promise<void> {
  const folder = dirname(path);
  await makeKeyFolder(folder);
  await checkMode(folder);
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`;
  const handle = await open(temporary, 'wx', 0o600);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  try {
    // link() fails when the name exists, where rename() would replace the other process's key.
    await link(temporary, path);
  } catch (error) {
    // ENOENT: the other process made its key and has tidied up after us already; the reader tells if it did not.
    if (!isCode(error, 'EEXIST') && !isCode(error, 'ENOENT')) throw error;
  } finally {
    await unlink(temporary).catch(orWhenAbsent(undefined));
  }
  await syncFolder(folder);
}

/** POSIX modes only: elsewhere the file system has no group and others to refuse. @throws KEY_FILE_MODE */
export async function checkMode(path: string): Promise<void> {
  const { mode } = await stat(path);
  if (process.platform === 'win32' || (mode & 0o077) === 0) return;
  throw new AuditkeepError('KEY_FILE_MODE', {
    message: `${path} has mode ${(mode & 0o7777).toString(8).padStart(4, '0')}: others may use the key`,
    hint: `chmod go= ${path}; if others may have read it, rotate the key`,
  });
}

/** What to give where there is no such file; any other error passes. */
export function orWhenAbsent<T>(value: T): (error: unknown) => T {
  return (error) => {
    if (isCode(error, 'ENOENT')) return value;
    throw error;
  };
}

/** Whether an error of the file system has this code. */
export function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
