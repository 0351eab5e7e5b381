/** What comes back: proven copies that count nowhere, that erasure and destruction reach, and units that hang hot again. */
import { randomUUID } from 'node:crypto';
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { signCheckpoint } from '../../src/audit/publish/sign.ts';
import { verifyChain } from '../../src/audit/verify/verify.ts';
import { queryRows } from '../../src/db/query.ts';
import { type EraseInput, eraseEvents } from '../../src/persons/erase-events.ts';
import { listArchive, runArchive } from '../../src/retention/archive.ts';
import { runRequested } from '../../src/retention/archive-request.ts';
import { drop, quarantine } from '../../src/retention/dispose.ts';
import { placeHold } from '../../src/retention/hold-place.ts';
import { collectDue } from '../../src/retention/late.ts';
import { expireCopies, planRestore, restoreRange } from '../../src/retention/restore.ts';
import { approveAttach, requestAttach } from '../../src/retention/restore-attach.ts';
import { readBranches } from '../../src/retention/store.ts';
import { findDrift } from '../../src/schema/drift.ts';
import { systemClock } from '../../src/time/clock.ts';
import { PRODUCT, startCli } from '../cli/process.ts';
import { foundRegister, type Roster } from '../persons/roster.ts';
import { TestClock, type TestContext, temporaryHome, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { guardsLater, waitInQuarantine } from './later.ts';
import {
  approve,
  countByOrigin,
  ensureMonths,
  failureOf,
  insertEvents,
  instant,
  linkAll,
  PLAN,
  scalar,
  stateOf,
} from './rows.ts';

const db = useDatabase();
let ctx: TestContext;
let roster: Roster;
const MONTHS = ['2015-01', '2015-02', '2015-03', '2015-04'];
const before = instant('2016-01-01T00:00:00Z');
const count = (relation: string) =>
  scalar(db.admin, z.bigint(), `select count(*) as value from ${relation} where event_type = 'test'`);
const events = (type: string) =>
  scalar(db.admin, z.bigint(), `select count(*) as value from audit.audit_log_all where event_type = '${type}'`);
const COPIES = 'quarantine.restored_audit_log';
const unitOf = (relation: string) =>
  scalar(db.engine, z.bigint(), 'select unit_id as value from retention.unit where relation_name = $1', [relation]);
const range = (from: string, to: string) =>
  ({ table: 'audit_log', from: instant(`${from}-01T00:00:00Z`), to: instant(`${to}-01T00:00:00Z`) }) as const;
const restore = (from: string, to: string) => restoreRange(ctx, { ...range(from, to), days: 14, reason: 'case 7' });

beforeAll(async () => {
  ctx = await testContext(db, { clock: new TestClock(systemClock.now()) });
  roster = await foundRegister(ctx, await temporaryHome());
  await ensureMonths(db.engine, [...MONTHS, '2025-12']);
  await db.engine.withClient(async (client) => {
    for (const month of MONTHS) await insertEvents(client, `${month}-10T00:00:00Z`, 10);
    await insertEvents(client, '2025-12-10T00:00:00Z', 100);
  });
  await linkAll(db.engine);
  await runArchive(ctx, { table: 'audit_log', before, reason: 'test' });
  await db.engine.withClient((client) => insertEvents(client, '2015-02-20T00:00:00Z', 3));
  await linkAll(db.engine);
  await collectDue(ctx, { table: 'audit_log', before, reason: 'test' });
});

describe('a copy', () => {
  test('is of each unit of the range that lies in the archive, late ones too, and of no other', async () => {
    const plan = await planRestore(ctx, range('2015-02', '2026-01'));
    expect(plan.map(({ partition, blocker }) => [partition, blocker])).toEqual([
      ['audit_log_y2015m02', null],
      ['audit_log_y2015m02_g2', null],
      ['audit_log_y2015m03', null],
      ['audit_log_y2015m04', null],
      ['audit_log_y2025m12', 'not-archived'],
    ]);
    await expect(planRestore(ctx, range('2015-02', '2015-02'))).rejects.toMatchObject({ code: 'INPUT_INVALID' });
  });

  test('holds exactly what the manifest says, and counts nowhere', async () => {
    const known = () => scalar(db.engine, z.bigint(), `select retention.known_rows('audit_log') as value`);
    const [places, rows] = [await countByOrigin(db.engine), await known()];
    const made = await restore('2015-01', '2015-03');
    expect(made.map(({ outcome }) => outcome)).toMatchObject([
      { kind: 'restored', copy: { relation: `${COPIES}_y2015m01_g2`, rows: 10, fingerprint: made[0]?.fingerprint } },
      { kind: 'restored', copy: { rows: 10 } },
      { kind: 'restored', copy: { rows: 3 } },
    ]);
    const rowsOf = (relation: string) =>
      scalar(
        db.admin,
        z.string(),
        `select string_agg(e::text, ';' order by e.id) as value from ${relation} e where event_timestamp < '2015-03-01'`,
      );
    expect(await rowsOf(COPIES)).toBe(
      await rowsOf('(select * from audit.audit_log_archive union all select * from audit.audit_log_late)'),
    );
    expect(await countByOrigin(db.engine)).toEqual(places);
    // The rows that told of the copies are hot rows themselves.
    expect((await known()) - rows).toBeLessThan(23n);
    expect(await db.engine.withClient(findDrift)).toEqual([]);
    await signCheckpoint(ctx);
    expect(await verifyChain(ctx, { level: 'full' })).toMatchObject({ intact: true, findings: [] });
    expect(await events('partition.restored')).toBe(3n);
  });

  test('is read by who may read the archive, through the parent of all copies, and changes as little', async () => {
    const asked = (role: string, relation: string) => failureOf(db.as(role), `select count(*) from ${relation}`);
    expect(await asked('audit_role', COPIES)).toBeNull();
    expect(await asked('audit_role', `${COPIES}_y2015m01_g2`)).toMatchObject({ code: '42501' });
    expect(await asked('app_admin_role', COPIES)).toMatchObject({ code: '42501' });
    for (const statement of ['delete from', 'truncate']) {
      expect(await failureOf(db.admin, `${statement} ${COPIES}_y2015m01_g2`)).toMatchObject({ code: 'AK100' });
    }
    expect(await failureOf(db.admin, `insert into ${COPIES} select * from audit.audit_log limit 1`)).toMatchObject({
      code: 'AK100',
    });
  });

  test('is there once', async () => {
    const again = await restore('2015-01', '2015-02');
    expect(again.map(({ outcome }) => outcome)).toEqual([{ kind: 'blocked', blocker: 'restored-already' }]);
    const raw = `select retention.restore_unit(${await unitOf('audit_log_y2015m01')}, 1)`;
    expect(await failureOf(db.engine, raw)).toMatchObject({ code: 'AK104' });
    expect(await failureOf(db.engine, raw.replace(', 1)', ', 91)'))).toMatchObject({ code: 'AK102' });
    const old = ['set transaction isolation level repeatable read', raw];
    expect(await failureOf(db.engine, ...old)).toMatchObject({
      code: 'AK104',
      message: expect.stringContaining('READ COMMITTED') as unknown,
    });
  });

  test('is not made of rows that somebody changed', async () => {
    const change = (action: string) =>
      db.admin.withClient((client) =>
        client.query(`alter table audit.audit_log_y2015m03 disable trigger ak_child_immutable;
          update audit.audit_log_y2015m03 set event_action = '${action}' where event_timestamp = '2015-03-10';
          alter table audit.audit_log_y2015m03 enable always trigger ak_child_immutable`),
      );
    await change('DELETE');
    const [unit] = await restore('2015-03', '2015-04');
    expect(unit?.outcome).toMatchObject({ kind: 'failed', error: { code: 'RETENTION_DIFFERS' } });
    expect(await count(COPIES)).toBe(23n);
    await change('CREATE');
    expect((await restore('2015-03', '2015-04'))[0]?.outcome).toMatchObject({ kind: 'restored' });
  });

  test('is reached by no hold, but what it is of is', async () => {
    const hold = { table: 'audit_log', matter: 'M-1', reason: 'r', custodian: 'c' } as const;
    const to = instant('2015-02-01T00:00:00Z');
    const placed = await placeHold(roster.as(ctx, 'counsel'), { ...hold, to });
    expect(placed.units).toEqual(['audit_log_y2015m01']);
  });
});

describe('an erasure', () => {
  const salts = (relation: string, id: string) =>
    scalar(db.admin, z.bigint(), `select count(actor_salt) as value from ${relation} where id = '${id}'`);
  const idOf = (at: string) =>
    scalar(
      db.admin,
      z.string(),
      `select id::text as value from audit.audit_log_archive where event_timestamp = '${at}'`,
    );
  const request = (eventId: string): EraseInput => ({
    requestId: randomUUID(),
    groups: [{ eventId, group: 'actor' }],
    keyFiles: ['records', 'everything'].map((name) => roster.keyFile(name)),
  });

  test('reaches the copies', async () => {
    const id = await idOf('2015-01-10');
    expect(await salts(COPIES, id)).toBe(1n);
    await eraseEvents(ctx, request(id));
    expect([await salts('audit.audit_log_archive', id), await salts(COPIES, id)]).toEqual([0n, 0n]);
  });

  test('reaches a copy that is made while it is at work', async () => {
    const [id, unit] = [await idOf('2015-04-10'), await unitOf('audit_log_y2015m04')];
    await db.engine.withClient(async (maker) => {
      await maker.query('begin');
      await maker.query(`select retention.restore_unit(${unit}, 14)`);
      const erased = eraseEvents(ctx, request(id));
      const waiting = `select count(*) as value from pg_stat_activity where datname = current_database()
        and wait_event_type = 'Lock' and query like '%erase_recorded%'`;
      await expect.poll(() => scalar(db.admin, z.bigint(), waiting), { timeout: 20_000, interval: 20 }).toBe(1n);
      await maker.query('commit');
      await erased;
    });
    expect([await salts('audit.audit_log_archive', id), await salts(COPIES, id)]).toEqual([0n, 0n]);
    const [copy] = (await restore('2015-04', '2015-05')).map(({ outcome }) => outcome);
    expect(copy).toEqual({ kind: 'blocked', blocker: 'restored-already' });
  });
});

describe('destruction', () => {
  test('finds every copy: none can be taken to a state that it does not look for', async () => {
    const unitId = await unitOf('restored_audit_log_y2015m04_g2');
    const fail = `select retention.fail_unit(${unitId}) as value`;
    expect(await scalar(db.engine, z.boolean(), fail)).toBe(false);
    expect(await stateOf(db.engine, 'restored_audit_log_y2015m04_g2')).toBe('restored');
  });

  test('takes the copies of a unit along', async () => {
    const unitId = await unitOf('audit_log_y2015m04');
    await approve(db, unitId);
    expect((await restore('2015-04', '2015-05'))[0]?.outcome).toEqual({ kind: 'blocked', blocker: 'leaving' });
    await quarantine(ctx, { unitId, reason: 'test' });
    await waitInQuarantine(db);
    const alone = `select retention.drop_unit_itself(${unitId}, '${PLAN}')`;
    expect(await failureOf(db.admin, alone)).toMatchObject({
      code: 'AK104',
      message: expect.stringContaining('copy') as unknown,
    });
    expect(await failureOf(db.engine, alone)).toMatchObject({ code: '42501' });
    await drop(ctx, { unitId, reason: 'test', planId: PLAN });
    expect(await count(COPIES)).toBe(33n);
    expect(await stateOf(db.engine, 'restored_audit_log_y2015m04_g2')).toBe('expired');
    expect(await events('partition.expired')).toBe(1n);
  });
});

describe('expiry', () => {
  test('drops copies when their time is over, one event each, and a range can come back again', async () => {
    expect(await expireCopies(ctx)).toBe(0);
    const early = `select retention.expire_copy(${await unitOf('restored_audit_log_y2015m01_g2')})`;
    expect(await failureOf(db.engine, early)).toMatchObject({ code: 'AK108' });
    await guardsLater(db, 24 * 14 + 1);
    // One that somebody reads stops no other.
    await db.admin.withClient(async (reader) => {
      await reader.query(`begin; lock table ${COPIES}_y2015m01_g2 in access share mode`);
      const window = { attempts: 2, maxPauseMs: 20 };
      await expect(expireCopies(ctx, { window })).rejects.toMatchObject({
        code: 'RETENTION_BUSY',
        details: { expired: 3, left: 1 },
      });
      await reader.query('rollback');
    });
    expect(await stateOf(db.engine, 'restored_audit_log_y2015m01_g2')).toBe('restored');
    expect(await expireCopies(ctx)).toBe(1);
    expect(await count(COPIES)).toBe(0n);
    expect(await events('partition.expired')).toBe(5n);
    await guardsLater(db, 0);
    expect((await restore('2015-01', '2015-02'))[0]?.outcome).toMatchObject({
      copy: { relation: `${COPIES}_y2015m01_g3` },
    });
  });
});

describe('--attach', () => {
  const UNIT = 'audit_log_y2015m02';
  const leaves = async () => {
    const branches = await db.engine.withClient(readBranches);
    return branches.find(({ table }) => table === 'audit_log')?.leaves.map(({ name }) => name) ?? [];
  };
  let restoreId = '';
  let hung: string[] = [];

  test('is requested by a records manager, of partitions alone', async () => {
    const asked = { ...range('2015-02', '2015-03'), days: 14, reason: 'case 7' };
    await expect(requestAttach(ctx, asked)).rejects.toMatchObject({ code: 'USAGE' });
    await expect(requestAttach(roster.as(ctx, 'counsel'), asked)).rejects.toMatchObject({ code: 'ROLE_MISSING' });
    const requested = await requestAttach(roster.as(ctx, 'records'), asked);
    expect(requested.units.map(({ partition, attach }) => [partition, attach])).toEqual([
      [UNIT, true],
      [`${UNIT}_g2`, false],
    ]);
    ({ restoreId } = requested);
    const late = { ...asked, from: instant('2015-05-01T00:00:00Z'), to: instant('2015-06-01T00:00:00Z') };
    await expect(requestAttach(roster.as(ctx, 'records'), late)).rejects.toMatchObject({ code: 'PLAN_EMPTY' });
  });

  test('needs a second one, whoever asks', async () => {
    const raw = `select retention.attach_unit(${await unitOf(UNIT)}, '${restoreId}')`;
    expect(await failureOf(db.engine, raw)).toMatchObject({ code: 'AK109' });
    const refused = (name: string) => approveAttach(roster.as(ctx, name), { restoreId });
    await expect(refused('records')).rejects.toMatchObject({ code: 'DUTY_SEPARATION' });
    await expect(refused('counsel')).rejects.toMatchObject({ code: 'ROLE_MISSING' });
    await expect(approveAttach(ctx, { restoreId: randomUUID() })).rejects.toMatchObject({ code: 'PLAN_UNKNOWN' });
    expect(await stateOf(db.engine, UNIT)).toBe('archived');
  });

  test('makes room and hangs the unit below the hot table, with its rows once', async () => {
    const places = await countByOrigin(db.engine);
    hung = await leaves();
    const run = await approveAttach(roster.as(ctx, 'records2'), { restoreId });
    expect(run.units).toEqual([
      { partition: UNIT, outcome: { kind: 'attached', relation: `audit.${UNIT}`, rows: 10 } },
    ]);
    expect(await countByOrigin(db.engine)).toEqual({
      ...places,
      hot: (places['hot'] ?? 0) + 10,
      archive: (places['archive'] ?? 0) - 10,
    });
    expect(await stateOf(db.engine, UNIT)).toBe('sealed');
    expect(await leaves()).toContain(UNIT);
    // Two functions are the test's own.
    const drift = (await db.engine.withClient(findDrift)).filter(({ object }) => !object.startsWith('function '));
    expect(drift).toEqual([]);
    expect((await approveAttach(ctx, { restoreId })).units[0]?.outcome).toEqual({ kind: 'there' });
    await db.engine.withClient((client) => insertEvents(client, '2015-02-25T00:00:00Z', 1));
    expect((await countByOrigin(db.engine))['late']).toBe((places['late'] ?? 0) + 1);
    await linkAll(db.engine);
  });

  test('lasts until its day, and no run takes it before', async () => {
    const run = async () => {
      const { units } = await runArchive(ctx, { table: 'audit_log', before, reason: 'test' });
      return units.map(({ partition, outcome }) => [partition, outcome]);
    };
    expect(await run()).toEqual([]);
    expect((await listArchive(ctx)).map(({ relation, state }) => [relation, state])).toContainEqual([
      `audit.${UNIT}`,
      'sealed',
    ]);
    // Nor does it keep open what a DBA asked for.
    const asked = `select retention.request_archive('audit_log', '2016-01-01Z', 'year end') as value`;
    const planId = await scalar(db.admin, z.uuid(), asked);
    await runRequested(ctx, {});
    const units = `select units::text as value from retention.archive_request where plan_id = '${planId}'`;
    expect(await scalar(db.engine, z.string().nullable(), units)).toBe('0');
    const raw = `select retention.move_unit('audit_log', '2015-02-01Z')`;
    expect(await failureOf(db.engine, raw)).toMatchObject({ code: 'AK108' });
    await guardsLater(db, 24 * 14 + 1);
    ctx.clock.advance((24 * 14 + 1) * 3_600_000);
    expect(await run()).toEqual([[UNIT, { kind: 'archived', rows: 10 }]]);
    expect(await leaves()).toEqual(hung);
    expect((await approveAttach(ctx, { restoreId })).units[0]?.outcome).toMatchObject({
      error: { code: 'PLAN_WINDOW', hint: 'request it again: auditkeep archive restore --attach' },
    });
    const env = { DATABASE_URL: db.url('auditkeep_engine'), AUDITKEEP_HOME: ctx.config.home };
    const told = await startCli(['archive', 'restore', '--approve', restoreId], env, { entry: PRODUCT }).ended;
    expect([told.code, told.stdout.split('\n').map((line) => line.slice(0, 8))]).toEqual([4, ['failed  ', '']]);
    const left = await db.engine.withClient((client) =>
      queryRows(
        client,
        z.object({ expires_at: z.string().nullable() }),
        'select expires_at from retention.unit where relation_name = $1',
        [UNIT],
      ),
    );
    expect(left).toEqual([{ expires_at: null }]);
  });
});
