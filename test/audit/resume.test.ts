/** Full verification goes on after a kill: what was read is not read again, and nothing that was tampered with hides. */
import { existsSync } from 'node:fs';
import { chmod, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import type { Verification } from '../../src/audit/links/finding.ts';
import { signCheckpoint } from '../../src/audit/publish/sign.ts';
import { sealChain } from '../../src/audit/seal/seal.ts';
import { sha256 } from '../../src/audit/tree/hash.ts';
import { scanChain } from '../../src/audit/verify/full-scan.ts';
import { verifyChain } from '../../src/audit/verify/verify.ts';
import { openRun } from '../../src/audit/verify/verify-run.ts';
import { transact } from '../../src/db/transaction.ts';
import { runArchive } from '../../src/retention/archive.ts';
import { systemClock } from '../../src/time/clock.ts';
import { PRODUCT, startCli } from '../cli/process.ts';
import { ensureMonths, insertEvents, instant, retentionContext, scalar } from '../retention/rows.ts';
import { compileProduct } from '../support/compiled.ts';
import { TestClock, type TestContext, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { whileHeld } from '../support/kill.ts';
import { tamper } from '../tamper/tampering.ts';

const MONTHS = ['2023-01', '2023-02', '2023-03'];
const EVENTS = 40;
const UNREADABLE = 'the file of kept units cannot be read, or others may read it';
const fileShape = z.object({ steps: z.array(z.object({ relation: z.string(), rows: z.number() })) });

describe('a full verification', () => {
  const db = useDatabase();
  let ctx: TestContext;
  let file = '';
  const leaf = (month: string) => `audit.audit_log_y2023m${month}`;

  beforeAll(async () => {
    // The killed process has the machine's clock.
    ctx = await testContext(db, { clock: new TestClock(systemClock.now()) });
    file = join(ctx.config.home, 'signer', 'full-steps.json');
    await ensureMonths(db.engine, MONTHS);
    await db.engine.withClient(async (client) => {
      for (const month of MONTHS) await insertEvents(client, `${month}-10T00:00:00Z`, EVENTS);
    });
    await sealChain(ctx);
    const before = instant('2023-04-01T00:00:00Z');
    await runArchive(retentionContext(db.engine), { table: 'audit_log', before, reason: 'test' });
    await sealChain(ctx);
    await signCheckpoint(ctx);
  });

  // Every test leaves sound events and no steps behind.
  afterEach(async () => {
    ctx.clock.set(systemClock.now());
    await sealChain(ctx);
    expect(found(await verifyChain(ctx, { fresh: true })).slice(0, 3)).toEqual([]);
    expect(existsSync(file)).toBe(false);
  });

  const kept = async () =>
    existsSync(file) ? fileShape.parse(JSON.parse((await readFile(file, 'utf8')).split('\n')[0] ?? '')).steps : [];

  /** Kills a real process when it has kept some units and stands before the index of the next one. */
  async function cutShort(before: string, units: number, entry = PRODUCT): Promise<void> {
    await everythingIsOld();
    const env = { DATABASE_URL: db.url(), AUDITKEEP_HOME: ctx.config.home };
    const reindex = `reindex index ${leaf(before)}_pkey`;
    await whileHeld(
      db.admin,
      reindex,
      () => startCli(['chain', 'verify'], env, { entry }),
      async ({ child, ended }) => {
        await expect.poll(async () => (await kept()).length, { timeout: 20_000 }).toBe(units);
        child.kill('SIGKILL');
        expect((await ended).signal).toBe('SIGKILL');
      },
    );
    await expect.poll(sessions, { timeout: 20_000, interval: 20 }).toBe(0n);
    ctx.clock.set(systemClock.now());
  }

  /** A unit that an earlier test touched is read again while a transaction of that time runs anywhere on the server. */
  async function everythingIsOld(): Promise<void> {
    const last = await scalar(db.admin, z.bigint(), 'select pg_current_xact_id()::text::bigint as value');
    const oldest = 'select pg_snapshot_xmin(pg_current_snapshot())::text::bigint as value';
    await expect.poll(() => scalar(db.admin, z.bigint(), oldest), { timeout: 60_000 }).toBeGreaterThan(last);
  }

  const sessions = () =>
    scalar(
      db.admin,
      z.bigint(),
      `select count(*) as value from pg_stat_activity where datname = current_database() and application_name = 'auditkeep'`,
    );

  /** Changes what an event says, and gives what undoes it. */
  async function change(month: string): Promise<{ readonly id: string; undo(): Promise<void> }> {
    const table = leaf(month);
    const id = await scalar(db.admin, z.string(), `select id::text as value from ${table} order by 1 limit 1`);
    await tamper(db.admin, `update ${table} set event_action = 'DELETE' where id = '${id}'`);
    return { id, undo: () => tamper(db.admin, `update ${table} set event_action = 'CREATE' where id = '${id}'`) };
  }

  const found = ({ findings }: Verification) => findings.map(({ class: kind, eventId }) => `${kind} ${eventId}`);
  const total = () => scalar(db.admin, z.bigint(), 'select count(*) as value from audit.audit_log_all');

  test('goes on after a kill, reads less, says so and leaves nothing behind', async () => {
    await cutShort('03', 2);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(await kept()).toMatchObject([
      { relation: 'audit_log_y2023m01', rows: EVENTS },
      { relation: 'audit_log_y2023m02', rows: EVENTS },
    ]);
    const labels: string[] = [];
    const seen: number[] = [];
    const start = (label: string) => labels.push(label);
    const progress = { start, update: (rows: number) => seen.push(rows), stop: () => undefined };
    const checked = Number(await total());
    const size = Number(await scalar(db.admin, z.bigint(), 'select size as value from audit.chain_head'));
    const result = await verifyChain({ ...ctx, progress });
    const taken = { units: 2, events: 2 * EVENTS, readAgain: 0, ignored: null };
    expect(result).toMatchObject({ intact: true, anchored: true, checked, resumed: taken });
    expect(labels).toEqual(['links and events, 2 of 3 units', 'links and events, 3 of 3 units']);
    // Rows that went through the threads: every link, and the events that were not taken over.
    expect(Math.max(...seen)).toBeLessThanOrEqual(size + checked - 2 * EVENTS);
    expect(existsSync(file)).toBe(false);
  });

  test.each([
    ['in a unit that was read, before the kill', '01', 'before', 2],
    ['in a unit that was not read, after the kill', '03', 'after', 2],
    // Its rows have a version that is younger than the reading.
    ['in a unit that was read, after the kill', '02', 'after', 1],
  ])('finds what was changed %s', async (_, month, when, units) => {
    let changed = when === 'before' ? await change(month) : null;
    await cutShort('03', 2);
    changed ??= await change(month);
    const result = await verifyChain(ctx);
    expect(found(result)).toEqual([`modified ${changed.id}`]);
    expect(result.resumed).toMatchObject({ units, readAgain: 2 - units });
    await changed.undo();
  });

  test.each([
    [
      'a row is taken away',
      (table: string) => `delete from ${table} where id = (select min(id::text)::uuid from ${table})`,
    ],
    ['the table is emptied', (table: string) => `truncate ${table}`],
  ])('reads a unit again when %s after the kill', async (_, statement) => {
    const table = leaf('01');
    await db.admin.withClient((client) => client.query(`create table public.spare as select * from ${table}`));
    await cutShort('03', 2);
    await tamper(db.admin, statement(table));
    const result = await verifyChain(ctx);
    expect(new Set(result.findings.map((one) => one.class))).toEqual(new Set(['deleted']));
    expect(result.resumed).toMatchObject({ units: 1, readAgain: 1 });
    await tamper(
      db.admin,
      `alter table ${table} disable trigger zz_seal_divert`,
      `insert into ${table} select * from public.spare on conflict do nothing`,
      `alter table ${table} enable always trigger zz_seal_divert`,
      'drop table public.spare',
    );
  });

  test('reads a unit again whose columns changed places, where no row has changed', async () => {
    const swap = (a: string, b: string) => [
      `alter table audit.audit_log_archive rename column ${a} to ak_swap`,
      `alter table audit.audit_log_archive rename column ${b} to ${a}`,
      `alter table audit.audit_log_archive rename column ak_swap to ${b}`,
    ];
    await cutShort('03', 2);
    await tamper(db.admin, ...swap('event_category', 'event_type'));
    const result = await verifyChain(ctx);
    expect(result.findings.filter((one) => one.class === 'modified')).toHaveLength(MONTHS.length * EVENTS);
    expect(result.resumed).toMatchObject({ units: 0, readAgain: 2 });
    await tamper(db.admin, ...swap('event_type', 'event_category'));
  });

  test('judges links anew: one that was changed after the kill does not fit what was kept', async () => {
    await cutShort('03', 2);
    const where = `where seq = (select min(seq) from audit.chain_link join ${leaf('01')} e on e.id = event_id)`;
    const swap = `update audit.chain_link set txid = txid + %N ${where}`;
    await tamper(db.admin, swap.replace('%N', '1'));
    const result = await verifyChain(ctx);
    expect(result.intact).toBe(false);
    expect(result.resumed).toMatchObject({ units: 2 });
    await tamper(db.admin, swap.replace('%N', '-1'));
  });

  test('as it is published, with compiled worker threads, goes on as well', async () => {
    const { entry, remove } = await compileProduct('resume');
    await cutShort('03', 2, entry);
    const env = { DATABASE_URL: db.url(), AUDITKEEP_HOME: ctx.config.home };
    const spoken = await startCli(['chain', 'verify', '--json'], env, { entry }).ended;
    expect(spoken).toMatchObject({ code: 0, stderr: '' });
    expect(JSON.parse(spoken.stdout)).toMatchObject({ intact: true, findings: [], resumed: { units: 2 } });
    await cutShort('03', 2, entry);
    const { stdout } = await startCli(['chain', 'verify'], env, { entry }).ended;
    expect(stdout).toMatch(/^resumed: 2 units, 80 events as read by the run of 20/m);
    await remove();
  });

  test('goes on with the sums that were kept, and keeps its own: nothing is left to be joined', async () => {
    await cutShort('03', 2);
    await sealChain(ctx);
    await db.engine.withClient((client) =>
      transact(
        client,
        async () => {
          const run = await openRun(ctx, client, { level: 'full', unsealedAfterSeconds: 600 });
          const { sums, resumed } = await scanChain(ctx, client, run, false);
          expect(resumed).toMatchObject({ units: 2, readAgain: 0 });
          expect(sums.differing()).toEqual({ ranges: [], young: null });
        },
        'repeatable read, read only',
      ),
    );
  });

  test.each([
    [
      'of another log',
      (body: string) => body.replace(/"origin":"[^"]*"/, '"origin":"another.example/log"'),
      'another log',
    ],
    ['of other checkpoints', (body: string) => body.replace(/"root":"../, '"root":"AA'), 'other checkpoints'],
    ['of another version', (body: string) => body.replace('"format":2', '"format":1'), 'another version'],
  ])('ignores steps %s, and says so', async (_, edit, reason) => {
    await cutShort('03', 2);
    const [body = ''] = (await readFile(file, 'utf8')).split('\n');
    expect(edit(body)).not.toBe(body);
    await writeFile(file, `${edit(body)}\n${sha256(Buffer.from(edit(body))).toString('hex')}\n`);
    const result = await verifyChain(ctx);
    expect(result).toMatchObject({ intact: true, resumed: { units: 0 } });
    expect(result.resumed?.ignored).toContain(reason);
  });

  test('ignores steps that are damaged, that others may read, that are old, or when told to', async () => {
    await cutShort('03', 2);
    const text = await readFile(file, 'utf8');
    const outcome = async (fresh = false) => (await verifyChain(ctx, { fresh })).resumed;
    await writeFile(file, text.replace(/"rows":40/, '"rows":41'));
    expect(await outcome()).toMatchObject({ units: 0, ignored: 'the file of kept units is damaged' });
    await writeFile(file, text, { mode: 0o600 });
    await chmod(file, 0o644);
    expect(await outcome()).toMatchObject({ units: 0, ignored: UNREADABLE });
    const again = () => writeFile(file, text, { mode: 0o600 });
    await again();
    expect(await outcome(true)).toMatchObject({ units: 0, ignored: 'reading everything was asked for' });
    await again();
    ctx.clock.advance(24 * 3600 * 1000 + 60_000);
    expect(await outcome()).toMatchObject({ units: 0, readAgain: 2, ignored: null });
    ctx.clock.set('2020-01-01T00:00:00Z');
    await again();
    expect(await outcome()).toMatchObject({ units: 0, readAgain: 2, ignored: null });
  });

  // The last test: it leaves units behind that are sealed and stay where they are.
  test('reads what lies before, between and after the units of one table', async () => {
    await ensureMonths(db.engine, ['2023-05', '2023-06', '2023-07']);
    await db.engine.withClient(async (client) => {
      for (const month of ['05', '06', '07']) await insertEvents(client, `2023-${month}-10T00:00:00Z`, 3);
    });
    await sealChain(ctx);
    await db.engine.withClient(async (client) => {
      for (const month of ['05', '05', '07', '07']) {
        await client.query(`select retention.seal_partition('audit_log', '2023-${month}-01 00:00:00+00')`);
      }
    });
    const labels: string[] = [];
    const progress = { start: (label: string) => labels.push(label), update: () => undefined, stop: () => undefined };
    const checked = Number(await total());
    expect(await verifyChain({ ...ctx, progress }, { fresh: true })).toMatchObject({ intact: true, checked });
    expect(labels[0]).toBe('links and events, 0 of 5 units');
  });
});
