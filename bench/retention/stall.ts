/** How long writers wait while a table changes shape behind somebody who reads it for five seconds. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Database } from '../../src/db/database.ts';
import { runArchive } from '../../src/retention/archive.ts';
import { ensurePartitions } from '../../src/retention/partition.ts';
import { systemClock, type UtcInstant } from '../../src/time/clock.ts';
import { addPeriod } from '../../src/time/period.ts';
import { contextOf } from './setting.ts';

const READER_MS = 5000;
const WRITERS = 4;

/**
 * The longest single-row insert into `table` in ms while `work` runs. A reader has read the table and keeps its locks, as
 * a report does, for five seconds from when work begins; writers go on until work is done.
 */
export async function longestWait(db: Database, table: string, work: () => Promise<unknown>): Promise<number> {
  return await db.withClient(async (reader) => {
    await reader.query('begin');
    await reader.query(`select count(*) from ${table}`);
    const working = new AbortController();
    const writers = Array.from({ length: WRITERS }, () => write(db, table, working.signal));
    const read = delay(READER_MS).then(() => reader.query('commit'));
    await work().finally(() => working.abort());
    await read;
    return Math.max(...(await Promise.all(writers)));
  });
}

function write(db: Database, table: string, signal: AbortSignal): Promise<number> {
  return db.withClient(async (client) => {
    let longest = 0;
    while (!signal.aborted) {
      const start = performance.now();
      await client.query(
        `insert into ${table} (event_type, event_category, event_action) values ('bench', 'system', 'X')`,
      );
      longest = Math.max(longest, performance.now() - start);
    }
    return longest;
  });
}

/** Partitions for four more months are made, and every unit that ends by `before` is sealed and moved. */
export async function createAndArchive(engine: Database, before: UtcInstant): Promise<void> {
  const later = addPeriod(systemClock.now(), { unit: 'month', count: 4 });
  await ensurePartitions(contextOf(engine, { now: () => later }), 'audit_log', []);
  const run = await runArchive(contextOf(engine), {
    ...{ table: 'audit_log', before, reason: 'bench' },
    window: { attempts: 200, maxPauseMs: 200 },
  });
  if (run.units.length === 0 || run.units.some((unit) => unit.outcome.kind !== 'archived')) {
    throw new Error('not every unit was archived');
  }
}
