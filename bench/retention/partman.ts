/**
 * pg_partman 4.7.2 as it comes with Debian (postgresql-15-partman), side by side with ours on one PostgreSQL 15 server:
 * writers behind a reader while two months leave, and bounds that a session in New York makes.
 */
import { existsSync } from 'node:fs';
import { z } from 'zod';
import type { Database } from '../../src/db/database.ts';
import { ensurePartitions } from '../../src/retention/partition.ts';
import { systemClock } from '../../src/time/clock.ts';
import { addPeriod, startOfStep, subtractPeriod } from '../../src/time/period.ts';
import type { BenchOptions, BenchResult } from '../bench.ts';
import { atLeast, atMost } from '../results.ts';
import { contextOf, fillMonths, insertMonth, onServer, type Setting, scalar } from './setting.ts';
import { createAndArchive, longestWait } from './stall.ts';

const BIN = '/usr/lib/postgresql/15/bin';
const CONTROL = '/usr/share/postgresql/15/extension/pg_partman.control';
const EVENTS_A_MONTH = 100_000;
const STALL = { name: 'times longer that writers wait for pg_partman', bar: 5 };
const DRIFT = { name: "pg_partman's bounds off the UTC calendar", bar: 1 };
const ZONE = 'America/New_York';

/** Rows for the peer; where it is not installed, they say so and count as missed. */
export async function benchPartman(options: BenchOptions): Promise<BenchResult[]> {
  if (!existsSync(CONTROL) || !existsSync(`${BIN}/initdb`)) {
    const detail = 'not measured: pg_partman is not installed here; apt-get install postgresql-15-partman';
    return [STALL, DRIFT].map((row) => ({ ...row, value: 0, ok: false, detail }));
  }
  return await onServer(BIN, async (setting) => {
    const { admin } = setting;
    await admin.withClient((client) =>
      client.query('create schema partman; create extension pg_partman schema partman'),
    );
    const version = await scalar(
      admin,
      z.string(),
      `select extversion as value from pg_extension where extname = 'pg_partman'`,
    );
    return [...(await stalls(setting, version, options)), ...(await drifts(setting, version))];
  });
}

async function stalls(setting: Setting, version: string, { scale, say }: BenchOptions): Promise<BenchResult[]> {
  const { admin, engine } = setting;
  const cutoff = startOfStep('month', subtractPeriod(systemClock.now(), { unit: 'year', count: 2 }));
  const months = [2, 1].map((count) => ({
    start: subtractPeriod(cutoff, { unit: 'month', count }),
    events: Math.round(EVENTS_A_MONTH * scale),
  }));
  await fillMonths(setting, months);
  await makePeer(admin, new Date(months[0]?.start ?? cutoff).toISOString());
  for (const { start, events } of months) await insertMonth(admin, 'peer.audit_log', start, events);
  const ours = await longestWait(admin, 'audit.audit_log', () => createAndArchive(engine, cutoff));
  const theirs = await longestWait(admin, 'peer.audit_log', () => maintain(admin, 'peer.audit_log'));
  const left = await scalar(
    admin,
    z.bigint(),
    `select count(*) as value from pg_class where relnamespace = 'kept'::regnamespace and relkind = 'r'`,
  );
  if (left !== BigInt(months.length)) throw new Error(`pg_partman moved ${left} of ${months.length} months`);
  say(`writers waited ${ours.toFixed(0)} ms for ours, ${theirs.toFixed(0)} ms for pg_partman ${version}`);
  return [
    atMost(
      'ms that a writer waited at most, PostgreSQL 15',
      ours,
      200,
      'created, sealed and moved behind a 5 s reader',
    ),
    atLeast(STALL.name, theirs / ours, STALL.bar, `${theirs.toFixed(0)} ms behind the same reader, version ${version}`),
  ];
}

/** The events' columns and indexes, two years' retention into a schema of its own. */
async function makePeer(admin: Database, start: string): Promise<void> {
  await admin.withClient(async (client) => {
    await client.query(`create schema peer; create schema kept;
      create table peer.audit_log (like audit.audit_log including defaults including indexes) partition by range (event_timestamp)`);
    await client.query(
      `select partman.create_parent('peer.audit_log', 'event_timestamp', 'native', 'monthly', p_start_partition => $1::text)`,
      [start],
    );
    await client.query(
      `update partman.part_config set retention = '2 years', retention_schema = 'kept' where parent_table = 'peer.audit_log'`,
    );
  });
}

function maintain(admin: Database, table: string, zone = 'UTC'): Promise<unknown> {
  return admin.withClient(async (client) => {
    await client.query(`select set_config('TimeZone', $1::text, false)`, [zone]);
    await client.query('select partman.run_maintenance($1::text)', [table]);
    await client.query(`select set_config('TimeZone', 'UTC', false)`);
  });
}

/** Twenty months ahead, made by a session in New York: bounds that are not the first instant of a UTC month. */
async function drifts({ admin, engine }: Setting, version: string): Promise<BenchResult[]> {
  await admin.withClient(async (client) => {
    await client.query('create table peer.drift (at timestamptz not null) partition by range (at)');
    await client.query(`select partman.create_parent('peer.drift', 'at', 'native', 'monthly', p_premake => 1)`);
    await client.query(
      `update partman.part_config set premake = 20, infinite_time_partitions = true where parent_table = 'peer.drift'`,
    );
  });
  await maintain(admin, 'peer.drift', ZONE);
  const abroad: Database = {
    ...engine,
    withClient: (fn) =>
      engine.withClient(async (client) => {
        await client.query(`select set_config('TimeZone', $1::text, false)`, [ZONE]);
        return await fn(client);
      }),
  };
  const later = addPeriod(systemClock.now(), { unit: 'month', count: 17 });
  const { created } = await ensurePartitions(contextOf(abroad, { now: () => later }), 'audit_log', []);
  if (created === 0) throw new Error('no partition was made');
  const off = `from retention.leaves($1::regclass) l
    where isfinite(l.upper_bound) and l.upper_bound <> date_trunc('month', l.upper_bound, 'UTC')`;
  const count = (table: string) => scalar(admin, z.bigint(), `select count(*) as value ${off}`, [table]);
  const first = await scalar(
    admin,
    z.string(),
    `select coalesce((select min(l.upper_bound)::text ${off}), 'none') as value`,
    ['peer.drift'],
  );
  const theirs = Number(await count('peer.drift'));
  return [
    atMost(
      'our bounds off the UTC calendar',
      Number(await count('audit.audit_log')),
      0,
      `made by a session in ${ZONE}`,
    ),
    atLeast(
      DRIFT.name,
      theirs,
      DRIFT.bar,
      `the first ends at ${first}; version ${version}, maintenance run from ${ZONE}`,
    ),
  ];
}
