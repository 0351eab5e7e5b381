/** Reports over a month of a million events, beside the SQL of their controls alone. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { signCheckpoint } from '../../src/audit/publish/sign.ts';
import { sealChain } from '../../src/audit/seal/seal.ts';
import { type Database, openDatabase } from '../../src/db/database.ts';
import { streamRows } from '../../src/db/stream.ts';
import { valuesOf } from '../../src/reports/evaluate/evaluate-control.ts';
import { parseControlSql } from '../../src/reports/template/control-sql.ts';
import { loadTemplates, selectFramework } from '../../src/reports/template/template.ts';
import { migrate } from '../../src/schema/migrate.ts';
import { systemClock } from '../../src/time/clock.ts';
import { parseReportPeriod } from '../../src/time/report-period.ts';
import { startTestServer } from '../../test/support/server.ts';
import type { BenchOptions, BenchResult } from '../bench.ts';
import { addressOf, benchContext } from '../chain/setting.ts';
import { atMost, info, median, timed } from '../results.ts';
import { generateInProcess, type MadeReport } from './made-report.ts';

const EVENTS = 1_000_000;
const FRAMEWORKS = ['gdpr', 'sox', 'hipaa'];
const ROUNDS = 3;
/** RSS and time of a report of each framework; the time as a ratio to its controls' SQL alone, medians of three rounds. */
export async function benchPeriod({ scale, say }: BenchOptions): Promise<readonly BenchResult[]> {
  const home = await mkdtemp(join(tmpdir(), 'auditkeep-bench-'));
  const server = await startTestServer();
  const url = server.url('postgres');
  const pool = (user: string) => openDatabase({ url: addressOf(url, { user }), applicationName: 'bench' });
  const [admin, db, reportDb] = [pool('postgres'), pool('auditkeep_engine'), pool('auditkeep_report')] as const;
  try {
    await migrate(admin);
    await insertLastMonth(admin, EVENTS * scale);
    const ctx = await benchContext(db, home);
    await sealChain(ctx);
    await signCheckpoint(ctx);
    say(`${EVENTS * scale} events of last month, sealed`);
    const results: BenchResult[] = [];
    for (const framework of FRAMEWORKS)
      results.push(...(await benchFramework({ framework, url, home, reportDb, say })));
    return results;
  } finally {
    for (const each of [db, reportDb, admin]) await each.end();
    await server.stop();
    await rm(home, { recursive: true, force: true });
  }
}

interface FrameworkBench {
  readonly framework: string;
  readonly url: string;
  readonly home: string;
  readonly reportDb: Database;
  say(line: string): void;
}

async function benchFramework({ framework, url, home, reportDb, say }: FrameworkBench): Promise<BenchResult[]> {
  const rounds: { alone: number; report: MadeReport }[] = [];
  await runSql(reportDb, framework); // neither of the two finds the tables cold
  for (let round = 0; round < ROUNDS; round += 1) {
    const alone = await timed(() => runSql(reportDb, framework));
    const report = await generateInProcess(url, home, framework);
    say(`${framework}: SQL alone ${alone.seconds.toFixed(2)} s, report ${report.seconds.toFixed(2)} s`);
    rounds.push({ alone: alone.seconds, report });
  }
  const ratio = median(rounds.map(({ alone, report }) => report.seconds / alone));
  const seconds = median(rounds.map(({ report }) => report.seconds));
  const alone = median(rounds.map((round) => round.alone));
  const rss = Math.max(...rounds.map(({ report }) => report.rssMb));
  const cpu = median(rounds.map(({ report }) => report.cpuSeconds));
  return [
    atMost(
      `${framework} report by its SQL alone`,
      ratio,
      1.5,
      `${seconds.toFixed(2)} s, its SQL ${alone.toFixed(2)} s`,
    ),
    atMost(`${framework} report, peak RSS in MB`, rss, 400, 'a process of its own'),
    info(`${framework} report, CPU of Node in s`, cpu, 'with the start of the process'),
  ];
}

/** Every statement of a framework's controls once, by the same login, in batches that are thrown away. */
async function runSql(db: Database, frameworkId: string): Promise<void> {
  const { controls } = selectFramework(await loadTemplates(), frameworkId);
  const now = systemClock.now();
  const period = parseReportPeriod('last-full-month', { now });
  await db.withClient(async (client) => {
    for (const template of controls) {
      const { population, exceptions, completeness, prerequisite, freshness } = template;
      for (const part of [population, exceptions, completeness, prerequisite, freshness]) {
        if (part === undefined) continue;
        const statement = parseControlSql(part.sql, template.id);
        const values = valuesOf(statement, template, period, now);
        for await (const _batch of streamRows(client, { shape: z.any(), text: statement.sql, values }));
      }
    }
  });
}

async function insertLastMonth(admin: Database, count: number): Promise<void> {
  await admin.withClient(async (client) => {
    await client.query(
      `select retention.create_partition('audit_log', (m - interval '1 month') at time zone 'UTC', m at time zone 'UTC', '')
         from date_trunc('month', now() at time zone 'UTC') m`,
    );
    await client.query(
      `insert into audit.audit_log (event_type, event_category, event_action, user_id, user_email, ip_address, result,
                                    resource_type, resource_id, new_values, event_timestamp, service_name)
       select 'user.login', 'authentication', 'LOGIN', md5((i % 5000)::text)::uuid, 'user' || i % 5000 || '@example.org',
              '10.0.0.1', case when i % 20 = 0 then 'failure' else 'success' end, 'account', i::text,
              jsonb_build_object('n', i),
              date_trunc('month', now() at time zone 'UTC') at time zone 'UTC' - interval '20 days'
                + i::float8 / $1 * interval '19 days', 'service' || i % 7
         from generate_series(1::bigint, $1::bigint) i`,
      [count],
    );
    await client.query('vacuum (analyze) audit.audit_log');
  });
}
