/** Where a dry run keeps the first key-encryption key that it would make. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Database } from '../db/database.ts';
import { readActiveKek } from './store.ts';

export interface KeyHome {
  /** The folder that holds `keys/`. */
  readonly path: string;
  /** Removes it with all keys; undefined for a home that stays. */
  readonly remove?: () => Promise<void>;
}

/** The home itself where the database names a key-encryption key already, so none is made; else a temporary folder. */
export async function openScratchHome(db: Database, home: string): Promise<KeyHome> {
  if ((await db.withClient(readActiveKek)) !== null) return { path: home };
  const path = await mkdtemp(join(tmpdir(), 'auditkeep-dry-run-'));
  return { path, remove: () => rm(path, { recursive: true, force: true }) };
}
