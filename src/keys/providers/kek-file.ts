/** The file of one key-encryption key. */
import { randomBytes } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { AuditkeepError } from '../../errors.ts';
import { checkPlace, removeLeftovers } from './kek-folder.ts';
import { checkMode, createKeyFile, isCode, orWhenAbsent } from './key-file.ts';

export interface KekFile {
  readonly id: string;
  readonly generation: number;
  /** 32 bytes. */
  readonly key: Buffer;
}

const fileShape = z.strictObject({
  version: z.literal(1),
  kekId: z.string().regex(/^[0-9a-f]{16}$/),
  generation: z.int().positive(),
  key: z.string().regex(/^[A-Za-z0-9_-]{43}$/),
});

/** The generations that have a file, ascending. */
export async function listGenerations(home: string): Promise<number[]> {
  const names = await readdir(folderOf(home)).catch(orWhenAbsent([]));
  return names
    .map((name) => /^kek-([1-9]\d{0,8})\.json$/.exec(name)?.[1])
    .filter((digits) => digits !== undefined)
    .map(Number)
    .sort((a, b) => a - b);
}

/**
 * Makes a key file with a new random key, or reads the one that another process made at the same moment. The name
 * appears only when the content is on disk.
 */
export async function createKekFile(home: string, generation: number): Promise<KekFile> {
  const content = {
    version: 1,
    kekId: randomBytes(8).toString('hex'),
    generation,
    key: randomBytes(32).toString('base64url'),
  };
  await createKeyFile(pathOf(home, generation), `${JSON.stringify(content, null, 2)}\n`);
  return readKekFile(home, generation);
}

/**
 * Reads a key file, and deletes what a process killed while making it has left beside it.
 * @throws KEY_MISSING when there is none, KEY_FILE_MODE when group or others may use it, KEY_FILE_PLACE inside a data
 *   folder of PostgreSQL, KEY_FILE_INVALID when it is malformed.
 */
export async function readKekFile(home: string, generation: number): Promise<KekFile> {
  const path = pathOf(home, generation);
  await checkPlace(folderOf(home));
  await checkMode(folderOf(home)).catch(missing(path));
  await checkMode(path).catch(missing(path));
  const parsed = fileShape.safeParse(parseJson(await readFile(path, 'utf8')));
  const key = Buffer.from(parsed.data?.key ?? '', 'base64url');
  const canonical = key.toString('base64url') === parsed.data?.key;
  if (!parsed.success || !canonical || parsed.data.generation !== generation || key.every((byte) => byte === 0)) {
    throw new AuditkeepError('KEY_FILE_INVALID', {
      message: `the key file ${path} is malformed`,
      hint: 'restore it from its backup; a new key would not open what is encrypted already',
    });
  }
  await removeLeftovers(folderOf(home), basename(path));
  return { id: parsed.data.kekId, generation, key };
}

function missing(path: string): (error: unknown) => never {
  return (error) => {
    if (!isCode(error, 'ENOENT')) throw error;
    throw new AuditkeepError('KEY_MISSING', {
      message: `the database holds keys wrapped with ${path}, which does not exist`,
      hint: 'restore the key file from its backup, or point AUDITKEEP_HOME at the folder that has it',
      cause: error,
    });
  };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null; // the shape refuses it with the same words as any other malformed content
  }
}

const folderOf = (home: string) => join(home, 'keys');
const pathOf = (home: string, generation: number) => join(folderOf(home), `kek-${generation}.json`);
