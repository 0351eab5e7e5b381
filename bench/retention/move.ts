/** Moving a month of events out of the hot table, beside the seed's own function on the same rows in the same run. */
import { z } from 'zod';
import type { Database } from '../../src/db/database.ts';
import { toInstant } from '../../src/time/clock.ts';
import type { BenchOptions, BenchResult } from '../bench.ts';
import { atLeast, atMost, info } from '../results.ts';
import { SEED_CALL, SEED_SCHEMA } from './seed-function.ts';
import { fillMonths, type Setting, scalar } from './setting.ts';

const EVENTS = 1_000_000;
const MONTH = toInstant(Date.UTC(2023, 0, 1));
const SEAL = `select retention.seal_partition('audit_log', '2023-01-01Z')`;
const MOVE = `select retention.move_unit('audit_log', '2023-01-01Z')`;

/** The move beside the seed's function: time, WAL, and what sealing adds to ours. */
export async function benchMove(setting: Setting, { scale, say }: BenchOptions): Promise<BenchResult[]> {
  const { admin, engine } = setting;
  const events = Math.round(EVENTS * scale);
  await fillMonths(setting, [{ start: MONTH, events }]);
  await admin.withClient(async (client) => {
    await client.query(SEED_SCHEMA);
    await client.query(
      `insert into seed.audit_log select * from audit.audit_log where event_timestamp < '2023-02-01Z'`,
    );
    // As autovacuum would leave both.
    await client.query('vacuum analyze seed.audit_log');
    await client.query('vacuum analyze audit.audit_log');
    await client.query('checkpoint');
  });
  say(`${events} events of one month, linked`);
  // The first call diverts, the second reads every row for the manifest.
  const sealing = await measured(engine, SEAL, SEAL);
  const ours = await measured(engine, MOVE);
  const seed = await measured(admin, SEED_CALL);
  const vacuum = await measured(admin, 'vacuum seed.audit_log');
  say(`moved in ${ours.ms.toFixed(1)} ms; the seed's function: ${(seed.ms / 1000).toFixed(2)} s`);
  const moved = `select count(*) as value from audit.audit_log_archive`;
  const copied = 'select count(*) as value from seed.audit_log_archive';
  for (const count of [moved, copied]) {
    if ((await scalar(admin, z.bigint(), count)) !== BigInt(events)) throw new Error(`not all were archived: ${count}`);
  }
  const detail = `${seed.ms.toFixed(0)} ms without its vacuum (${vacuum.ms.toFixed(0)} ms more), same rows`;
  const whole = `sealing (${sealing.ms.toFixed(0)} ms, reads every row for its manifest) and moving`;
  return [
    atMost(`ms to move ${events} events`, ours.ms, 1000, 'DETACH and ATTACH in one transaction'),
    atMost('MB of WAL of the move', ours.walMb, 1, `the seed's function: ${(seed.walMb + vacuum.walMb).toFixed(0)} MB`),
    atLeast("times faster than the seed's function", seed.ms / ours.ms, 50, detail),
    info('times faster with everything before it', (seed.ms + vacuum.ms) / (ours.ms + sealing.ms), whole),
  ];
}

interface Measured {
  readonly ms: number;
  readonly walMb: number;
}

/** Statements one after the other over one connection. */
async function measured(db: Database, ...statements: string[]): Promise<Measured> {
  const from = await scalar(db, z.string(), 'select pg_current_wal_insert_lsn()::text as value');
  const ms = await db.withClient(async (client) => {
    const start = performance.now();
    for (const statement of statements) await client.query(statement);
    return performance.now() - start;
  });
  const wal = `select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), $1::pg_lsn)::float8 / 1048576 as value`;
  return { ms, walMb: await scalar(db, z.number(), wal, [from]) };
}
