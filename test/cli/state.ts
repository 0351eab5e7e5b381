/** All that a command could change, in short: every row of every table, and every file of a folder. */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { Database } from '../../src/db/database.ts';
import { queryRows } from '../../src/db/query.ts';

/** Hashes by table and by file. What differs between two of them is what changed in between. */
export async function readState(admin: Database, folder: string): Promise<Record<string, string>> {
  return { ...(await hashTables(admin)), ...(await hashFiles(folder)) };
}

function hashTables(admin: Database): Promise<Record<string, string>> {
  return admin.withClient(async (client) => {
    const parts = await queryRows(
      client,
      z.object({ sql: z.string() }),
      `select format('select %L as name, md5(coalesce(string_agg(t::text, chr(10) order by t::text), '''')) as hash from only %s t',
                     c.oid::regclass, c.oid::regclass) as sql
         from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relkind = 'r' and n.nspname !~ '^(pg_|information_schema$)'`,
    );
    const shape = z.object({ name: z.string(), hash: z.string() });
    const rows = await queryRows(client, shape, parts.map(({ sql }) => sql).join(' union all '));
    return Object.fromEntries(rows.map(({ name, hash }) => [name, hash]));
  });
}

async function hashFiles(folder: string): Promise<Record<string, string>> {
  const names = await readdir(folder, { recursive: true, withFileTypes: true });
  const paths = names.map((entry) => ({ path: join(entry.parentPath, entry.name), isFile: entry.isFile() }));
  const hashes = paths.map(async ({ path, isFile }): Promise<[string, string]> => {
    return [
      path,
      isFile
        ? createHash('sha256')
            .update(await readFile(path))
            .digest('hex')
        : 'folder',
    ];
  });
  return Object.fromEntries(await Promise.all(hashes));
}
