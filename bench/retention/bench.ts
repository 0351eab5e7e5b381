/** Retention: moving a month beside the seed's function, writers behind a reader, pg_partman as the peer. */
import { z } from 'zod';
import type { Database } from '../../src/db/database.ts';
import { toInstant } from '../../src/time/clock.ts';
import type { Bench, BenchOptions, BenchResult } from '../bench.ts';
import { atMost, info } from '../results.ts';
import { benchMove } from './move.ts';
import { benchPartman } from './partman.ts';
import { fillMonths, onServer, type Setting, scalar } from './setting.ts';
import { createAndArchive, longestWait } from './stall.ts';

export const retentionBench: Bench = { area: 'retention', run: benchRetention };

async function benchRetention(options: BenchOptions): Promise<readonly BenchResult[]> {
  const own = await onServer(undefined, async (setting) => [
    ...(await benchMove(setting, options)),
    ...(await benchStall(setting)),
  ]);
  return [...own, ...(await benchPartman(options))];
}

async function benchStall(setting: Setting): Promise<BenchResult[]> {
  const { admin, engine, version } = setting;
  await fillMonths(setting, [{ start: toInstant(Date.UTC(2023, 1, 1)), events: 1000 }]);
  const before = toInstant(Date.UTC(2023, 2, 1));
  const ours = await longestWait(admin, 'audit.audit_log', () => createAndArchive(engine, before));
  const plain = await longestWait(admin, 'audit.audit_log', () => detachAndUndo(admin));
  return [
    atMost(
      `ms that a writer waited at most, PostgreSQL ${version}`,
      ours,
      200,
      'created, sealed and moved behind a 5 s reader',
    ),
    info('ms that a writer waited for a plain DETACH', plain, 'behind the same reader, with nothing but the statement'),
  ];
}

/** What a plain DETACH does to writers; undone at once. */
async function detachAndUndo(admin: Database): Promise<void> {
  const leaf = await scalar(
    admin,
    z.string(),
    `select relation::text as value from retention.leaves('audit.audit_log') order by lower_bound limit 1`,
  );
  await admin.withClient(async (client) => {
    await client.query('begin');
    await client.query(`alter table audit.audit_log detach partition ${leaf}`);
    await client.query('rollback');
  });
}
