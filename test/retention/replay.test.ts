import { beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { verifyChain } from '../../src/audit/verify/verify.ts';
import { runArchive } from '../../src/retention/archive.ts';
import { readJournal } from '../../src/retention/destruction-journal.ts';
import { placeHold, releaseHold } from '../../src/retention/hold-place.ts';
import { planReplay } from '../../src/retention/missing-destruction.ts';
import { replayDestructions } from '../../src/retention/purge-replay.ts';
import { approvePurge, listPlans, requestPurge } from '../../src/retention/purge-request.ts';
import { runPurge } from '../../src/retention/purge-run.ts';
import { readCertificates } from '../../src/retention/purge-store.ts';
import { restoreRange } from '../../src/retention/restore.ts';
import { PRODUCT, startCli } from '../cli/process.ts';
import { foundRegister, type Roster } from '../persons/roster.ts';
import { type TestContext, temporaryHome, testContext } from '../support/context.ts';
import { copyDatabase, type TestDatabase, useDatabase } from '../support/database.ts';
import { guardsLater, waitInQuarantine } from './later.ts';
import { homeWith, outcomes, restoredContext } from './replay-setting.ts';
import { countByOrigin, ensureMonths, failureOf, insertEvents, instant, linkAll, scalar } from './rows.ts';

const db = useDatabase();
/** As the first one was: before the plan, and when its units were in quarantine. */
let early: TestDatabase;
let late: TestDatabase;
let ctx: TestContext;
let roster: Roster;
const MONTHS = ['2015-01', '2015-02', '2015-03'];

beforeAll(async () => {
  ctx = await testContext(db);
  roster = await foundRegister(ctx, await temporaryHome());
  await ensureMonths(db.engine, [...MONTHS, '2025-12']);
  await db.engine.withClient(async (client) => {
    for (const month of MONTHS) await insertEvents(client, `${month}-10T00:00:00Z`, 10);
    await insertEvents(client, '2025-12-10T00:00:00Z', 100);
  });
  await linkAll(db.engine);
  await runArchive(ctx, { table: 'audit_log', before: instant('2016-01-01T00:00:00Z'), reason: 'test' });
  early = await copyDatabase(db);
  const { planId } = await requestPurge(roster.as(ctx, 'records'), { table: 'audit_log', reason: 'records schedule' });
  await approvePurge(roster.as(ctx, 'records2'), planId);
  await guardsLater(db, 73);
  const run = () => runPurge(ctx, { plan: planId, reason: 'test' });
  await run();
  late = await copyDatabase(db);
  await waitInQuarantine(db);
  expect((await run()).units.map(({ outcome }) => outcome.kind)).toEqual(['purged', 'purged', 'purged']);
}, 60_000);

const restored = (to: TestDatabase, home?: string, url?: string | null) => restoredContext(ctx, to, home, url);
const UNITS = MONTHS.map((month) => `audit_log_${month.replace('-', 'm').replace('20', 'y20')}`);

test('a database that has them all has nothing to do', async () => {
  expect(await planReplay(restored(db))).toEqual([]);
  expect(await outcomes(restored(db, ctx.config.home, null))).toEqual([]);
});

test('a restored one destroys nothing else, and says what it lacks', async () => {
  const as = restored(early);
  await expect(runPurge(as, { plan: 'x', reason: 'test' })).rejects.toMatchObject({ code: 'PURGE_REPLAY' });
  const missing = await planReplay(as);
  expect(missing.map(({ entry, blocker }) => [entry.certificate.unit.partition, blocker])).toEqual(
    UNITS.map((unit) => [unit, null]),
  );
  const env = { DATABASE_URL: early.url('auditkeep_engine'), AUDITKEEP_HOME: ctx.config.home };
  const shown = await startCli(['purge', 'replay'], env, { entry: PRODUCT }).ended;
  expect([shown.code, shown.stdout.split('\n').map((line) => line.slice(0, 27))]).toEqual([
    0,
    [...UNITS.map((unit) => `replay   ${unit}`), 'Nothing was changed. Give -', ''],
  ]);
  expect(await countByOrigin(early.engine)).toEqual({ archive: 30, hot: 100 });
});

test('only a login of the owner may replay, and only what is signed', async () => {
  await expect(replayDestructions(restored(early, ctx.config.home, null), { reason: 'x' })).rejects.toMatchObject({
    code: 'USAGE',
  });
  // Checked here and destroyed there: nothing is, in either.
  const elsewhere = restored(early, ctx.config.home, late.url('auditkeep_maint'));
  await expect(replayDestructions(elsewhere, { reason: 'x' })).rejects.toMatchObject({ code: 'DB_DIFFERS' });
  expect(await scalar(late.engine, z.bigint(), 'select count(*) as value from retention.certificate')).toBe(0n);
  const [entry] = await readJournal(ctx.config.home);
  const quoted = [entry?.document, entry?.signature, entry?.plan?.document].map((text) => `$$${text ?? ''}$$`);
  const raw = `select retention.replay_destruction(${quoted.join(', ')}, 'x', 'x')`;
  expect(await failureOf(early.engine, raw)).toMatchObject({ code: '42501' });
  const registered = `insert into retention.replay_move (unit_id, plan_id) select 1, gen_random_uuid()`;
  expect(await failureOf(early.engine, registered)).toMatchObject({ code: '42501' });
  // Each of these changes one thing that somebody has signed.
  const shape = z.object({
    version: z.number(),
    document: z.string(),
    signature: z.string(),
    plan: z.looseObject({ document: z.string() }),
  });
  const changed = (change: (line: z.infer<typeof shape>) => object) =>
    homeWith(ctx, ([first = '']) => [JSON.stringify(change(shape.parse(JSON.parse(first))))]);
  const blockerOf = async (home: string, to = early) => (await planReplay(restored(to, home)))[0]?.blocker;
  expect(
    await blockerOf(await changed((line) => ({ ...line, document: line.document.replace('"rows":10', '"rows":11') }))),
  ).toContain('not signed');
  expect(await blockerOf(await changed((line) => ({ ...line, plan: { ...line.plan, document: '{}' } })))).toContain(
    'not the text that was signed',
  );
  const old = await changed(({ document, signature }) => ({ document, signature }));
  expect(await blockerOf(old)).toContain('neither in the journal nor in the database');
  expect(await blockerOf(old, late)).toBeNull();
  expect(await countByOrigin(early.engine)).toEqual({ archive: 30, hot: 100 });
});

test('an approval that the register does not account for counts for nothing', async () => {
  const role = `delete from compliance.person_role where person_id = (select id from compliance.person where email = 'records2@example.org')`;
  await early.admin.withClient((client) =>
    client.query(
      `begin; alter table compliance.person_role disable trigger user; create table public.kept as select * from compliance.person_role; ${role}; commit`,
    ),
  );
  const blocked = (await planReplay(restored(early))).map(({ blocker }) => blocker);
  expect(blocked).toEqual(UNITS.map(() => 'the register of persons does not hold'));
  await early.admin.withClient((client) =>
    client.query(`begin; insert into compliance.person_role overriding system value select * from public.kept k where not exists (select from compliance.person_role r where to_jsonb(r) = to_jsonb(k));
      drop table public.kept; alter table compliance.person_role enable always trigger append_only; commit`),
  );
  expect((await planReplay(restored(early))).map(({ blocker }) => blocker)).toEqual(UNITS.map(() => null));
});

test('a hold that it still has stops what it reaches, a missing row stops its unit, copies go along', async () => {
  const as = restored(early);
  const range = { from: instant('2015-02-10T00:00:00Z'), to: instant('2015-02-11T00:00:00Z') };
  const hold = { table: 'audit_log', matter: 'M-1', reason: 'r', custodian: 'c', ...range } as const;
  const { holdId } = await placeHold(roster.as(as, 'counsel'), hold);
  await restoreRange(as, {
    table: 'audit_log',
    from: instant('2015-01-01T00:00:00Z'),
    to: instant('2015-02-01T00:00:00Z'),
    days: 14,
    reason: 'case',
  });
  const guard = 'trigger ak_child_immutable';
  await early.admin.withClient((client) =>
    client.query(`begin; alter table audit.audit_log_y2015m03 disable ${guard};
      create table public.kept as select * from audit.audit_log_y2015m03 limit 1;
      delete from audit.audit_log_y2015m03 where id in (select id from public.kept); commit`),
  );
  expect(await outcomes(as)).toEqual([
    [UNITS[0], { kind: 'replayed' }],
    [UNITS[1], { kind: 'blocked', blocker: 'a legal hold reaches it: release the hold first' }],
    [
      UNITS[2],
      expect.objectContaining({
        kind: 'failed',
        error: expect.objectContaining({ code: 'RETENTION_DIFFERS' }) as unknown,
      }),
    ],
  ]);
  // The gravest of what came of them: a finding, before a refusal.
  const env = {
    DATABASE_URL: early.url('auditkeep_engine'),
    AUDITKEEP_HOME: ctx.config.home,
    AUDITKEEP_MAINTENANCE_DATABASE_URL: early.url('auditkeep_maint'),
  };
  expect(await startCli(['purge', 'replay', '--apply'], env, { entry: PRODUCT }).ended).toMatchObject({ code: 3 });
  expect(await scalar(early.engine, z.bigint(), 'select count(*) as value from quarantine.restored_audit_log')).toBe(
    0n,
  );
  // The database says so too.
  const entry = (await readJournal(ctx.config.home))[1];
  const quoted = [entry?.document, entry?.signature, entry?.plan?.document].map((text) => `$$${text ?? ''}$$`);
  const raw = `select retention.replay_destruction(${quoted.join(', ')}, 'x', 'x')`;
  // The connection of the unit that failed may still be closing, with the lock that it has.
  await expect.poll(() => failureOf(early.admin, raw), { timeout: 20_000 }).toMatchObject({ code: 'AK105' });
  await early.admin.withClient((client) =>
    client.query(`begin; alter table audit.audit_log_y2015m03 disable trigger zz_seal_divert;
      insert into audit.audit_log_y2015m03 select * from public.kept; drop table public.kept;
      alter table audit.audit_log_y2015m03 enable always trigger zz_seal_divert;
      alter table audit.audit_log_y2015m03 enable always ${guard}; commit`),
  );
  await releaseHold(roster.as(as, 'counsel'), { holdId, reason: 'over' });
  await releaseHold(roster.as(as, 'counsel2'), { holdId, reason: 'over' });
});

test('then everything is gone once more, under the same certificates, once', async () => {
  for (const place of [early, late]) {
    const as = restored(place);
    await replayDestructions(as, { reason: 'test' });
    expect(await countByOrigin(place.engine)).toEqual({ hot: 100 });
    expect(await scalar(place.engine, z.bigint(), 'select count(*) as value from quarantine.audit_log')).toBe(0n);
    const stored = (await place.engine.withClient(readCertificates)).map(({ document }) => document);
    expect(stored.sort()).toEqual((await readJournal(ctx.config.home)).map(({ document }) => document).sort());
    expect(await outcomes(as)).toEqual([]);
    const events = `select count(*) as value from audit.audit_log_all where event_type = 'purge.replayed'`;
    expect(await scalar(place.engine, z.bigint(), events)).toBe(3n);
    expect((await listPlans(as)).map(({ states, started_at }) => [states, started_at !== null])).toEqual([
      [{ purged: 3 }, true],
    ]);
    const found = await verifyChain(as, { level: 'full' });
    expect([
      found.purged,
      found.findings.filter(({ class: kind }) => kind.startsWith('purged') || kind === 'deleted'),
    ]).toEqual([30, []]);
  }
  expect(await readJournal(ctx.config.home)).toHaveLength(3);
});
