/**
 * No job is blind to rows of other users. Which tables with forced row-level security a job reads is watched, not stated:
 * every one of them is locked, and what the job has to wait for is what it names, in whatever function or view. Each
 * has work to do, and each of those that read such tables says how many rows it saw.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { sealChain } from '../../src/audit/seal/seal.ts';
import { quoteIdentifier } from '../../src/db/identifier.ts';
import { queryOne, queryRows } from '../../src/db/query.ts';
import type { JobOutcome } from '../../src/jobs/job.ts';
import { findJob, JOBS } from '../../src/jobs/registry.ts';
import { readReport } from '../../src/reports/model/read.ts';
import { runArchive } from '../../src/retention/archive.ts';
import { approvePurge, requestPurge } from '../../src/retention/purge-request.ts';
import { runPurge } from '../../src/retention/purge-run.ts';
import { toInstant, type UtcInstant } from '../../src/time/clock.ts';
import { foundRegister } from '../persons/roster.ts';
import { arrangeBase, BASE_COUNTS, runAll } from '../reports/control-fixtures.ts';
import { guardsLater, waitInQuarantine } from '../retention/later.ts';
import { ensureMonths, insertEvents, instant } from '../retention/rows.ts';
import { TestClock, type TestContext, temporaryHome, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';

type Table = keyof typeof BASE_COUNTS;

const BY_REPORTS: readonly Table[] = ['jwt_tokens', 'transactions', 'user_roles', 'user_sessions', 'users'];

/** The tables with forced row-level security that each job reads. */
const READS: Readonly<Record<string, readonly Table[]>> = {
  'create-partitions': [],
  'state-snapshot': ['user_roles', 'users'],
  archive: [],
  purge: [],
  housekeeping: ['jwt_tokens', 'user_roles', 'user_sessions'],
  'check-sealed-data': [],
  // The foreign key of the rows that it writes, which name no user, opens the table of users.
  anonymize: ['transactions', 'users'],
  'seal-chain': [],
  'verify-head': [],
  'verify-incremental': [],
  'verify-rolling': [],
  'verify-chain': [],
  'generate-report': BY_REPORTS,
  notify: [],
  'watch-deadlines': [],
  'report-monthly': BY_REPORTS,
  'report-quarterly': BY_REPORTS,
  'report-yearly': BY_REPORTS,
};

const db = useDatabase();
const day = (offset: number) => new Date(Date.now() + offset * 86_400_000).toISOString().slice(0, 10);
/** After the rows of the base, which are of now by the server's clock. */
let now: UtcInstant;
let ctx: TestContext;
let forced: readonly ForcedTable[] = [];

beforeAll(async () => {
  await arrangeBase(db.admin);
  now = toInstant(Date.now() + 1000);
  ctx = await testContext(db, { clock: new TestClock(now) });
  forced = await db.admin.withClient((client) =>
    queryRows(
      client,
      z.object({ oid: z.number(), schema: z.string(), name: z.string() }),
      `select c.oid::int, n.nspname as schema, c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relforcerowsecurity order by c.relname`,
    ),
  );
});

test('the tables and the jobs are those that this file knows', () => {
  expect(forced.map(({ name }) => name)).toEqual(Object.keys(BASE_COUNTS).sort());
  expect(Object.keys(READS).sort()).toEqual(JOBS.map(({ name }) => name).sort());
});

interface ForcedTable {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
}

/** Keeps everybody off a table until it is let go, which may be said more than once. */
async function hold({ oid, schema, name }: ForcedTable) {
  const locked = Promise.withResolvers<void>();
  const wanted = Promise.withResolvers<void>();
  const ended = db.admin.withClient(async (client) => {
    await client.query(`begin; lock table ${quoteIdentifier(schema, name)} in access exclusive mode`);
    locked.resolve();
    await wanted.promise;
    await client.query('rollback');
  });
  await Promise.race([locked.promise, ended]);
  const letGo = () => {
    wanted.resolve();
    return ended;
  };
  return { oid, name, letGo };
}

/** Whether somebody waits for a lock on a table. */
async function isAwaited(oid: number): Promise<boolean> {
  const text = `select exists (select from pg_locks where relation = $1::oid and not granted
                  and database = (select oid from pg_database where datname = current_database())) as yes`;
  return (await db.admin.withClient((client) => queryOne(client, z.object({ yes: z.boolean() }), text, [oid]))).yes;
}

/** Runs a job while each table is held until something waits for it; gives what it did, and what it waited for. */
async function watch(name: string, input: object): Promise<{ outcome: JobOutcome; read: string[] }> {
  const held = await Promise.all(forced.map(hold));
  const job = findJob(name);
  let running = true;
  const run = job.run(ctx, job.input.parse(input), new AbortController().signal).finally(() => {
    running = false;
  });
  const read = new Set<string>();
  try {
    while (running) {
      for (const table of held) {
        if (read.has(table.name) || !(await isAwaited(table.oid))) continue;
        read.add(table.name);
        await table.letGo();
      }
      await delay(5);
    }
  } finally {
    await Promise.all(held.map(({ letGo }) => letGo()));
  }
  return { outcome: await run, read: [...read].sort() };
}

const ENCLAVE = '50000000-0000-4000-8000-000000000001';

/** Work for the jobs that have none on the base. */
const ARRANGE: Readonly<Record<string, () => Promise<unknown>>> = {
  'create-partitions'() {
    ctx.clock.advance(5 * 86_400_000);
    return Promise.resolve();
  },
  archive: () => arrangeOldMonth('2019-05'),
  async purge() {
    const roster = await foundRegister(ctx, await temporaryHome());
    await arrangeOldMonth('2015-01');
    await runArchive(ctx, { table: 'audit_log', before: instant('2016-01-01T00:00:00Z'), reason: 'test' });
    const asked = { table: 'audit_log', reason: 'test' } as const;
    const { planId } = await requestPurge(roster.as(ctx, 'records'), asked);
    await approvePurge(roster.as(ctx, 'records2'), planId);
    await guardsLater(db, 73);
    await runPurge(ctx, { plan: planId, reason: 'test' });
    await waitInQuarantine(db);
  },
  'check-sealed-data': () =>
    runAll(db.admin, [
      `insert into security_secret.sgx_enclaves (id, enclave_id, mr_enclave, mr_signer, isv_prod_id, isv_svn)
       values ('${ENCLAVE}', 'x', repeat('a', 64), repeat('b', 64), 1, 1)`,
      `insert into security_secret.sgx_sealed_data (data_id, enclave_id, sealed_blob, integrity_hash, access_policy)
       values ('x', '${ENCLAVE}', 'x', encode(sha256('x'), 'hex'), '{"roles": ["a"]}')`,
    ]),
  housekeeping: () =>
    runAll(db.admin, [
      `update security_internal.user_roles set expires_at = now() - interval '1 hour'`,
      `update security_internal.jwt_tokens set expires_at = now() - interval '31 days'`,
      `update security_internal.user_sessions set expires_at = now() - interval '31 days'`,
    ]),
  anonymize: () => runAll(db.admin, ['update security_confidential.transactions set anonymization_level = null']),
};

async function arrangeOldMonth(month: string): Promise<void> {
  await ensureMonths(db.engine, [month]);
  await db.engine.withClient((client) => insertEvents(client, `${month}-10T00:00:00Z`, 3));
  await sealChain(ctx);
}

/** How many rows of each table the controls of the frameworks counted that read it. */
const COUNTED_BY: Readonly<Record<Table, readonly string[]>> = {
  users: ['ac-02', 'ac-06'],
  user_roles: ['ac-03'],
  jwt_tokens: ['ac-07'],
  user_sessions: ['pr-01'],
  transactions: ['pr-07'],
};

test('the report job reads all of them, and its controls count every row', async () => {
  const populations = new Map<string, number | null>();
  const all = new Set<string>();
  for (const framework of ['gdpr', 'sox', 'hipaa']) {
    const { outcome, read } = await watch('generate-report', {
      framework,
      period: `${day(-10)}..${day(0)}`,
      interim: true,
    });
    for (const table of read) all.add(table);
    const { model } = await readReport(ctx, /^report (\S+):/.exec(outcome.summary)?.[1] ?? '');
    for (const control of model.controls) populations.set(control.id.toLowerCase(), control.population.count);
  }
  expect([...all].sort()).toEqual(READS['generate-report']);
  for (const [table, ids] of Object.entries(COUNTED_BY)) {
    const counted = ids.reduce((sum, id) => sum + (populations.get(id) ?? 0), 0);
    expect([table, counted]).toEqual([table, BASE_COUNTS[table as Table]]);
  }
});

test('scheduled reports read what others read, whichever their frequency', async () => {
  const { outcome, read } = await watch('report-yearly', {});
  expect(outcome.counts).toMatchObject({ made: 4 });
  expect(read).toEqual(BY_REPORTS);
});

test('the snapshot job reads users and their roles, and counts every row', async () => {
  const { read } = await watch('state-snapshot', {});
  expect(read).toEqual(READS['state-snapshot']);
  const counted = await db.engine.withClient((client) =>
    queryRows(
      client,
      z.object({ name: z.string(), rows: z.bigint() }),
      `select split_part(table_name, '.', 2) as name, row_count as rows from compliance.state_snapshot`,
    ),
  );
  for (const table of ['users', 'user_roles'] as const) {
    expect(counted).toContainEqual({ name: table, rows: BigInt(BASE_COUNTS[table]) });
  }
});

const { jwt_tokens, user_sessions, user_roles, transactions } = BASE_COUNTS;
// Each with the count that shows that it had work, and the rows that it must have seen.
test.each([
  ['create-partitions', 'created', {}],
  ['archive', 'archived', { rows: 3, failed: 0 }],
  ['seal-chain', 'sealed', {}],
  ['verify-head', 'checked', { findings: 0 }],
  ['verify-incremental', 'checked', { findings: 0 }],
  ['verify-rolling', 'checked', { findings: 0 }],
  ['verify-chain', 'checked', { findings: 0 }],
  ['purge', 'purged', { failed: 0 }],
  ['housekeeping', 'user_roles', { jwt_tokens, user_sessions, user_roles }],
  ['check-sealed-data', 'checked', {}],
  ['watch-deadlines', 'waiting', {}],
  ['notify', 'notified', {}],
  ['anonymize', 'pseudonymized', { rows: transactions, pseudonymized: transactions }],
])('%s reads what it says, and sees every row of it', async (name, work, counts) => {
  await ARRANGE[name]?.();
  const { outcome, read } = await watch(name, {}).finally(() => ctx.clock.set(now));
  expect(outcome.counts).toMatchObject(counts);
  expect(outcome.counts[work]).toBeGreaterThan(0);
  expect(read).toEqual(READS[name]);
});
