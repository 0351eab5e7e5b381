/** A database that was restored to before its destructions: they are done again under the certificates that exist. */
import { appendFile, cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { verifyChain } from '../../src/audit/verify/verify.ts';
import { queryMaybe } from '../../src/db/query.ts';
import { runArchive } from '../../src/retention/archive.ts';
import { readJournal } from '../../src/retention/destruction-journal.ts';
import { placeHold, releaseHold } from '../../src/retention/hold-place.ts';
import { collectDue } from '../../src/retention/late.ts';
import { planReplay } from '../../src/retention/missing-destruction.ts';
import { leaveDestructionOf, replayDestructions } from '../../src/retention/purge-replay.ts';
import { approvePurge, listPlans, requestPurge } from '../../src/retention/purge-request.ts';
import { runPurge } from '../../src/retention/purge-run.ts';
import { readCertificates } from '../../src/retention/purge-store.ts';
import { restoreRange } from '../../src/retention/restore.ts';
import { PRODUCT, startCli } from '../cli/process.ts';
import { foundRegister, type Roster } from '../persons/roster.ts';
import { type TestContext, temporaryHome, testContext } from '../support/context.ts';
import { copyDatabase, type TestDatabase, useDatabase } from '../support/database.ts';
import { guardsLater, waitInQuarantine } from './later.ts';
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

/** The home of the first database beside a restored one. */
const restored = (to: TestDatabase, home = ctx.config.home, url: string | null = to.url('auditkeep_maint')) => ({
  ...ctx,
  db: to.engine,
  config: { ...ctx.config, home, maintenanceDatabaseUrl: url },
});
const outcomes = async (as: TestContext) =>
  (await replayDestructions(as, { reason: 'test' })).map(({ entry, outcome }) => [
    entry.certificate.unit.partition,
    outcome,
  ]);
const UNITS = MONTHS.map((month) => `audit_log_${month.replace('-', 'm').replace('20', 'y20')}`);

/** A home whose journal is another one. */
async function homeWith(change: (lines: readonly string[]) => readonly string[]): Promise<string> {
  const home = await temporaryHome();
  await cp(ctx.config.home, home, { recursive: true });
  const file = join(home, 'signer', 'destructions.ndjson');
  await mkdir(dirname(file), { recursive: true });
  const lines = (await readFile(file, 'utf8')).split('\n').filter((line) => line !== '');
  await writeFile(file, '');
  for (const line of change(lines)) await appendFile(file, `${line}\n`);
  return home;
}

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
    homeWith(([first = '']) => [JSON.stringify(change(shape.parse(JSON.parse(first))))]);
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

describe('what is made anew after a restore', () => {
  const LATE = 'audit_log_y2015m02_g2';
  const collect = (as: TestContext) =>
    collectDue(as, { table: 'audit_log', before: instant('2016-01-01T00:00:00Z'), reason: 'test' });
  const idOf = (to: TestDatabase) =>
    scalar(to.engine, z.bigint(), `select unit_id as value from retention.unit where relation_name = '${LATE}'`);
  /** Requests, approves and carries out the destruction of all that is due. */
  const destroy = async (as: TestContext, to: TestDatabase, ahead: number) => {
    const { planId } = await requestPurge(roster.as(as, 'records'), { table: 'audit_log', reason: 'records schedule' });
    await approvePurge(roster.as(as, 'records2'), planId);
    await guardsLater(to, ahead);
    await runPurge(as, { plan: planId, reason: 'test' });
    await waitInQuarantine(to);
    return (await runPurge(as, { plan: planId, reason: 'test' })).units.map(({ outcome }) => outcome.kind);
  };
  let anew: TestDatabase;
  let again: TestDatabase;

  beforeAll(async () => {
    await db.engine.withClient((client) => insertEvents(client, '2015-02-20T00:00:00Z', 3));
    await linkAll(db.engine);
    [anew, again] = [await copyDatabase(db), await copyDatabase(db)];
    await collect(restored(db));
    expect(await destroy(restored(db), db, 150)).toEqual(['purged']);
  }, 60_000);

  test('is found by what it holds, whatever its id is', async () => {
    const as = restored(anew);
    const blockers = async () =>
      (await planReplay(as)).map(({ entry, blocker }) => [entry.certificate.unit.partition, blocker]);
    expect(await blockers()).toEqual([[LATE, 'its unit is not there: let an archival run collect what is late']]);
    await ensureMonths(anew.engine, ['2026-01']);
    await collect(as);
    expect(await idOf(anew)).not.toBe(await idOf(db));
    expect(await blockers()).toEqual([[LATE, null]]);
    // It is there, so it is not left, whatever the database says.
    const certificate = (await planReplay(as))[0]?.entry.certificate.certificate_id ?? '';
    await expect(leaveDestructionOf(as, { certificate, reason: 'x' })).rejects.toMatchObject({
      code: 'RETENTION_STATE',
      hint: 'auditkeep purge replay --apply destroys it again',
    });
    const { document = '' } = (await readJournal(ctx.config.home)).at(-1) ?? {};
    await anew.admin.withClient((client) =>
      client.query(
        `insert into retention.unreplayed (certificate_id, document, sha256, signature, reason)
         values ($1, $2, encode(sha256(convert_to($2, 'UTF8')), 'hex'), 'x', 'x')`,
        [certificate, document],
      ),
    );
    expect(await blockers()).toEqual([[LATE, null]]);
    expect(await outcomes(as)).toEqual([[LATE, { kind: 'replayed' }]]);
    expect(await countByOrigin(anew.engine)).toEqual({ hot: 100 });
    expect((await anew.engine.withClient(readCertificates)).map(({ document }) => document).sort()).toEqual(
      (await readJournal(ctx.config.home)).map(({ document }) => document).sort(),
    );
    // Whoever asks what is destroyed there is told the certificate that exists, not the one that this id would have.
    const told = `select certificate_id::text as value from retention.destroyed_within('audit_log', '2015-02-01Z', '2015-03-01Z')
                   where relation_name = '${LATE}'`;
    expect(await scalar(anew.engine, z.string(), told)).toBe(certificate);
    await expect(runPurge(as, { plan: 'x', reason: 'test' })).rejects.toMatchObject({ code: 'PLAN_UNKNOWN' });
    const found = await verifyChain(as, { level: 'full' });
    expect(found.findings.filter(({ class: kind }) => kind.startsWith('purged') || kind === 'deleted')).toEqual([]);
  });

  test('is done when it is destroyed under a certificate of its own, as a line without a plan asks for', async () => {
    await collect(restored(again));
    const line = z.object({ document: z.string(), signature: z.string() });
    const old = await homeWith((lines) => lines.map((text) => JSON.stringify(line.parse(JSON.parse(text)))));
    const blocked = await planReplay(restored(again, old));
    expect(blocked.map(({ blocker }) => blocker)).toEqual(['its plan is neither in the journal nor in the database']);
    const aside = await homeWith(() => []);
    expect(await destroy(restored(again, aside), again, 150)).toEqual(['purged']);
    await appendFile(
      join(old, 'signer', 'destructions.ndjson'),
      await readFile(join(aside, 'signer', 'destructions.ndjson'), 'utf8'),
    );
    const as = restored(again, old);
    expect(await readJournal(old)).toHaveLength(5);
    expect(await planReplay(as)).toEqual([]);
    await expect(runPurge(as, { plan: 'x', reason: 'test' })).rejects.toMatchObject({ code: 'PLAN_UNKNOWN' });
  });

  test('is what has the place, the bounds and the content of the certificate; a content alone only beside the archive', async () => {
    const { document = '' } = (await readJournal(ctx.config.home)).at(-1) ?? {};
    const said = z
      .looseObject({ unit: z.looseObject({ id: z.number() }), seqs: z.array(z.tuple([z.number(), z.number()])) })
      .parse(JSON.parse(document));
    await db.admin.withClient(async (client) => {
      const place = async (unit: object = {}, more: object = {}) => {
        const text = JSON.stringify({ ...said, unit: { ...said.unit, ...unit }, ...more });
        const shape = z.object({ relation_name: z.string(), same: z.boolean() });
        const asked = `select u.relation_name, p.same from retention.certified_place($1::jsonb) p join retention.unit u using (unit_id)`;
        const found = await queryMaybe(client, shape, asked, [text]);
        return found === null ? null : [found.relation_name, found.same];
      };
      await client.query('begin');
      expect(await place()).toEqual([LATE, true]);
      // Each of these is another content.
      expect(await place({ to: '2015-02-28T00:00:00.000Z' })).toEqual([LATE, false]);
      expect(await place({ rows: 4 })).toEqual([LATE, false]);
      expect(await place({ fingerprint: '0'.repeat(64) })).toEqual([LATE, false]);
      expect(await place({}, { seqs: [[0, 3]] })).toEqual([LATE, false]);
      expect(await place({ from: '2015-02-02T00:00:00.000Z' })).toBeNull();
      expect(await place({ category: 'standard' })).toBeNull();
      expect(await place({ table: 'distributed_traces' })).toBeNull();
      // The same content two generations on, and another one in its place.
      await client.query(`alter table retention.unit disable trigger user; alter table retention.manifest disable trigger user;
        insert into retention.unit (table_name, category, lower_bound, upper_bound, generation, schema_name, relation_name, state, row_count, plan_id)
        select table_name, category, lower_bound, upper_bound, 4, schema_name, 'later', 'archived', row_count, plan_id
          from retention.unit where relation_name = '${LATE}';
        insert into retention.manifest select (jsonb_populate_record(m, jsonb_build_object('unit_id',
            (select unit_id from retention.unit where relation_name = 'later')))).* from retention.manifest m where m.unit_id = ${said.unit.id};
        update retention.manifest set row_count = 5 where unit_id = ${said.unit.id}`);
      expect(await place()).toEqual(['later', true]);
      expect(await place({ generation: 1 })).toEqual(['audit_log_y2015m02', false]);
      for (const state of ['purged', 'split', 'restored', 'expired']) {
        await client.query(`update retention.unit set state = '${state}' where relation_name = 'later'`);
        expect(await place(), state).toEqual([LATE, false]);
      }
      await client.query('rollback');
    });
  });

  test('is left where the backup is older than its rows, or they came otherwise since', async () => {
    const as = restored(early);
    const refused = () => runPurge(as, { plan: 'x', reason: 'test' });
    const missing = async () => (await planReplay(as)).map(({ blocker, remains }) => [blocker, remains]);
    await expect(refused()).rejects.toMatchObject({ code: 'PURGE_REPLAY' });
    expect(await missing()).toEqual([[expect.stringContaining('request a plan that splits') as unknown, []]]);
    const certificate = (await planReplay(as))[0]?.entry.certificate.certificate_id ?? '';
    const leave = (more: Partial<Parameters<typeof leaveDestructionOf>[1]> = {}, of = as) =>
      leaveDestructionOf(of, { certificate, reason: 'the backup is older', ...more });

    // Rows of its range that are in no archive yet may turn out to be it.
    await early.engine.withClient((client) => insertEvents(client, '2015-02-21T00:00:00Z', 2));
    await linkAll(early.engine);
    const late = { relation: 'audit_log_late', state: 'late', rows: 2n };
    expect(await missing()).toEqual([['its unit is not there: let an archival run collect what is late', [late]]]);
    await expect(leave()).rejects.toMatchObject({
      code: 'RETENTION_NOT_YET',
      hint: 'auditkeep archive run, and again',
    });
    await collect(as);
    const other = { relation: LATE, state: 'archived', rows: 2n };
    expect(await missing()).toEqual([[expect.stringContaining('is not what was destroyed') as unknown, [other]]]);

    await expect(leave({}, restored(early, ctx.config.home, null))).rejects.toMatchObject({ code: 'USAGE' });
    await expect(leave({ certificate: 'ffffffff' })).rejects.toMatchObject({ code: 'PLAN_UNKNOWN' });
    const forged = await homeWith((lines) =>
      lines.map((line) => line.replace(/"signature":"..../, '"signature":"AAAA')),
    );
    await expect(leave({}, restored(early, forged))).rejects.toMatchObject({ code: 'CERTIFICATE_INVALID' });
    const raw = `select retention.leave_destruction('{}', 'x', 'x')`;
    expect(await failureOf(early.engine, raw)).toMatchObject({
      code: '42501',
      message: 'permission denied for function leave_destruction',
    });

    const env = {
      DATABASE_URL: early.url('auditkeep_engine'),
      AUDITKEEP_HOME: ctx.config.home,
      AUDITKEEP_MAINTENANCE_DATABASE_URL: early.url('auditkeep_maint'),
    };
    const command = (...argv: string[]) =>
      startCli(['purge', 'replay', '--leave', certificate.slice(0, 8), ...argv], env, { entry: PRODUCT }).ended;
    expect(await command('--apply')).toMatchObject({ code: 2 });
    const told = ['--reason', 'the backup is older'];
    const lines = (verb: string, ...rest: string[]) => [
      `${verb} ${LATE}  3 rows  ${certificate}`,
      `  there is ${LATE}  2 rows  archived`,
      ...rest,
      '',
    ];
    const shown = await command(...told);
    expect([shown.code, shown.stdout.split('\n')]).toEqual([
      0,
      lines('leave   ', 'Nothing was changed. Give --apply.'),
    ]);
    expect(await missing()).toHaveLength(1);
    const done = await command(...told, '--apply');
    expect([done.code, done.stdout.split('\n')]).toEqual([0, lines('left    ')]);
    expect(await missing()).toEqual([]);
    const events = `select count(*) as value from audit.audit_log_all where event_type = 'purge.left'`;
    expect(await scalar(early.engine, z.bigint(), events)).toBe(1n);
    await expect(refused()).rejects.toMatchObject({ code: 'PLAN_UNKNOWN' });
    // What lies there goes by a plan of its own.
    expect(await destroy(as, early, 73)).toEqual(['purged']);
    for (const statement of ['delete from retention.unreplayed', 'truncate retention.unreplayed']) {
      expect(await failureOf(early.admin, statement)).toMatchObject({ code: 'AK013' });
    }
  });
});
