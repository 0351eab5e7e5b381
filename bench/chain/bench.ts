/** The audit chain: writing, sealing, full and incremental verification beside peers. README.md says how it is fair. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { signCheckpoint } from '../../src/audit/publish/sign.ts';
import { sealChain } from '../../src/audit/seal/seal.ts';
import { verifyChain } from '../../src/audit/verify/verify.ts';
import type { Verifying } from '../../src/audit/verify/verify-run.ts';
import { type Database, openDatabase } from '../../src/db/database.ts';
import { migrate } from '../../src/schema/migrate.ts';
import { startTestServer } from '../../test/support/server.ts';
import type { Bench, BenchOptions, BenchResult } from '../bench.ts';
import { atLeast, atMost, median, timed } from '../results.ts';
import { benchFull } from './full.ts';
import { benchInserts } from './inserts.ts';
import { addressOf, benchContext, DURABLE, insertEvents, MONTHS, makePartitions } from './setting.ts';

/** Where the incremental run is measured first, where full verification is, and where the incremental run is again. */
const [SHORT, FULL, LONG] = [100_000, 1_000_000, 2_000_000];
const NEW_EVENTS = 10_000;
const INCREMENTAL_ROUNDS = 5;

export const chainBench: Bench = { area: 'chain', run: benchChain };

async function benchChain(options: BenchOptions): Promise<readonly BenchResult[]> {
  const home = await mkdtemp(join(tmpdir(), 'auditkeep-bench-'));
  const server = await startTestServer(DURABLE);
  const adminUrl = server.url('postgres');
  const url = addressOf(adminUrl, { user: 'auditkeep_engine' });
  const admin = openDatabase({ url: adminUrl, applicationName: 'bench' });
  const db = openDatabase({ url, applicationName: 'bench' });
  try {
    // First, and in a database of its own: the tables of all peers begin empty.
    const inserts = await benchInserts(adminUrl, options);
    await migrate(admin);
    await makePartitions(admin);
    const ctx = await benchContext(db, home);
    const grown = await benchGrowth(ctx, admin, { url, home }, options);
    return [...inserts, ...grown];
  } finally {
    await db.end();
    await admin.end();
    await server.stop();
    await rm(home, { recursive: true, force: true });
  }
}

/** One chain that grows: short, of full size, long. */
async function benchGrowth(
  ctx: Verifying,
  admin: Database,
  at: { readonly url: string; readonly home: string },
  options: BenchOptions,
): Promise<BenchResult[]> {
  const { scale, say } = options;
  const fresh = Math.round(NEW_EVENTS * scale);
  await grow(ctx, admin, SHORT * scale);
  const short = await incremental(ctx, admin, fresh);
  say(`incremental on ${SHORT * scale}: ${short.toFixed(3)} s`);
  const sealed = await grow(ctx, admin, (FULL - SHORT) * scale);
  say(`${sealed.events} events of one transaction sealed in ${sealed.seconds.toFixed(2)} s`);
  const full = await benchFull(ctx.db, at, options);
  await grow(ctx, admin, (LONG - FULL) * scale);
  const long = await incremental(ctx, admin, fresh);
  say(`incremental on ${LONG * scale}: ${long.toFixed(3)} s`);
  const detail = `${fresh} new events: ${long.toFixed(3)} s on ${LONG * scale}, ${short.toFixed(3)} s on ${SHORT * scale}`;
  return [
    atLeast('events sealed a second', sealed.events / sealed.seconds, 50_000, `${sealed.events} of one transaction`),
    ...full,
    atMost('incremental, long chain by short', long / short, 1.2, detail),
  ];
}

/** Adds events of one transaction, seals and signs them. */
async function grow(ctx: Verifying, admin: Database, count: number): Promise<{ events: number; seconds: number }> {
  await insertEvents(admin, count, MONTHS);
  // As autovacuum would: the planner has to know what it plans for.
  await admin.withClient((client) => client.query('vacuum (analyze) audit.audit_log'));
  const { seconds, result } = await timed(() => sealChain(ctx));
  await admin.withClient((client) => client.query('vacuum (analyze) audit.chain_link'));
  await signCheckpoint(ctx);
  return { events: result.sealed, seconds };
}

/** Seconds of an incremental run over new events of this moment: the median of some runs. */
async function incremental(ctx: Verifying, admin: Database, count: number): Promise<number> {
  await verifyChain(ctx, { level: 'incremental' });
  const seconds: number[] = [];
  for (let round = 0; round < INCREMENTAL_ROUNDS; round += 1) {
    await insertEvents(admin, count, 'now');
    await sealChain(ctx);
    await signCheckpoint(ctx);
    const run = await timed(() => verifyChain(ctx, { level: 'incremental' }));
    if (!run.result.intact) throw new Error(`${run.result.findings.length} findings in an untouched chain`);
    if (run.result.checked < count) throw new Error(`verified ${run.result.checked} of ${count}`);
    seconds.push(run.seconds);
  }
  return median(seconds);
}
