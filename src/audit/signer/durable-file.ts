/** Small files that must survive a crash: on disk with their folder entry when the promise resolves, whole or not at all. */
import { randomBytes } from 'node:crypto';
import { chmod, link, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Replaces a file, or creates it; mode 0600. The folder is made if need be (0700). @throws the file system's errors */
export async function replaceFile(file: string, text: string): Promise<void> {
  const written = await writeBeside(file, text);
  await rename(written, file);
  await syncFolder(dirname(file));
}

/**
 * Creates a file and leaves an existing one alone; mode 0600. False when it was there already. However many create one
 * file at once, one wins and no reader sees a part of it.
 * @throws the file system's errors
 */
export async function createFile(file: string, text: string): Promise<boolean> {
  const written = await writeBeside(file, text);
  let created = true;
  try {
    await link(written, file);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
    created = false;
  } finally {
    await rm(written, { force: true });
  }
  await syncFolder(dirname(file));
  return created;
}

async function writeBeside(file: string, text: string): Promise<string> {
  const folder = dirname(file);
  if ((await mkdir(folder, { recursive: true, mode: 0o700 })) !== undefined) await chmod(folder, 0o700);
  const beside = `${file}.${randomBytes(6).toString('hex')}.new`;
  const handle = await open(beside, 'wx', 0o600);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  return beside;
}

async function syncFolder(folder: string): Promise<void> {
  const entry = await open(folder, 'r');
  try {
    await entry.sync();
  } finally {
    await entry.close();
  }
}
