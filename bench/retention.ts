/** Moving a month of events out of the hot table, beside the seed's own function; and how long a writer waits meanwhile. */
import { join } from 'node:path';
import { pino } from 'pino';
import { z } from 'zod';
import { sealChain } from '../src/audit/seal.ts';
import { type Database, openDatabase } from '../src/db/database.ts';
import { execute, queryOne } from '../src/db/query.ts';
import { runArchive } from '../src/retention/archive.ts';
import { ensurePartitions } from '../src/retention/partition.ts';
import { migrate } from '../src/schema/migrate.ts';
import { systemClock, toInstant } from '../src/time/clock.ts';
import { startTestServer } from '../test/support/server.ts';
import type { Bench, BenchOptions, BenchResult } from './bench.ts';
import { SEED_SCHEMA } from './seed-function.ts';

const EVENTS = 1_000_000;
const BAR_MOVE_SECONDS = 1;
const BAR_WAL_MB = 1;
const BAR_TIMES_FASTER = 50;
const BAR_STALL_MS = 200;
const READER_SECONDS = 5;
const DURABLE = ['fsync=on', 'synchronous_commit=on', 'full_page_writes=on', 'max_wal_size=8GB'];

export const retentionBench: Bench = { area: 'retention', run: benchRetention };

async function benchRetention({ scale, say }: BenchOptions): Promise<readonly BenchResult[]> {
  const count = Math.round(EVENTS * scale);
  const server = await startTestServer(DURABLE);
  const admin = openDatabase({ url: server.url('postgres'), applicationName: 'bench' });
  const engine = openDatabase({ url: server.url('postgres'), role: 'auditkeep_engine', applicationName: 'bench' });
  try {
    await migrate(admin);
    await arrange(admin, engine, count);
    say(`${count} events of one month, linked`);
    const ours = await measure(admin, () => seal(engine).then(() => timed(engine, MOVE)));
    say(`moved in ${ours.result.toFixed(3)} s`);
    const seed = await measure(admin, () =>
      timed(admin, `select seed.archive_old_audit_data('2023-02-01Z')`, 'vacuum seed.audit_log'),
    );
    say(`the seed's function and its vacuum: ${seed.result.toFixed(2)} s`);
    const stall = await worstWait(engine, () => archiveBehindReader(engine));
    const plain = await worstWait(engine, () => detachBehindReader(admin));
    return [
      result(
        'seconds to move the month',
        ours.result,
        BAR_MOVE_SECONDS,
        `${count} events, DETACH and ATTACH in one transaction`,
      ),
      result('MB of WAL of the move', ours.moveWalMb, BAR_WAL_MB, `the seed's function: ${seed.walMb.toFixed(0)} MB`),
      atLeast(
        "times faster than the seed's function",
        seed.result / ours.result,
        BAR_TIMES_FASTER,
        `${seed.result.toFixed(2)} s with its vacuum, same rows, same run`,
      ),
      result(
        'ms that a writer waited at most',
        stall,
        BAR_STALL_MS,
        `a unit sealed and moved behind a ${READER_SECONDS} s reader; a plain DETACH there: ${plain.toFixed(0)} ms; pg_partman is not measured here`,
      ),
    ];
  } finally {
    await Promise.all([admin.end(), engine.end()]);
    await server.stop();
  }
}

const SEAL = `select retention.seal_partition('audit_log', '2023-01-01Z')`;
const MOVE = `select retention.move_unit('audit_log', '2023-01-01Z')`;

function context(engine: Database) {
  return {
    db: engine,
    clock: systemClock,
    actor: { kind: 'service', name: 'bench' } as const,
    log: pino({ level: 'silent' }),
  };
}

async function arrange(admin: Database, engine: Database, count: number): Promise<void> {
  const months = [0, 1].map((month) => toInstant(Date.UTC(2023, month, 1)));
  await ensurePartitions(context(engine), 'audit_log', months);
  const insert = (from: string, rows: number) =>
    admin.withClient((client) =>
      execute(
        client,
        `insert into audit.audit_log (event_type, event_category, event_action, event_timestamp, user_email, additional_data)
         select 'bench', 'system', 'CREATE', $1::timestamptz + n * interval '1 second', 'a@example.org', '{"n": 1}'
           from generate_series(0, $2::int - 1) n`,
        [from, rows],
      ),
    );
  await insert('2023-01-01T00:00:00Z', count);
  await insert('2023-02-01T00:00:00Z', 1000);
  // A home that never signed, so that nothing is known about the log outside the database.
  const config = { home: join(import.meta.dirname, 'no-home'), origin: 'bench.example/audit', witnesses: [] };
  await sealChain({ ...context(engine), config });
  await admin.withClient(async (client) => {
    await client.query(SEED_SCHEMA);
    await client.query(
      `insert into seed.audit_log select * from audit.audit_log where event_timestamp < '2023-02-01Z'`,
    );
    await client.query('vacuum analyze seed.audit_log');
    await client.query('checkpoint');
  });
}

async function seal(engine: Database): Promise<void> {
  await engine.withClient(async (client) => {
    await client.query(SEAL);
    await client.query(SEAL);
  });
}

interface Measured {
  readonly result: number;
  readonly walMb: number;
  readonly moveWalMb: number;
}

let walBefore = '0/0';

/** Runs fn; WAL of all of it, and of its last timed statement. */
async function measure(admin: Database, fn: () => Promise<number>): Promise<Measured> {
  const start = await lsn(admin);
  const value = await fn();
  return { result: value, walMb: await walSince(admin, start), moveWalMb: await walSince(admin, walBefore) };
}

async function timed(db: Database, ...statements: string[]): Promise<number> {
  return await db.withClient(async (client) => {
    walBefore = (
      await queryOne(client, z.object({ lsn: z.string() }), 'select pg_current_wal_insert_lsn()::text as lsn')
    ).lsn;
    const start = performance.now();
    for (const statement of statements) await client.query(statement);
    return (performance.now() - start) / 1000;
  });
}

function lsn(db: Database): Promise<string> {
  return db.withClient(async (client) => {
    const text = 'select pg_current_wal_insert_lsn()::text as lsn';
    return (await queryOne(client, z.object({ lsn: z.string() }), text)).lsn;
  });
}

function walSince(db: Database, from: string): Promise<number> {
  return db.withClient(async (client) => {
    const text = 'select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), $1::pg_lsn)::float8 / 1048576 as mb';
    return (await queryOne(client, z.object({ mb: z.number() }), text, [from])).mb;
  });
}

/** The longest of the inserts that a writer makes one after the other while fn runs, in ms. */
async function worstWait(engine: Database, fn: () => Promise<unknown>): Promise<number> {
  const working = new AbortController();
  const work = fn().finally(() => working.abort());
  let worst = 0;
  await engine.withClient(async (client) => {
    while (!working.signal.aborted) {
      const start = performance.now();
      await client.query(
        `insert into audit.audit_log (event_type, event_category, event_action) values ('bench', 'system', 'X')`,
      );
      worst = Math.max(worst, performance.now() - start);
    }
  });
  await work;
  return worst;
}

/** Holds the table as a report does, for some seconds. */
function read(db: Database): Promise<void> {
  return db.withClient(async (client) => {
    await client.query('begin');
    await client.query('select count(*) from audit.audit_log where event_timestamp < $1', ['2024-01-01T00:00:00Z']);
    await client.query(`select pg_sleep(${READER_SECONDS})`);
    await client.query('commit');
  });
}

async function archiveBehindReader(engine: Database): Promise<void> {
  const reader = read(engine);
  const before = toInstant(Date.UTC(2023, 2, 1));
  const run = await runArchive(context(engine), {
    table: 'audit_log',
    before,
    reason: 'bench',
    window: { attempts: 200, maxPauseMs: 200 },
  });
  await reader;
  if (run.units.some((unit) => unit.outcome.kind !== 'archived')) throw new Error('the unit was not archived');
}

/** What a plain DETACH does to writers there; undone at once. */
async function detachBehindReader(admin: Database): Promise<void> {
  const reader = read(admin);
  await admin.withClient(async (client) => {
    await client.query('begin');
    await client.query('alter table audit.audit_log detach partition audit.audit_log_tomb_20230201000000');
    await client.query('rollback');
  });
  await reader;
}

function result(name: string, value: number, bar: number, detail: string): BenchResult {
  return { name, value: round(value), bar, ok: value <= bar, detail };
}

function atLeast(name: string, value: number, bar: number, detail: string): BenchResult {
  return { name, value: round(value), bar, ok: value >= bar, detail };
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}
