/** `partition` and `archive` on the command line, and the two daily jobs. */
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { main } from '../../src/cli/main.ts';
import { findJob } from '../../src/jobs/registry.ts';
import { testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { countByOrigin, ensureMonths, insertEvents, linkAll } from './rows.ts';

const db = useDatabase();

async function auditkeep(...argv: string[]) {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const exit = await main([...argv, '--database-url', db.url()], { stdout, stderr });
  stdout.end();
  stderr.end();
  return { exit, stdout: await text(stdout), stderr: await text(stderr) };
}

const planShape = z.strictObject({
  planHash: z.string().regex(/^[0-9a-f]{64}$/),
  units: z.array(
    z.strictObject({
      table: z.string(),
      category: z.string().nullable(),
      partition: z.string(),
      from: z.string().nullable(),
      to: z.string(),
      rows: z.number(),
      bytes: z.number(),
      action: z.string(),
      policy: z.string(),
      blockers: z.array(z.string()),
    }),
  ),
  /** Of archival only. */
  late: z
    .array(z.strictObject({ table: z.string(), category: z.string().nullable(), from: z.string(), to: z.string() }))
    .optional(),
});

async function runJob(name: string, input: object) {
  const job = findJob(name);
  const ctx = await testContext(db, {});
  return await job.run(ctx, job.input.parse(input), new AbortController().signal);
}

beforeAll(async () => {
  await ensureMonths(db.engine, ['2020-01', '2020-02', '2020-03']);
  await db.engine.withClient(async (client) => {
    for (const month of ['01', '02', '03']) await insertEvents(client, `2020-${month}-10T00:00:00Z`, 2);
  });
  await linkAll(db.engine);
});

describe('archive', () => {
  test('plan and --dry-run print the contract and change nothing', async () => {
    const plan = await auditkeep('archive', 'plan', '--table', 'audit_log', '--json');
    expect([plan.exit, plan.stderr]).toEqual([0, '']);
    const parsed = planShape.parse(JSON.parse(plan.stdout));
    expect(parsed.units.map((unit) => [unit.partition, unit.from, unit.to, unit.rows, unit.action])).toEqual([
      ['audit_log_y2020m01', '2020-01-01T00:00:00.000Z', '2020-02-01T00:00:00.000Z', 2, 'archive'],
      ['audit_log_y2020m02', '2020-02-01T00:00:00.000Z', '2020-03-01T00:00:00.000Z', 2, 'archive'],
      ['audit_log_y2020m03', '2020-03-01T00:00:00.000Z', '2020-04-01T00:00:00.000Z', 2, 'archive'],
    ]);
    const dry = await auditkeep('archive', 'run', '--table', 'audit_log', '--dry-run', '--json');
    expect(planShape.parse(JSON.parse(dry.stdout))).toEqual(parsed);
    expect(await countByOrigin(db.engine)).toEqual({ hot: 6 });
  });

  test('run with a date moves what ends by then, list shows it', async () => {
    const run = await auditkeep(
      'archive',
      'run',
      '--table',
      'audit_log',
      '--before',
      '2020-02-01',
      '--reason',
      'year end',
      '--json',
    );
    expect(run.exit).toBe(0);
    expect(JSON.parse(run.stdout)).toMatchObject({ units: [{ partition: 'audit_log_y2020m01', outcome: 'archived' }] });
    expect(await countByOrigin(db.engine)).toEqual({ hot: 4, archive: 2 });
    const list = await auditkeep('archive', 'list', '--json');
    expect(JSON.parse(list.stdout)).toMatchObject({
      units: [{ partition: 'audit.audit_log_y2020m01', rows: 2, state: 'archived', held: false }],
    });
    expect((await auditkeep('archive', 'list')).stdout).toContain('2020-01-01 to 2020-02-01  2 rows');
  });

  test('run collects the late rows of its scope, and the plan says so', async () => {
    await db.engine.withClient((client) => insertEvents(client, '2020-01-11T00:00:00Z', 3));
    await linkAll(db.engine);
    const scope = ['--table', 'audit_log', '--before', '2020-02-01'];
    const range = {
      table: 'audit_log',
      category: null,
      from: '2020-01-01T00:00:00.000Z',
      to: '2020-02-01T00:00:00.000Z',
    };
    const plan = await auditkeep('archive', 'run', ...scope, '--dry-run', '--json');
    expect(planShape.parse(JSON.parse(plan.stdout))).toMatchObject({ units: [], late: [range] });
    expect((await auditkeep('archive', 'plan', ...scope)).stdout).toBe(
      'collect late rows of audit_log  2020-01-01 to 2020-02-01\n',
    );
    const run = await auditkeep('archive', 'run', ...scope, '--json');
    expect([run.exit, JSON.parse(run.stdout)]).toMatchObject([
      0,
      { late: [{ ...range, outcome: 'collected', partition: 'audit.audit_log_y2020m01_g2', rows: 3, reason: null }] },
    ]);
    await db.engine.withClient((client) => insertEvents(client, '2020-01-12T00:00:00Z', 1));
    const waiting = await auditkeep('archive', 'run', ...scope);
    expect([waiting.exit, waiting.stdout]).toEqual([
      5,
      'postponed late rows of audit_log  2020-01-01 to 2020-02-01  1 late event is not linked in the chain yet\n',
    ]);
    await linkAll(db.engine);
    const text = await auditkeep('archive', 'run', ...scope);
    expect([text.exit, text.stdout]).toEqual([0, 'collected audit.audit_log_y2020m01_g3  1 late row\n']);
  });

  test('a hold is a refusal with exit code 4', async () => {
    await db.admin.withClient((client) =>
      client.query(`update retention.unit set held = true where relation_name = 'audit_log_y2020m02'`),
    );
    const run = await auditkeep('archive', 'run', '--before', '2020-03-01');
    expect([run.exit, run.stdout]).toEqual([4, 'postponed audit_log_y2020m02  2 rows  held\n']);
  });

  test.each([
    [['archive', 'plan', '--before', 'yesterday'], 'INPUT_INVALID'],
    [['archive', 'plan', '--table', 'users'], 'USAGE'],
  ])('%j is refused with exit code 2', async (argv, code) => {
    const result = await auditkeep(...argv);
    expect(result.exit).toBe(2);
    expect(result.stderr).toMatch(new RegExp(`^error ${code}: `));
  });
});

test('partition plan and apply', async () => {
  const plan = await auditkeep('partition', 'plan', '--json');
  expect(planShape.parse(JSON.parse(plan.stdout)).units).toEqual([]);
  expect((await auditkeep('partition', 'plan')).stdout).toBe('nothing is missing\n');
  expect((await auditkeep('partition', 'apply')).stdout).toBe('0 partitions created, 0 adopted\n');
});

describe('jobs', () => {
  test('create-partitions reports counts', async () => {
    expect(await runJob('create-partitions', {})).toMatchObject({ counts: { created: 0, adopted: 0 } });
  });

  test('archive moves what is due and postpones what is held', async () => {
    expect(await runJob('archive', { table: 'audit_log' })).toEqual({
      summary: '1 unit (2 rows) archived, 1 postponed',
      counts: { archived: 1, postponed: 1, failed: 0, rows: 2, late: 0 },
    });
    expect(await countByOrigin(db.engine)).toEqual({ hot: 2, archive: 4, late: 4 });
    expect(await runJob('archive', { table: 'audit_log' })).toMatchObject({ counts: { archived: 0, postponed: 1 } });
  });

  test('archive fails when a disturbance keeps a unit for more than a week past its policy', async () => {
    const structure = (verb: string) => `select pg_advisory_${verb}_shared(24939, 1)`;
    await db.admin.withClient(async (client) => {
      await client.query(`update retention.unit set held = false where relation_name = 'audit_log_y2020m02'`);
      await client.query(structure('lock'));
      await expect(runJob('archive', { table: 'audit_log' })).rejects.toMatchObject({
        code: 'RETENTION_FAILED',
        details: { postponed: 1, failed: 0, overdue: 1 },
      });
      await client.query(structure('unlock'));
      await client.query(`update retention.unit set held = true where relation_name = 'audit_log_y2020m02'`);
    });
  });

  test('archive fails after all units were tried when one could not be moved', async () => {
    await db.admin.withClient(async (client) => {
      await client.query(`update retention.unit set held = false where relation_name = 'audit_log_y2020m02'`);
      await client.query('alter table audit.audit_log_y2020m02 disable trigger ak_child_truncate');
    });
    await expect(runJob('archive', {})).rejects.toMatchObject({ code: 'RETENTION_FAILED', details: { failed: 1 } });
  });

  test('archive takes a date and refuses what is none', () => {
    const { input } = findJob('archive');
    expect(input.safeParse({ before: '2020-01-01T00:00:00Z' }).success).toBe(true);
    expect(input.safeParse({ before: 'soon' }).success).toBe(false);
    expect(input.safeParse({ table: 'users' }).success).toBe(false);
  });
});
