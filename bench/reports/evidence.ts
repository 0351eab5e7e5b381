/** Evidence of a million exceptions: read, sorted, stored with the report, bundled and checked. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { type Database, openDatabase } from '../../src/db/database.ts';
import { streamRows } from '../../src/db/stream.ts';
import { openKeyring } from '../../src/keys/open-keyring.ts';
import { makeBundle } from '../../src/reports/bundle/bundle.ts';
import { verifyBundle } from '../../src/reports/bundle/verify-bundle.ts';
import { exceptionsPath } from '../../src/reports/model/control-model.ts';
import { evidenceOf, readReport } from '../../src/reports/model/read.ts';
import { approveReport, reviewReport, submitReport } from '../../src/reports/workflow/workflow.ts';
import { migrate } from '../../src/schema/migrate.ts';
import { foundRegister, type Roster } from '../../test/persons/roster.ts';
import { startTestServer } from '../../test/support/server.ts';
import type { BenchOptions, BenchResult } from '../bench.ts';
import { addressOf, benchContext } from '../chain/setting.ts';
import { info, timed } from '../results.ts';
import { generateInProcess } from './made-report.ts';

const EXCEPTIONS = 1_000_000;
const MB = 1024 * 1024;

/** Reads, sorts, stores, bundles and checks a million exceptions. */
export async function benchEvidence({ scale, say }: BenchOptions): Promise<readonly BenchResult[]> {
  const home = await mkdtemp(join(tmpdir(), 'auditkeep-bench-'));
  const server = await startTestServer();
  const adminUrl = server.url('postgres');
  const pool = (user: string) => openDatabase({ url: addressOf(adminUrl, { user }), applicationName: 'bench' });
  const [admin, db, reportDb] = [pool('postgres'), pool('auditkeep_engine'), pool('auditkeep_report')] as const;
  try {
    await migrate(admin);
    const count = EXCEPTIONS * scale;
    await insertTokens(admin, count);
    say(`${count} tokens that outlived their end`);
    const base = await benchContext(db, home);
    const keys = openKeyring({ db, clock: base.clock, home, actor: base.actor });
    const ctx = { ...base, reportDb, keys };
    const roster = await foundRegister(ctx, home);
    const sql = await timed(() => readAlone(reportDb));
    say(`the SQL of the exceptions alone: ${sql.seconds.toFixed(1)} s`);
    const made = await generateInProcess(adminUrl, home, 'iso-27001');
    say(`generated in ${made.seconds.toFixed(1)} s, peak RSS ${made.rssMb} MB`);
    const { model } = await readReport(ctx, made.id);
    const bundled = await timed(() => bundle(ctx, roster, made.id));
    const verified = await timed(() => verifyBundle(bundled.result.zip, null));
    if (verified.result.findings.length > 0) throw new Error('the bundle does not hold');
    const peak = process.resourceUsage().maxRSS / 1024;
    const [file] = evidenceOf(model).filter(({ path }) => path === exceptionsPath('ac-07'));
    const detail = `${count} exceptions, ${((file?.bytes ?? 0) / MB).toFixed(0)} MB of CSV`;
    return [
      info('peak RSS of a report with a million exceptions, MB', made.rssMb, detail),
      info('report by the SQL of its exceptions alone', made.seconds / sql.seconds, `${made.seconds.toFixed(1)} s`),
      info('bundling in s', bundled.seconds, `${(bundled.result.zip.length / MB).toFixed(0)} MB`),
      info('checking the bundle in s', verified.seconds, `peak RSS ${peak.toFixed(0)} MB`),
    ];
  } finally {
    for (const each of [db, reportDb, admin]) await each.end();
    await server.stop();
    await rm(home, { recursive: true, force: true });
  }
}

async function insertTokens(admin: Database, count: number): Promise<void> {
  await admin.withClient(async (client) => {
    await client.query(
      `insert into security_confidential.users (id, username, email, password_hash, password_salt, account_status)
       select ('10000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, 'u' || n, 'u' || n || '@example.org', 'x', 'x', 'active'
         from generate_series(1, 1000) n`,
    );
    await client.query(
      `insert into security_internal.jwt_tokens (user_id, token_hash, issued_at, expires_at)
       select ('10000000-0000-4000-8000-' || lpad((n % 1000 + 1)::text, 12, '0'))::uuid, 'h', '2025-01-01', '2025-01-02'
         from generate_series(1::bigint, $1::bigint) n`,
      [count],
    );
    await client.query('vacuum (analyze) security_internal.jwt_tokens');
  });
}

/** What the control asks, read in the same batches and thrown away. */
function readAlone(db: Database): Promise<number> {
  const shape = z.record(z.string(), z.string().nullable());
  const text = `select t.account_id::text as account, t.token_id::text as token, t.token_type::text, t.expires_at::text
      from facts.token t where t.is_active and t.expires_at <= now()`;
  return db.withClient(async (client) => {
    let rows = 0;
    for await (const batch of streamRows(client, { shape, text })) rows += batch.length;
    return rows;
  });
}

type BundleContext = Parameters<typeof makeBundle>[0] & Parameters<typeof submitReport>[0];

async function bundle(ctx: BundleContext, roster: Roster, reportId: string) {
  await submitReport(roster.as(ctx, 'preparer'), { reportId });
  await reviewReport(roster.as(ctx, 'reviewer'), { reportId });
  await approveReport(roster.as(ctx, 'approver'), { reportId });
  return makeBundle(ctx, reportId);
}
