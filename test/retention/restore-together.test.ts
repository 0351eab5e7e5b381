/** What comes back beside others: the structure lock, two makers of one generation, and an attachment that stays as signed. */
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { canonicalJson, type JsonValue } from '../../src/canonical-json.ts';
import { lockSession, unlockSession } from '../../src/db/advisory-lock.ts';
import { queryOne } from '../../src/db/query.ts';
import { decideObject } from '../../src/persons/decide-object.ts';
import { runArchive } from '../../src/retention/archive.ts';
import { textHash } from '../../src/retention/hold.ts';
import { collectDue } from '../../src/retention/late.ts';
import { expireCopies, restoreRange } from '../../src/retention/restore.ts';
import { approveAttach, attach, requestAttach } from '../../src/retention/restore-attach.ts';
import { draftRestore } from '../../src/retention/restore-store.ts';
import { moveInStructure } from '../../src/retention/structure.ts';
import { findDrift } from '../../src/schema/drift.ts';
import { systemClock } from '../../src/time/clock.ts';
import { foundRegister, type Roster } from '../persons/roster.ts';
import { TestClock, type TestContext, temporaryHome, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { runCommand } from './command.ts';
import { guardsLater } from './later.ts';
import { ensureMonths, failureOf, insertEvents, instant, linkAll, scalar, stateOf } from './rows.ts';

const db = useDatabase();
let ctx: TestContext;
let roster: Roster;
const before = instant('2016-01-01T00:00:00Z');
const january = {
  table: 'audit_log',
  from: instant('2015-01-01T00:00:00Z'),
  to: instant('2015-02-01T00:00:00Z'),
} as const;
const february = {
  table: 'audit_log',
  from: instant('2015-02-01T00:00:00Z'),
  to: instant('2015-03-01T00:00:00Z'),
} as const;
const short = { attempts: 2, maxPauseMs: 20 };
const unitOf = (relation: string) =>
  scalar(db.engine, z.bigint(), 'select unit_id as value from retention.unit where relation_name = $1', [relation]);
const restore = (window = short) => restoreRange(ctx, { ...january, days: 14, reason: 'case 7', window });
const outcomes = (units: Awaited<ReturnType<typeof restore>>) =>
  units.map(({ partition, outcome }) => [partition, outcome.kind === 'restored' ? outcome.copy.relation : outcome]);

/** Writes down how long each step of a unit would have waited before it looks for what is in its way. */
const probe = () =>
  db.admin.withClient((client) =>
    client.query(`create table public.waits (state text, timeout text);
      create function public.probe() returns trigger language plpgsql security definer as $$
        begin insert into public.waits values (new.state, current_setting('deadlock_timeout')); return new; end $$;
      create trigger probe after update on retention.unit for each row when (new.state <> old.state) execute function public.probe()`),
  );

beforeAll(async () => {
  ctx = await testContext(db, { clock: new TestClock(systemClock.now()) });
  roster = await foundRegister(ctx, await temporaryHome());
  await ensureMonths(db.engine, ['2015-01', '2015-02', '2025-12']);
  const insert = (from: string, count: number) => db.engine.withClient((client) => insertEvents(client, from, count));
  await insert('2015-01-10T00:00:00Z', 5);
  await insert('2015-02-10T00:00:00Z', 5);
  await linkAll(db.engine);
  await probe();
  await runArchive(ctx, { table: 'audit_log', before, reason: 'test' });
  // A unit beside the archive's own of the same range.
  await insert('2015-01-20T00:00:00Z', 3);
  await linkAll(db.engine);
  await collectDue(ctx, { table: 'audit_log', before, reason: 'test' });
});

test('copying waits for whoever moves units, and for no reader of all places; what expires waits for readers too', async () => {
  const busy = { code: 'RETENTION_BUSY' };
  await db.admin.withClient(async (client) => {
    await lockSession(client, 'structure', 'exclusive');
    expect(outcomes(await restore())).toMatchObject([
      ['audit_log_y2015m01', { kind: 'failed', error: busy }],
      ['audit_log_y2015m01_g2', { kind: 'failed', error: busy }],
    ]);
    await unlockSession(client, 'structure', 'exclusive');
    await lockSession(client, 'structure', 'shared');
    expect(outcomes(await restore())).toEqual([
      ['audit_log_y2015m01', 'quarantine.restored_audit_log_y2015m01_g3'],
      ['audit_log_y2015m01_g2', 'quarantine.restored_audit_log_y2015m01_g4'],
    ]);
    await guardsLater(db, 24 * 14 + 1);
    await expect(expireCopies(ctx, { window: short })).rejects.toMatchObject(busy);
    await unlockSession(client, 'structure', 'shared');
  });
  // A connection that failed may still be closing, with the lock that it has.
  await expect.poll(() => expireCopies(ctx, { window: short }), { timeout: 20_000 }).toBe(2);
  await guardsLater(db, 0);
});

test('an autovacuum gives way to whoever moves, where the installation may say so', async () => {
  const timeout = (of: TestContext['db']) =>
    moveInStructure(
      { db: of },
      {},
      (client) => queryOne(client, z.object({ set: z.string() }), `select current_setting('deadlock_timeout') as set`),
      () => Promise.resolve(),
    );
  const steps = `select string_agg(distinct state || ' ' || timeout, ', ') as value from public.waits`;
  expect(await scalar(db.admin, z.string(), steps)).toBe('archived 50ms, expired 50ms, sealed 50ms');
  await db.admin.withClient((client) => client.query('drop trigger probe on retention.unit'));
  expect(await timeout(db.engine)).toEqual({ set: '50ms' });
  expect(await timeout(db.as('auditkeep_report'))).toEqual({ set: '1s' });
});

test('two that ask for a generation of one range at once get one each', async () => {
  const [first, second] = [await unitOf('audit_log_y2015m01'), await unitOf('audit_log_y2015m01_g2')];
  // Long enough for the other one to commit meanwhile.
  await db.admin.withClient((client) =>
    client.query(`alter function retention.restore_unit(bigint, integer) set lock_timeout = '20s';
      alter function retention.next_generation(retention.branch, timestamptz) set lock_timeout = '20s'`),
  );
  const raw = (unit: bigint) =>
    scalar(db.engine, z.string(), `select retention.restore_unit(${unit}, 14) ->> 'relation' as value`);
  await db.engine.withClient(async (one) => {
    await one.query('begin');
    await one.query(`select retention.restore_unit(${first}, 14)`);
    const other = raw(second);
    const waiting = `select count(*) as value from pg_stat_activity where datname = current_database()
      and wait_event_type = 'Lock' and query like '%restore_unit%'`;
    await expect.poll(() => scalar(db.admin, z.bigint(), waiting), { timeout: 15_000, interval: 5 }).toBe(1n);
    await one.query('commit');
    expect(await other).toBe('quarantine.restored_audit_log_y2015m01_g6');
  });
  expect(await stateOf(db.engine, 'restored_audit_log_y2015m01_g5')).toBe('restored');
  expect(outcomes(await restore())).toEqual([
    ['audit_log_y2015m01', { kind: 'blocked', blocker: 'restored-already' }],
    ['audit_log_y2015m01_g2', { kind: 'blocked', blocker: 'restored-already' }],
  ]);
});

test('copies that older releases failed, or hung beside the late table, are mended by the migrations', async () => {
  const read = (name: string) =>
    readFile(join(import.meta.dirname, '../../src/schema/migrations', `${name}.sql`), 'utf8');
  const [failed = ''] = /^update retention\.unit[^;]*;/m.exec(await read('0200_copies_never_fail')) ?? [];
  const [hung = ''] = /^do \$\$[\s\S]*?^\$\$;/m.exec(await read('0203_split_beside_copies')) ?? [];
  const copy = 'restored_audit_log_y2015m01_g5';
  const late = `select count(*) as value from audit.audit_log_late`;
  const before = await scalar(db.admin, z.bigint(), late);
  await db.admin.withClient((client) =>
    client.query(`alter table quarantine.${copy} inherit audit.audit_log_late; alter table retention.unit disable trigger user;
      update retention.unit set state = 'failed', failed_from = 'restored' where relation_name = '${copy}'`),
  );
  expect(await scalar(db.admin, z.bigint(), late)).toBe(before + 5n);
  await db.admin.withClient(async (client) => {
    await client.query(failed);
    await client.query(hung);
    await client.query(`alter table retention.unit enable always trigger ak_unit_change, enable always trigger ak_unit_copies,
      enable always trigger ak_unit_attached, enable always trigger ak_unit_expiry, enable always trigger ak_unit_rolled_up`);
  });
  expect(await scalar(db.admin, z.bigint(), late)).toBe(before);
  expect(await stateOf(db.engine, copy)).toBe('restored');
  expect((await db.engine.withClient(findDrift)).filter(({ object }) => object.startsWith('trigger '))).toEqual([]);
});

test('the second person is shown what the first one signed, and both signed all that identifies a unit', async () => {
  const { restoreId } = await requestAttach(roster.as(ctx, 'records'), { ...february, days: 14, reason: 'case 7' });
  const place = { home: ctx.config.home, databaseUrl: db.url('auditkeep_engine') };
  const signing = ['--as', 'records2@example.org', '--key', roster.keyFile('records2'), '--dry-run'];
  const shown = await runCommand(place, 'archive', 'restore', '--approve', restoreId, ...signing);
  expect([shown.code, shown.stdout.split('\n')]).toEqual([
    0,
    [
      expect.stringMatching(/^requested by records@example\.org, until 20.*Z: case 7$/),
      'attach   audit_log_y2015m02  2015-02-01 to 2015-03-01  5 rows',
      'it would be approved, and attached',
      'Nothing was changed.',
      '',
    ],
  ]);
  const signed = await scalar(db.engine, z.string(), 'select document as value from retention.restore_request');
  const said = z.looseObject({ until: z.string(), units: z.tuple([z.looseObject({})]) }).parse(JSON.parse(signed));
  const other: Readonly<Record<string, JsonValue>> = {
    unit_id: Number(await unitOf('audit_log_y2015m01')),
    ...{ partition: 'audit_log_y2015m01', from: '2015-01-01T00:00:00.000Z', to: '2015-02-01T00:00:00.000Z' },
    ...{ rows: 4, fingerprint: '0'.repeat(64) },
  };
  const unitId = await unitOf('audit_log_y2015m02');
  for (const [field, value] of Object.entries(other)) {
    const changed = { ...said, restore_id: randomUUID(), units: [{ ...said.units[0], [field]: value }] };
    const document = canonicalJson(JSON.parse(JSON.stringify(changed)) as JsonValue);
    const object = { kind: 'restore', hash: textHash(document), reason: field } as const;
    const { id } = await decideObject(roster.as(ctx, 'records'), {
      ...{ ...object, meaning: 'request' },
      id: (client) => draftRestore(client, document),
    });
    await decideObject(roster.as(ctx, 'records2'), { ...object, meaning: 'approve', id });
    const step = { unitId, restoreId: id, reason: field, until: said.until };
    await expect(attach(ctx, step), field).rejects.toMatchObject({ code: 'PLAN_DRIFT' });
  }
  expect((await approveAttach(roster.as(ctx, 'records2'), { restoreId })).units).toMatchObject([
    { outcome: { kind: 'attached' } },
  ]);
});

test('what is attached stays until its day: it is neither split nor given another day', async () => {
  const unitId = await unitOf('audit_log_y2015m02');
  // Each row with holds of its own.
  const hold = `create or replace function retention.hold_expression(p_table text) returns text language sql stable
    set search_path = pg_catalog, pg_temp return 'e.id::text'`;
  const split = `select retention.split_unit(${unitId})`;
  expect(await failureOf(db.admin, hold, split)).toMatchObject({
    code: 'AK108',
    message: expect.stringContaining('attached until') as unknown,
  });
  const day = `update retention.unit set expires_at = now() where unit_id = ${unitId}`;
  expect(await failureOf(db.admin, day)).toMatchObject({ code: 'AK104' });
  await guardsLater(db, 24 * 14 + 1);
  expect(await failureOf(db.admin, hold, split)).toBeNull();
});
