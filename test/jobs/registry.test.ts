/** What the registry promises: which level is verified when, and that no job is blind to rows of other users. */
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { VERIFY_LEVELS } from '../../src/audit/finding.ts';
import { queryRows } from '../../src/db/query.ts';
import { findJob, JOBS } from '../../src/jobs/registry.ts';
import { readReport } from '../../src/reports/read.ts';
import { toInstant } from '../../src/time/clock.ts';
import { arrangeBase, BASE_COUNTS } from '../reports/control-fixtures.ts';
import { TestClock, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';

/** Job, level and cron: the guarantees of docs/design on how long tampering may go unseen rest on these. */
const VERIFICATIONS = [
  ['verify-head', 'head', '* * * * *'],
  ['verify-incremental', 'incremental', '*/10 * * * *'],
  ['verify-rolling', 'rolling', '50 2 * * *'],
  ['verify-chain', 'full', '20 2 * * 0'],
] as const;

test('every job runs when the release says: none loses its schedule unnoticed', () => {
  const schedules = JOBS.map(({ name, schedule }) => [name, schedule && `${schedule.cron} ${schedule.timeZone}`]);
  expect(Object.fromEntries(schedules)).toEqual({
    'create-partitions': '10 0 * * * UTC',
    'state-snapshot': '20 0 * * * UTC',
    archive: '40 0 * * * UTC',
    housekeeping: '20 1 * * * UTC',
    'check-sealed-data': '50 1 * * * UTC',
    anonymize: '20 2 * * * UTC',
    purge: '20 2 * * * UTC',
    'seal-chain': '* * * * * UTC',
    'generate-report': null,
    ...Object.fromEntries(VERIFICATIONS.map(([name, , cron]) => [name, `${cron} UTC`])),
  });
});

describe('verification', () => {
  test('has a job for every level', () => {
    expect(VERIFICATIONS.map(([, level]) => level).sort()).toEqual([...VERIFY_LEVELS].sort());
  });

  test.each(VERIFICATIONS)('%s verifies %s at %s UTC, and nothing else', (name, level, cron) => {
    const job = findJob(name);
    expect(job.schedule).toEqual({ cron, timeZone: 'UTC' });
    expect(job.policy).toBe('exclusive');
    expect(job.input.parse({})).toEqual({ level });
    for (const other of VERIFY_LEVELS) expect(job.input.safeParse({ level: other }).success).toBe(other === level);
  });
});

/** The tables with forced row-level security that each job reads. The others read none of them. */
const READS: Readonly<Record<string, readonly (keyof typeof BASE_COUNTS)[]>> = {
  anonymize: ['transactions'],
  // test/retention/housekeeping.test.ts has its rows in these.
  housekeeping: ['user_roles', 'jwt_tokens', 'user_sessions'],
  'generate-report': ['users', 'user_roles', 'jwt_tokens', 'user_sessions', 'transactions'],
  'state-snapshot': ['users', 'user_roles'],
};
/** Controls whose population is every row of the table in the period. */
const COUNTED_BY: Readonly<Record<keyof typeof BASE_COUNTS, readonly string[]>> = {
  users: ['ac-02', 'ac-06'],
  user_roles: ['ac-03'],
  jwt_tokens: ['ac-07'],
  user_sessions: ['pr-01'],
  transactions: ['pr-07'],
};

describe('rows under forced row-level security', () => {
  const db = useDatabase();
  beforeAll(() => arrangeBase(db.admin));

  const run = async (name: string, input: object) => {
    const job = findJob(name);
    // The rows are of now, by the server's clock.
    const ctx = await testContext(db, { clock: new TestClock(toInstant(Date.now() + 1000)) });
    return { ctx, outcome: await job.run(ctx, job.input.parse(input), new AbortController().signal) };
  };

  test('are in the tables that this file knows, and every job is known here', async () => {
    const tables = await db.admin.withClient((client) =>
      queryRows(
        client,
        z.object({ name: z.string() }),
        `select c.relname::text as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
          where c.relforcerowsecurity and n.nspname like 'security%' order by 1`,
      ),
    );
    expect(tables.map(({ name }) => name)).toEqual(Object.keys(BASE_COUNTS).sort());
    const blind = JOBS.filter(({ name }) => READS[name] === undefined && !/^(verify-|seal-)/.test(name));
    // A job that is new here says which of the tables it reads.
    expect(blind.map(({ name }) => name).sort()).toEqual([
      'archive',
      'check-sealed-data',
      'create-partitions',
      'purge',
    ]);
  });

  test('are seen by the report job: each control counts all rows of its table', async () => {
    const day = (offset: number) => new Date(Date.now() + offset * 86_400_000).toISOString().slice(0, 10);
    const populations = new Map<string, number | null>();
    for (const framework of ['gdpr', 'sox', 'hipaa']) {
      const { ctx, outcome } = await run('generate-report', {
        framework,
        period: `${day(-10)}..${day(0)}`,
        interim: true,
      });
      const id = /^report (\S+):/.exec(outcome.summary)?.[1] ?? '';
      const { model } = await readReport(ctx, id);
      for (const control of model.controls) populations.set(control.id.toLowerCase(), control.population.count);
    }
    for (const table of READS['generate-report'] ?? []) {
      const counted = COUNTED_BY[table].reduce((sum, id) => sum + (populations.get(id) ?? 0), 0);
      expect([table, counted]).toEqual([table, BASE_COUNTS[table]]);
    }
  });

  test('are seen by the job that takes snapshots', async () => {
    await run('state-snapshot', {});
    const counted = await db.engine.withClient((client) =>
      queryRows(
        client,
        z.object({ name: z.string(), rows: z.bigint() }),
        `select split_part(table_name, '.', 2) as name, row_count as rows from compliance.state_snapshot`,
      ),
    );
    for (const table of READS['state-snapshot'] ?? []) {
      expect(counted).toContainEqual({ name: table, rows: BigInt(BASE_COUNTS[table]) });
    }
  });

  test('are seen by the job that anonymizes', async () => {
    await db.admin.withClient((client) =>
      client.query('update security_confidential.transactions set anonymization_level = null'),
    );
    const { outcome } = await run('anonymize', {});
    expect(outcome.counts).toMatchObject({ rows: BASE_COUNTS.transactions });
  });
});
