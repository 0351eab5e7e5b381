/**
 * Single-row commits of 16 clients into our table with the sealer at work, beside the same table without ours and beside
 * one whose trigger chains each row under an advisory lock. Rounds alternate; each table's ratio is taken within its
 * round, and the median of the rounds counts.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { sealChain } from '../../src/audit/seal/seal.ts';
import type { Verifying } from '../../src/audit/verify/verify-run.ts';
import { type Database, openDatabase } from '../../src/db/database.ts';
import { migrate } from '../../src/schema/migrate.ts';
import type { BenchOptions, BenchResult } from '../bench.ts';
import { atLeast, info, median } from '../results.ts';
import { makePeers } from './peers.ts';
import { findPgbench, runScript } from './pgbench.ts';
import { serverCpu } from './server-cpu.ts';
import { addressOf, benchContext, MONTHS, makePartitions } from './setting.ts';

const ROUNDS = 3;
const SECONDS = 6;
const SEALER_PAUSE_MS = 1000;

const TABLES = ['audit.audit_log', 'peer.plain', 'peer.chained'] as const;
const SPREADS = {
  '1 partition': 'now()',
  '24 partitions': `date_trunc('month', now()) + random() * ${MONTHS} * 0.95 * interval '1 month'`,
} as const;

interface Written {
  /** Rows a second. */
  readonly rate: number;
  /** Events that were not sealed yet when the writers stopped. */
  readonly waiting: number;
}

/** With CPU a row, in microseconds: of the server's processes, and of Node, which seals; NaN where there is no /proc. */
interface Measured extends Written {
  readonly serverUs: number;
  readonly nodeUs: number;
}

const NOTHING: Measured = { rate: 0, waiting: 0, serverUs: Number.NaN, nodeUs: Number.NaN };

export async function benchInserts(adminUrl: string, options: BenchOptions): Promise<BenchResult[]> {
  const pgbench = await findPgbench();
  if (pgbench === null) return [notMeasured()];
  const url = addressOf(adminUrl, { database: 'inserts' });
  const server = openDatabase({ url: adminUrl, applicationName: 'bench' });
  await server.withClient((client) => client.query('create database inserts'));
  await server.end();
  const admin = openDatabase({ url, applicationName: 'bench' });
  const engine = openDatabase({ url: addressOf(url, { user: 'auditkeep_engine' }), applicationName: 'bench' });
  const folder = await mkdtemp(join(tmpdir(), 'auditkeep-bench-'));
  try {
    await migrate(admin);
    await makePartitions(admin);
    await makePeers(admin);
    const ctx = await benchContext(engine, folder);
    const results: BenchResult[] = [];
    for (const [name, time] of Object.entries(SPREADS)) {
      results.push(...(await benchSpread({ ctx, admin, url, pgbench, folder }, { name, time }, options)));
    }
    return results;
  } finally {
    await engine.end();
    await admin.end();
    await rm(folder, { recursive: true, force: true });
  }
}

interface Setting {
  readonly ctx: Verifying;
  readonly admin: Database;
  readonly url: string;
  readonly pgbench: string;
  /** Where scripts are written. */
  readonly folder: string;
}

async function benchSpread(
  setting: Setting,
  { name, time }: { readonly name: string; readonly time: string },
  { scale, say }: BenchOptions,
): Promise<BenchResult[]> {
  const seconds = scale < 1 ? 2 : SECONDS;
  const rounds: Record<(typeof TABLES)[number], Measured>[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const measured = { 'audit.audit_log': NOTHING, 'peer.plain': NOTHING, 'peer.chained': NOTHING };
    for (const table of TABLES) {
      const script = join(setting.folder, 'insert.sql');
      await writeFile(script, insertStatement(table, time));
      await setting.admin.withClient((client) => client.query('checkpoint'));
      const run = () => runScript(setting.pgbench, setting.url, script, seconds);
      const inserting =
        table === 'audit.audit_log'
          ? () => whileSealing(setting.ctx, run)
          : async () => ({ rate: await run(), waiting: 0 });
      measured[table] = await measure(setting.admin, inserting, seconds);
    }
    rounds.push(measured);
    say(`${name}: ${TABLES.map((table) => `${table} ${Math.round(measured[table].rate)}/s`).join(', ')}`);
  }
  const of = (table: (typeof TABLES)[number], part: keyof Measured) =>
    median(rounds.map((round) => round[table][part]));
  const by = (peer: (typeof TABLES)[number]) =>
    median(rounds.map((round) => round['audit.audit_log'].rate / round[peer].rate));
  const rate = Math.round(of('audit.audit_log', 'rate'));
  const cpu = (table: (typeof TABLES)[number]) => of(table, 'serverUs').toFixed(1);
  const shares = `plain ${cpu('peer.plain')}, chained ${cpu('peer.chained')}; beside it Node's sealer ${of('audit.audit_log', 'nodeUs').toFixed(1)}`;
  return [
    atLeast(`insert rate by the table without ours, ${name}`, by('peer.plain'), 0.95, `${rate}/s, sealer running`),
    atLeast(`insert rate by advisory-lock chain, ${name}`, by('peer.chained'), 4, `${rate}/s, sealer running`),
    info(`CPU of the server a row, us, ${name}`, of('audit.audit_log', 'serverUs'), shares),
    info(`events that waited when writers stopped, ${name}`, of('audit.audit_log', 'waiting'), `at ${rate}/s`),
  ];
}

/** What inserting costs, whatever else the machine does; everything that was written is sealed by its end. */
async function measure(admin: Database, insert: () => Promise<Written>, seconds: number): Promise<Measured> {
  const [server, node] = [(await serverCpu(admin)) ?? Number.NaN, process.cpuUsage()];
  const written = await insert();
  const { user, system } = process.cpuUsage(node);
  const rows = written.rate * seconds;
  const serverUs = (1e6 * (((await serverCpu(admin)) ?? Number.NaN) - server)) / rows;
  return { ...written, serverUs, nodeUs: (user + system) / rows };
}

/** A rate with the sealer coming by every second, and what the sealer still had to do at the end. */
async function whileSealing(ctx: Verifying, run: () => Promise<number>): Promise<Written> {
  let running = true;
  const seal = async () => {
    while (running) {
      await sealChain(ctx);
      await delay(SEALER_PAUSE_MS);
    }
  };
  const sealer = seal();
  try {
    const rate = await run();
    running = false;
    await sealer;
    return { rate, waiting: (await sealChain(ctx)).sealed };
  } finally {
    running = false;
    await sealer;
  }
}

function insertStatement(table: string, time: string): string {
  return `\\set i random(1, 1000000)
insert into ${table} (event_type, event_category, event_action, user_id, user_email, ip_address, user_agent, resource_type, resource_id, new_values, additional_data, event_timestamp, service_name) values ('user.login', 'authentication', 'LOGIN', gen_random_uuid(), 'user' || (:i)::text || '@example.org', '10.0.0.1', 'Mozilla/5.0 (X11; Linux x86_64)', 'account', (:i)::text, jsonb_build_object('n', (:i)::int, 'amount', 12.5), '{"source": "bench"}', ${time}, 'bench');
`;
}

function notMeasured(): BenchResult {
  const detail = 'not measured: there is no pgbench here; install postgresql-contrib or name it in AUDITKEEP_PGBENCH';
  return { name: 'insert rate by the table without ours', value: 0, bar: 0.95, ok: false, detail };
}
