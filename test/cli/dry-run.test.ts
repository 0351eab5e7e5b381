/** `--dry-run` where something changes: the same checks, the same shape, nothing changed. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { sealChain } from '../../src/audit/seal.ts';
import { main } from '../../src/cli/main.ts';
import { queryOne } from '../../src/db/query.ts';
import { installQueues } from '../../src/jobs/install.ts';
import { JOBS } from '../../src/jobs/registry.ts';
import { insertTransactions, makeChain } from '../privacy/ethereum.ts';
import { testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';

const db = useDatabase();
let config = '';

async function auditkeep(...argv: string[]) {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const exit = await main([...argv, '--config', config, '--database-url', db.url()], { stdout, stderr });
  stdout.end();
  stderr.end();
  return { exit, stdout: await text(stdout), stderr: await text(stderr) };
}

/** Everything that the commands below change. */
const state = () =>
  db.admin.withClient((client) =>
    queryOne(
      client,
      z.record(z.string(), z.unknown()),
      `select (select count(*) from ops.schedule_version) as schedules, (select count(*) from audit.audit_log_all) as events,
              (select size from audit.chain_head) as links, (select count(*) from audit.checkpoint) as checkpoints,
              (select count(*) from pgboss.job) as jobs,
              (select count(*) from security_confidential.transactions where anonymization_level is null) as untouched`,
    ),
  );

beforeAll(async () => {
  await db.as('auditkeep_owner').withClient((client) => installQueues(client, JOBS));
  const ctx = await testContext(db);
  config = join(ctx.config.home, 'auditkeep.yaml');
  await writeFile(config, 'home: .\nlogLevel: silent\n');
  await db.admin.withClient((client) => insertTransactions(ctx, client, makeChain(10)));
  await sealChain(ctx);
  await db.engine.withClient((client) =>
    client.query(`insert into audit.audit_log (event_type, event_category, event_action) values ('x', 'system', 'X')`),
  );
});

const SCHEDULE = ['archive', '--reason', 'a test'];

describe('--dry-run changes nothing', () => {
  test.each([
    [['schedule', 'set', ...SCHEDULE, '--cron', '1 2 * * *'], { job: 'archive', cron: '1 2 * * *', version: null }],
    [['schedule', 'pause', ...SCHEDULE], { job: 'archive', paused: true, version: null }],
    [['schedule', 'resume', ...SCHEDULE], { job: 'archive', paused: false, version: null }],
    [['schedule', 'run', 'archive'], { job: 'archive', id: null }],
    [['chain', 'seal'], { sealed: 1 }],
    [['chain', 'checkpoint'], { fresh: true, note: null }],
    [['anonymize', 'run'], { due: 10, applied: false }],
    [['anonymize', 'run', '--apply'], { due: 10, applied: false }],
    [['partition', 'apply'], { created: 0 }],
    [['archive', 'run'], { units: [] }],
  ])('of %j', async (argv, data) => {
    const before = await state();
    const run = await auditkeep(...argv, '--dry-run', '--json');
    expect({ exit: run.exit, stderr: run.stderr }).toEqual({ exit: 0, stderr: '' });
    expect(JSON.parse(run.stdout)).toMatchObject(data);
    const words = await auditkeep(...argv, '--dry-run');
    expect(words.stdout).toMatch(/othing was changed\.\n$/);
    expect(await state()).toEqual(before);
  });

  test('and refuses what the command itself would refuse', async () => {
    const refused = [
      [2, 'schedule', 'set', 'archive', '--reason', 'x', '--cron', 'never'],
      [2, 'schedule', 'pause', 'no-such-job', '--reason', 'x'],
      [2, 'schedule', 'run', 'no-such-job'],
      [4, 'anonymize', 'run', '--before', '2026-01-01'],
    ] as const;
    for (const [exit, ...argv] of refused) {
      expect((await auditkeep(...argv, '--dry-run')).exit, argv.join(' ')).toBe(exit);
    }
  });
});
