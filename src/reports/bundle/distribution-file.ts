/**
 * The encrypted file of a distribution. It has its final name when, and only when, the log has its entry:
 *
 *   nothing -- written and synced --> NAME.part -- entry committed --> NAME
 *                                     NAME.part -- entry refused --> nothing
 *
 * After a crash, or a connection lost at the commit, nobody here knows whether the entry is there: the .part stays and
 * `settleLeftovers` asks the log by the file's hash.
 */
import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Context } from '../../context.ts';
import { sqlStateOf } from '../../db/errors.ts';
import { AuditkeepError } from '../../errors.ts';
import { sha256Of } from '../parts/bundle-format.ts';
import { isDistributed } from '../workflow/store-workflow.ts';

const PART = /^report-[0-9a-f-]{36}-[0-9a-f]{8}\.zip\.age\.part$/;
/** Whoever wrote a .part longer ago than this has ended, one way or the other. */
const ABANDONED_MS = 60 * 60 * 1000;

/** Writes `PATH.part`, durable when it returns. @throws INPUT_FILE */
export async function writePart(path: string, bytes: Uint8Array): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true });
    const file = await open(`${path}.part`, 'w', 0o600);
    try {
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (cause) {
    throw unwritable(cause);
  }
}

/** Gives a part its final name. */
export async function finishPart(path: string): Promise<void> {
  await rename(`${path}.part`, path);
}

/** Removes a part whose entry the database refused; keeps it where the outcome is not known. */
export async function dropRefused(path: string, error: unknown): Promise<void> {
  if (isRefused(error)) await rm(`${path}.part`, { force: true });
}

/** The server said no, so nothing was committed. A lost connection, or a server going down, says neither. */
function isRefused(error: unknown): boolean {
  const sqlState = sqlStateOf(error instanceof AuditkeepError ? error.cause : error);
  // A digit tells an SQLSTATE from an errno such as EPIPE.
  return sqlState !== null && /^(?=.*\d)[0-9A-Z]{5}$/.test(sqlState) && !/^(?:08|57P|40003)/.test(sqlState);
}

/**
 * Parts that an earlier distribution left: those in the log get their names, those that are not and are over an hour old
 * are removed. Gives the paths of the files that were finished.
 */
export async function settleLeftovers(ctx: Pick<Context, 'db' | 'clock'>, folder: string): Promise<string[]> {
  const names = await readdir(folder).catch(() => []); // a folder that is not there holds no parts
  const finished: string[] = [];
  for (const name of names.filter((entry) => PART.test(entry))) {
    const path = join(folder, name.slice(0, -'.part'.length));
    const sha256 = sha256Of(await readFile(`${path}.part`));
    if (await ctx.db.withClient((client) => isDistributed(client, sha256))) {
      await finishPart(path);
      finished.push(path);
      continue;
    }
    const { mtimeMs } = await stat(`${path}.part`);
    if (ctx.clock.now() - mtimeMs > ABANDONED_MS) await rm(`${path}.part`, { force: true });
  }
  return finished;
}

function unwritable(cause: unknown): AuditkeepError {
  return new AuditkeepError('INPUT_FILE', {
    message: 'the file cannot be written',
    hint: 'name a folder that you may write to',
    cause,
  });
}
