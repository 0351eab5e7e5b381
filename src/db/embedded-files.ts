/**
 * Folder and files of the embedded PostgreSQL. Everything lies in `<home>/pg`: `data`, `password` (0600) and
 * `server.log`. PostgreSQL refuses to run as root, so as root its files belong to nobody and so does the server.
 */
import { chmod, chown, mkdir, readdir, readFile, realpath, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { AuditkeepError } from '../errors.ts';

const NOBODY = 65534;
/** From util-linux: starts a program as another user who keeps the right to enter folders. */
export const SETPRIV = '/usr/bin/setpriv';

export interface EmbeddedPaths {
  readonly home: string;
  readonly root: string;
  readonly data: string;
  readonly password: string;
  readonly log: string;
}

/** Who the server runs as: null for ourselves. */
export type ServerIdentity = { readonly uid: number; readonly gid: number } | null;

export function embeddedPaths(home: string): EmbeddedPaths {
  const root = join(home, 'pg');
  return { home, root, data: join(root, 'data'), password: join(root, 'password'), log: join(root, 'server.log') };
}

export function serverIdentity(): ServerIdentity {
  return process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : null;
}

/**
 * Makes the home folder, private to us; as root others may pass through it (not list it), or the server could not reach
 * its own folder.
 * @throws EMBEDDED_FOLDER
 */
export async function prepareHome(home: string, identity: ServerIdentity, programs: string): Promise<void> {
  try {
    await mkdir(home, { recursive: true, mode: identity === null ? 0o700 : 0o711 });
    if (identity === null) return;
    const { mode } = await stat(home);
    if ((mode & 0o001) === 0) await chmod(home, (mode & 0o777) | 0o011);
  } catch (cause) {
    throw folderError(`the folder ${home} cannot be made: ${reasonOf(cause)}`, cause);
  }
  if (await isReadable(SETPRIV)) return;
  for (const folder of [home, programs]) {
    const closed = await findClosed(await realpath(folder), identity);
    if (closed !== null) throw closedTo(closed);
  }
}

/** The lowest folder above a path that the server's user may not enter; null when it may enter all. */
export async function findClosed(path: string, identity: NonNullable<ServerIdentity>): Promise<string | null> {
  for (let at = path; ; at = dirname(at)) {
    const { mode, uid, gid } = await stat(at);
    const bit = uid === identity.uid ? 0o100 : gid === identity.gid ? 0o010 : 0o001;
    if ((mode & bit) === 0) return at;
    if (at === dirname(at)) return null;
  }
}

function closedTo(folder: string): AuditkeepError {
  return new AuditkeepError('EMBEDDED_FOLDER', {
    message: `as root the embedded PostgreSQL runs as nobody, who may not enter ${folder}`,
    hint: `install setpriv (util-linux), run as an ordinary user, set DATABASE_URL, or chmod o+x ${folder}`,
    details: { folder },
  });
}

async function isReadable(path: string): Promise<boolean> {
  return (await stat(path).catch(() => null)) !== null;
}

/** Makes a folder that belongs to the server. @throws EMBEDDED_FOLDER */
export async function makeServerFolder(folder: string, identity: ServerIdentity): Promise<void> {
  try {
    await mkdir(folder, { mode: 0o700 });
    await giveToServer(folder, identity);
  } catch (cause) {
    throw folderError(`the folder ${folder} cannot be made: ${reasonOf(cause)}`, cause);
  }
}

export async function giveToServer(path: string, identity: ServerIdentity): Promise<void> {
  if (identity !== null) await chown(path, identity.uid, identity.gid);
}

/** Removes half-made clusters (`pg.new-<pid>-...`) whose makers are gone. */
export async function removeAbandoned(home: string): Promise<void> {
  for (const name of await readdir(home)) {
    const maker = /^pg\.new-(\d+)-/.exec(name)?.[1];
    if (maker !== undefined && !isAlive(Number(maker))) await rm(join(home, name), { recursive: true, force: true });
  }
}

/** What a running or killed server left in postmaster.pid; null when there is none. */
export async function readLockFile(paths: EmbeddedPaths): Promise<{ pid: number; port: number } | null> {
  const text = await readOptional(join(paths.data, 'postmaster.pid'));
  const [pid, , , port] = (text ?? '').split('\n').map(Number);
  return pid !== undefined && pid > 0 ? { pid, port: port ?? 0 } : null;
}

/** The port of the last start; null before the first. */
export async function readLastPort(paths: EmbeddedPaths): Promise<number | null> {
  const text = await readOptional(join(paths.data, 'postmaster.opts'));
  const port = /"-p" "(\d+)"/.exec(text ?? '')?.[1];
  return port === undefined ? null : Number(port);
}

export async function readOptional(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) return null;
    throw folderError(`${path} cannot be read: ${reasonOf(error)}`, error);
  }
}

/**
 * True while the process is the PostgreSQL server of this folder; after a restart of the machine its number may be that of
 * another program, or of another PostgreSQL. Where there is no /proc, whatever is alive counts.
 */
export async function isServerProcess(pid: number, paths: EmbeddedPaths): Promise<boolean> {
  if (!isAlive(pid)) return false;
  const name = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => null);
  if (name === null) return true;
  if (name.trim() !== 'postgres') return false;
  const folder = await folderOfServer(pid);
  return folder === null ? isAlive(pid) : folder === (await realpath(paths.data));
}

/** A server works in its data folder; who may not look there (root without the right to trace) reads its arguments. */
async function folderOfServer(pid: number): Promise<string | null> {
  const folder = await realpath(`/proc/${pid}/cwd`).catch(() => null);
  if (folder !== null) return folder;
  const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  const [, given] = /\0-D\0([^\0]+)/.exec(line) ?? [];
  if (given !== undefined) return realpath(given).catch(() => null);
  return line === '' ? null : 'none'; // ended by now, or a server that was started otherwise
}

/** True while some process has this number. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

export function folderError(message: string, cause: unknown): AuditkeepError {
  return new AuditkeepError('EMBEDDED_FOLDER', {
    message,
    hint: 'choose a folder you can write to with AUDITKEEP_HOME, free some space, or set DATABASE_URL',
    cause,
  });
}

function reasonOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error);
}
