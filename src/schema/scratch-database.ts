/** A migrated database on an embedded server of its own, for what must not touch anybody's data; gone afterwards. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Database, openDatabase } from '../db/database.ts';
import { startEmbedded, stopEmbedded } from '../db/embedded.ts';
import { migrate } from './migrate.ts';

/** Runs fn as the superuser of a fresh migrated database, and removes server and files whatever happens. @throws EMBEDDED_* */
export async function withScratchDatabase<T>(fn: (db: Database) => Promise<T>): Promise<T> {
  const home = await mkdtemp(join(tmpdir(), 'auditkeep-scratch-'));
  try {
    const { url } = await startEmbedded(home);
    const db = openDatabase({ url, applicationName: 'auditkeep-scratch', maxConnections: 2 });
    try {
      await migrate(db);
      return await fn(db);
    } finally {
      await db.end();
    }
  } finally {
    await stopEmbedded(home).finally(() => rm(home, { recursive: true, force: true }));
  }
}
