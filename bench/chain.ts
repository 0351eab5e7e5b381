/**
 * The audit chain: sealing, and full and incremental verification beside peers, on one server in one run. Ratios count;
 * seconds are those of the machine.
 */
import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { z } from 'zod';
import { sealChain } from '../src/audit/seal.ts';
import { signCheckpoint } from '../src/audit/sign.ts';
import { verifyChain } from '../src/audit/verify.ts';
import type { Verifying } from '../src/audit/verify-run.ts';
import { allEventsSource } from '../src/audit/verify-store.ts';
import { loadConfig } from '../src/config.ts';
import { copyOut } from '../src/db/copy.ts';
import { type Database, openDatabase } from '../src/db/database.ts';
import { streamRows } from '../src/db/stream.ts';
import { migrate } from '../src/schema/migrate.ts';
import { systemClock } from '../src/time/clock.ts';
import { startTestServer } from '../test/support/server.ts';
import type { Bench, BenchOptions, BenchResult } from './bench.ts';

const EVENTS = 1_000_000;
const MONTHS = 24;
/** PostgreSQL's own defaults; only the tests' server turns them off. */
const DURABLE = ['fsync=on', 'synchronous_commit=on', 'full_page_writes=on', 'max_wal_size=4GB'];

export const chainBench: Bench = { area: 'chain', run: benchChain };

async function benchChain({ scale, say }: BenchOptions): Promise<readonly BenchResult[]> {
  const home = await mkdtemp(join(tmpdir(), 'auditkeep-bench-'));
  const server = await startTestServer(DURABLE);
  const admin = openDatabase({ url: server.url('postgres'), applicationName: 'bench' });
  const url = new URL(server.url('postgres'));
  url.username = 'auditkeep_engine';
  const db = openDatabase({ url: url.href, applicationName: 'bench' });
  try {
    await migrate(admin);
    await makePartitions(admin);
    const ctx = await context(db, home);
    const events = Math.round(EVENTS * scale);
    // The first tenth alone, so that the incremental run is measured on a short chain as well.
    const short = await incremental(ctx, admin, { before: events / 10, added: Math.round(10_000 * scale) });
    say(`incremental on ${events / 10}: ${short.toFixed(2)} s`);
    await insertEvents(admin, events - events / 10);
    const sealing = await timed(() => sealChain(ctx));
    const rate = sealing.result.sealed / sealing.seconds;
    say(`${sealing.result.sealed} events of one transaction sealed in ${sealing.seconds.toFixed(2)} s`);
    const long = await incremental(ctx, admin, { before: 0, added: Math.round(10_000 * scale) });
    return [
      atLeast('events sealed a second', rate, 50_000, `${sealing.result.sealed} events of one transaction`),
      atMost('incremental, long chain by short', long / short, 1.2, `${long.toFixed(2)} s by ${short.toFixed(2)} s`),
      ...(await fullVerification(ctx, say)),
    ];
  } finally {
    await db.end();
    await admin.end();
    await server.stop();
    await rm(home, { recursive: true, force: true });
  }
}

/** Each reads everything once before, so that all find the same cache. */
async function fullVerification(ctx: Verifying, say: (line: string) => void): Promise<BenchResult[]> {
  await bareCopy(ctx.db);
  const bare = await timed(() => bareCopy(ctx.db));
  const ours = await timed(() => verifyChain(ctx));
  if (!ours.result.intact) throw new Error(`${ours.result.findings.length} findings in an untouched chain`);
  const rss = Math.round(process.resourceUsage().maxRSS / 1024);
  const objects = await timed(() => objectPerRow(ctx.db));
  const sql = await timed(() => sqlOnly(ctx.db));
  say(`full ${ours.seconds.toFixed(2)}, bare ${bare.seconds.toFixed(2)}, objects ${objects.seconds.toFixed(2)} s`);
  const detail = `${ours.result.checked} events in ${ours.seconds.toFixed(2)} s, bare COPY ${bare.seconds.toFixed(2)} s`;
  return [
    atMost('full verification by bare COPY', ours.seconds / bare.seconds, 1.4, detail),
    atLeast(
      'object per row by full verification',
      objects.seconds / ours.seconds,
      3,
      `${objects.seconds.toFixed(2)} s`,
    ),
    atMost('peak RSS, MB', rss, 300, 'of this process, sealing included'),
    info('SQL with lag() by full verification', sql.seconds / ours.seconds, 'links only: it looks at no event'),
  ];
}

/** Seconds of an incremental run over `added` new events after everything before was verified. */
async function incremental(
  ctx: Verifying,
  admin: Database,
  { before, added }: { before: number; added: number },
): Promise<number> {
  if (before > 0) await insertEvents(admin, before);
  await sealAndSign(ctx);
  await verifyChain(ctx, { level: 'incremental' });
  await insertEvents(admin, added);
  await admin.withClient((client) => client.query('analyze audit.audit_log, audit.chain_link'));
  await sealAndSign(ctx);
  const run = await timed(() => verifyChain(ctx, { level: 'incremental' }));
  if (run.result.checked !== added) throw new Error(`verified ${run.result.checked} of ${added}`);
  return run.seconds;
}

async function sealAndSign(ctx: Verifying): Promise<void> {
  await sealChain(ctx);
  await signCheckpoint(ctx);
}

async function bareCopy(db: Database): Promise<number> {
  return db.withClient(async (client) => {
    let bytes = 0;
    for await (const chunk of copyOut(client, allEventsSource.statement)) bytes += chunk.length;
    return bytes;
  });
}

/** The usual way: a cursor, an object a row, JSON, a hash object a row; and the same for the links. */
async function objectPerRow(db: Database): Promise<number> {
  return db.withClient(async (client) => {
    let rows = 0;
    for (const table of ['audit.audit_log', 'audit.chain_link']) {
      for await (const batch of streamRows(client, { shape: z.any(), text: `select * from ${table}` })) {
        for (const row of batch) createHash('sha256').update(jsonOf(row)).digest();
        rows += batch.length;
      }
    }
    return rows;
  });
}

function jsonOf(row: unknown): string {
  return JSON.stringify(row, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value));
}

async function sqlOnly(db: Database): Promise<void> {
  await db.withClient((client) =>
    client.query(`
      select count(*) from (
        select chain_hash, sha256('\\x02'::bytea || coalesce(lag(chain_hash) over (order by seq), decode(repeat('00', 32), 'hex'))
                                  || int8send(seq) || leaf) as computed
          from audit.chain_link) l
       where chain_hash <> computed`),
  );
}

async function makePartitions(admin: Database): Promise<void> {
  await admin.withClient((client) =>
    client.query(
      `select retention.create_partition('audit_log', m at time zone 'UTC', (m + interval '1 month') at time zone 'UTC', '')
         from generate_series(date_trunc('month', now() at time zone 'UTC'),
                              date_trunc('month', now() at time zone 'UTC') + $1::int * interval '1 month',
                              interval '1 month') m`,
      [MONTHS - 1],
    ),
  );
}

/** Events of one transaction, spread over all partitions. */
async function insertEvents(admin: Database, count: number): Promise<void> {
  await admin.withClient((client) =>
    client.query(
      `insert into audit.audit_log (event_type, event_category, event_action, user_id, user_email, ip_address, user_agent,
                                    resource_type, resource_id, new_values, additional_data, event_timestamp, service_name)
       select 'user.login', 'authentication', 'LOGIN', gen_random_uuid(), 'user' || i || '@example.org', '10.0.0.1',
              'Mozilla/5.0 (X11; Linux x86_64)', 'account', i::text, jsonb_build_object('n', i, 'amount', 12.5),
              '{"source": "bench"}', date_trunc('month', now())
                + ((i * 7919) % $1::bigint)::float8 / $1 * $2::int * interval '1 month' * 0.95, 'bench'
         from generate_series(1::bigint, $1::bigint) i`,
      [count, MONTHS],
    ),
  );
}

async function context(db: Database, home: string): Promise<Verifying> {
  return {
    db,
    clock: systemClock,
    log: pino({ level: 'silent' }),
    actor: { kind: 'service', name: 'bench' },
    config: await loadConfig({ flags: { home, logLevel: 'silent' }, environment: {}, workingFolder: home }),
    progress: { start: () => undefined, update: () => undefined, stop: () => undefined },
  };
}

async function timed<T>(fn: () => Promise<T>): Promise<{ seconds: number; result: T }> {
  const start = performance.now();
  const result = await fn();
  return { seconds: (performance.now() - start) / 1000, result };
}

function atLeast(name: string, value: number, bar: number, detail: string): BenchResult {
  return { name, value: rounded(value), bar, ok: value >= bar, detail };
}

function atMost(name: string, value: number, bar: number, detail: string): BenchResult {
  return { name, value: rounded(value), bar, ok: value <= bar, detail: `${detail} (at most)` };
}

function info(name: string, value: number, detail: string): BenchResult {
  return { name, value: rounded(value), bar: null, ok: true, detail };
}

function rounded(value: number): number {
  return value > 100 ? Math.round(value) : Math.round(value * 100) / 100;
}
