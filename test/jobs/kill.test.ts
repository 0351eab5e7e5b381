/** Every job killed (SIGKILL of its worker process) where all is done but the record of it, then run again. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pino } from 'pino';
import { beforeAll, beforeEach, expect, it } from 'vitest';
import { z } from 'zod';
import { sealChain } from '../../src/audit/seal/seal.ts';
import { generateEvents } from '../../src/import/generate.ts';
import { importNdjson } from '../../src/import/import.ts';
import { installQueues } from '../../src/jobs/install.ts';
import { enqueueJob, openQueue } from '../../src/jobs/queue.ts';
import { findJob } from '../../src/jobs/registry.ts';
import { SERVICE_PERSON } from '../../src/persons/roles.ts';
import { anonymizeTransactions } from '../../src/privacy/anonymize.ts';
import { generateReport } from '../../src/reports/generate/generate.ts';
import { listReports } from '../../src/reports/model/read.ts';
import { runArchive } from '../../src/retention/archive.ts';
import { applyPartitions, planPartitions } from '../../src/retention/partition.ts';
import { reconcile } from '../../src/retention/reconcile.ts';
import { isoOf, systemClock } from '../../src/time/clock.ts';
import { startOfStep, subtractPeriod } from '../../src/time/period.ts';
import { insertTransactions, makeChain } from '../privacy/ethereum.ts';
import {
  countByOrigin,
  ensureMonths,
  insertEvents,
  instant,
  linkAll,
  rewind,
  scalar,
  stateOf,
} from '../retention/rows.ts';
import { TestClock, type TestContext, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { eventLeaf, killCommand } from '../support/kill.ts';

const db = useDatabase();
let ctx: TestContext;
let leaf: string;
beforeAll(async () => {
  await db.as('auditkeep_owner').withClient((client) => installQueues(client));
});
beforeEach(async () => {
  // On the clock of the process that is killed: keys are of a day.
  ctx = await testContext(db, { clock: new TestClock(systemClock.now()) });
  leaf = await eventLeaf(db.admin);
});

/** Has a worker process run a job, and kills it while it waits for the relation. */
async function killJob(name: string, relation: string, input: object = {}): Promise<void> {
  // An exclusive job of a killed worker keeps its place until the heartbeat is old: test/jobs/process.test.ts has that.
  await db.admin.withClient((client) => client.query('delete from pgboss.job'));
  const log = pino({ level: 'silent' });
  const queue = await openQueue({
    url: db.url('auditkeep_engine'),
    role: 'auditkeep_engine',
    log,
    clock: systemClock,
  });
  await enqueueJob(queue, findJob(name), { input, dueAt: null });
  await queue.close();
  await killCommand(db, relation, ['worker', '--queues', name], ctx.config.home);
}

const numberOf = (text: string) => scalar(db.admin, z.bigint(), text).then(Number);
const eventsOf = (type: string) =>
  numberOf(`select count(*) as value from audit.audit_log_all where event_type = '${type}'`);

it('archive, killed between the divert and the seal and again in the move: each row is there once', async () => {
  const unit = 'audit_log_y2023m01';
  const run = () => runArchive(ctx, { table: 'audit_log', before: instant('2023-02-01T00:00:00Z'), reason: 'again' });
  const write = (n: number) =>
    db.engine.withClient((client) =>
      client.query(
        `insert into audit.audit_log (id, event_type, event_category, event_action, event_timestamp)
         values ($1, 'test', 'system', 'CREATE', '2023-01-10T00:00:00Z') on conflict do nothing`,
        [`00000000-0000-4000-8000-${String(n).padStart(12, '0')}`],
      ),
    );
  await ensureMonths(db.engine, ['2023-01']);
  await write(1);
  await write(2);
  await linkAll(db.engine);
  // What a run mends first has a record of its own, which is not meant here.
  await reconcile(ctx);
  const input = { table: 'audit_log', before: '2023-02-01T00:00:00Z', reason: 'killed' };

  await killJob('archive', leaf, input);
  expect(await stateOf(db.engine, unit)).toBe('hot');
  const diverted = `select count(*) as value from retention.unit where relation_name = '${unit}' and diverted_at is not null`;
  expect(await numberOf(diverted)).toBe(1);
  // Writers that had no answer try again, and new ones come.
  for (const n of [1, 2, 3, 3]) await write(n);
  expect(await countByOrigin(db.engine)).toEqual({ hot: 2, late: 1 });

  await db.engine.withClient((client) => client.query(`select retention.seal_partition('audit_log', '2023-01-01Z')`));
  expect(await stateOf(db.engine, unit)).toBe('sealed');
  await killJob('archive', leaf, input);
  expect(await stateOf(db.engine, unit)).toBe('sealed');
  expect(await countByOrigin(db.engine)).toEqual({ hot: 2, late: 1 });
  expect(await eventsOf('partition.archived')).toBe(0);
  for (const n of [1, 3, 4]) await write(n);

  expect((await run()).units.map(({ outcome }) => outcome)).toEqual([{ kind: 'archived', rows: 2 }]);
  for (const n of [1, 2, 3, 4]) await write(n);
  expect(await countByOrigin(db.engine)).toEqual({ archive: 2, late: 2 });
  expect(await eventsOf('partition.archived')).toBe(1);
});

it('create-partitions: no partition without its event, and the next run makes them all', async () => {
  await rewind(
    db.admin,
    'distributed_traces',
    '',
    isoOf(startOfStep('day', subtractPeriod(systemClock.now(), { unit: 'day', count: 3 }))),
  );
  const plan = await planPartitions(ctx);
  expect(plan.units.length).toBeGreaterThan(3);
  await killJob('create-partitions', leaf);
  expect((await planPartitions(ctx)).planHash).toBe(plan.planHash);
  expect(await applyPartitions(ctx)).toMatchObject({ created: plan.units.length });
  expect((await planPartitions(ctx)).units).toEqual([]);
  expect(await eventsOf("partition.created' and resource_id = 'distributed_traces")).toBe(1);
});

it('seal-chain: no link is left without the head, and the next run links each event once', async () => {
  await linkAll(db.engine);
  const size = `select size as value from audit.chain_head`;
  const before = await numberOf(size);
  await db.engine.withClient((client) => insertEvents(client, isoOf(systemClock.now()), 30));
  await killJob('seal-chain', 'audit.chain_link');
  expect(await numberOf(size)).toBe(before);
  expect(await numberOf('select count(*) as value from audit.chain_link')).toBe(before);
  expect(await sealChain(ctx)).toMatchObject({ sealed: 30, complete: true });
  expect(await numberOf('select count(distinct event_id) as value from audit.chain_link')).toBe(before + 30);
});

it('anonymize: no row is changed without its event, and the next run takes them all', async () => {
  await db.admin.withClient((client) => insertTransactions(ctx, client, makeChain(20)));
  const left = `select count(*) as value from security_confidential.transactions
                 where anonymization_level is null and from_address_encrypted is not null`;
  await killJob('anonymize', leaf);
  expect(await numberOf(left)).toBe(20);
  expect(await numberOf('select count(*) as value from privacy.anonymized_transaction')).toBe(0);
  expect(await anonymizeTransactions(ctx)).toMatchObject({ pseudonymized: 20, anonymized: 20 });
  expect(await numberOf(left)).toBe(0);
});

it('generate-report: no report without its event, and the next one is version 1', async () => {
  await killJob('generate-report', leaf, { framework: 'sox', period: '2026-02' });
  expect(await listReports(ctx)).toEqual([]);
  const report = await generateReport(ctx, { framework: 'sox', period: '2026-02' });
  expect(report.version).toBe(1);
  expect(await listReports(ctx)).toHaveLength(1);
});

it('report-quarterly: what its killed worker did not finish is made by the next, each report once', async () => {
  const made = async () => (await listReports(ctx)).filter(({ generatedBy }) => generatedBy === SERVICE_PERSON).length;
  const before = await made();
  await killJob('report-quarterly', leaf);
  expect(await made()).toBe(before);
  const run = () => findJob('report-quarterly').run(ctx, {} as never, new AbortController().signal);
  expect((await run()).counts).toMatchObject({ made: 2, present: 0 });
  expect((await run()).counts).toMatchObject({ made: 0, present: 2 });
});

it('import: a batch without its event is not there, and the next run stores each event once', async () => {
  const path = join(ctx.config.home, 'events.ndjson');
  // Not of this month, with partitions and keys at hand: only the event of the batch stands before the lock.
  await ctx.keys.sealer('confidential');
  await ctx.keys.sealer('secret');
  const until = subtractPeriod(systemClock.now(), { unit: 'month', count: 2 });
  const options = { seed: 7, count: 200, years: 0.05, now: until };
  const from = subtractPeriod(until, { unit: 'day', count: 20 });
  await ensureMonths(db.engine, [isoOf(from).slice(0, 7), isoOf(until).slice(0, 7)]);
  await writeFile(path, [...generateEvents(options)].join('\n'));
  const stored = `select count(*) as value from audit.audit_log_all where service_name = 'generator'`;
  await killCommand(db, leaf, ['import', 'ndjson', path], ctx.config.home);
  expect(await numberOf(stored)).toBe(0);
  expect(await importNdjson(ctx, { paths: [path] })).toMatchObject({ imported: 200, duplicates: 0 });
  expect(await numberOf(stored)).toBe(200);
  expect(await eventsOf('import.batch')).toBe(1);
});
