/** What a restored database makes anew has other ids, other neighbours, or never comes: found by content, or left. */
import { appendFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { verifyChain } from '../../src/audit/verify/verify.ts';
import { queryMaybe } from '../../src/db/query.ts';
import { readJournal } from '../../src/retention/destruction-journal.ts';
import { collectDue } from '../../src/retention/late.ts';
import { planReplay } from '../../src/retention/missing-destruction.ts';
import { leaveDestructionOf } from '../../src/retention/purge-replay.ts';
import { runPurge } from '../../src/retention/purge-run.ts';
import { readCertificates } from '../../src/retention/purge-store.ts';
import type { Roster } from '../persons/roster.ts';
import type { TestContext } from '../support/context.ts';
import { copyDatabase, type TestDatabase, useDatabase } from '../support/database.ts';
import { runCommand } from './command.ts';
import { arrange, destroy } from './purge-setting.ts';
import { homeWith, outcomes, restoredContext } from './replay-setting.ts';
import { countByOrigin, ensureMonths, failureOf, insertEvents, instant, linkAll, scalar } from './rows.ts';

const db = useDatabase();
let ctx: TestContext;
let roster: Roster;
const LATE = 'audit_log_y2015m02_g2';
const collect = (as: TestContext) =>
  collectDue(as, { table: 'audit_log', before: instant('2016-01-01T00:00:00Z'), reason: 'test' });
const idOf = (to: TestDatabase) =>
  scalar(to.engine, z.bigint(), `select unit_id as value from retention.unit where relation_name = '${LATE}'`);
const restored = (to: TestDatabase, home?: string, url?: string | null) => restoredContext(ctx, to, home, url);
/** As the first one was: before rows came late, and when they were late. */
let older: TestDatabase;
let anew: TestDatabase;
let again: TestDatabase;

beforeAll(async () => {
  ({ ctx, roster } = await arrange(db, ['2015-02']));
  await destroy(db, ctx, roster);
  older = await copyDatabase(db);
  await db.engine.withClient((client) => insertEvents(client, '2015-02-20T00:00:00Z', 3));
  await linkAll(db.engine);
  [anew, again] = [await copyDatabase(db), await copyDatabase(db)];
  await collect(restored(db));
  await destroy(db, restored(db), roster, { ahead: 150 });
}, 60_000);

test('what is made anew is found by what it holds, whatever its id is', async () => {
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

test('what is made anew is done when it is destroyed under a certificate of its own, as a line without a plan asks for', async () => {
  await collect(restored(again));
  const line = z.object({ document: z.string(), signature: z.string() });
  const old = await homeWith(ctx, (lines) => lines.map((text) => JSON.stringify(line.parse(JSON.parse(text)))));
  const blocked = await planReplay(restored(again, old));
  expect(blocked.map(({ blocker }) => blocker)).toEqual(['its plan is neither in the journal nor in the database']);
  const aside = await homeWith(ctx, () => []);
  await destroy(again, restored(again, aside), roster, { ahead: 150 });
  await appendFile(
    join(old, 'signer', 'destructions.ndjson'),
    await readFile(join(aside, 'signer', 'destructions.ndjson'), 'utf8'),
  );
  const as = restored(again, old);
  expect(await readJournal(old)).toHaveLength(3);
  expect(await planReplay(as)).toEqual([]);
  await expect(runPurge(as, { plan: 'x', reason: 'test' })).rejects.toMatchObject({ code: 'PLAN_UNKNOWN' });
});

test('what a certificate is of is what has the place, the bounds and the content of the certificate; a content alone only beside the archive', async () => {
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

test('a destruction is left where the backup is older than its rows, or they came otherwise since', async () => {
  const as = restored(older);
  const refused = () => runPurge(as, { plan: 'x', reason: 'test' });
  const missing = async () => (await planReplay(as)).map(({ blocker, remains }) => [blocker, remains]);
  await expect(refused()).rejects.toMatchObject({ code: 'PURGE_REPLAY' });
  expect(await missing()).toEqual([[expect.stringContaining('request a plan that splits') as unknown, []]]);
  const certificate = (await planReplay(as))[0]?.entry.certificate.certificate_id ?? '';
  const leave = (more: Partial<Parameters<typeof leaveDestructionOf>[1]> = {}, of = as) =>
    leaveDestructionOf(of, { certificate, reason: 'the backup is older', ...more });

  // Rows of its range that are in no archive yet may turn out to be it.
  await older.engine.withClient((client) => insertEvents(client, '2015-02-21T00:00:00Z', 2));
  await linkAll(older.engine);
  const late = { relation: 'audit_log_late', state: 'late', rows: 2n };
  expect(await missing()).toEqual([['its unit is not there: let an archival run collect what is late', [late]]]);
  await expect(leave()).rejects.toMatchObject({
    code: 'RETENTION_NOT_YET',
    hint: 'auditkeep archive run, and again',
  });
  await collect(as);
  const other = { relation: LATE, state: 'archived', rows: 2n };
  expect(await missing()).toEqual([[expect.stringContaining('is not what was destroyed') as unknown, [other]]]);

  await expect(leave({}, restored(older, ctx.config.home, null))).rejects.toMatchObject({ code: 'USAGE' });
  await expect(leave({ certificate: 'ffffffff' })).rejects.toMatchObject({ code: 'PLAN_UNKNOWN' });
  const forged = await homeWith(ctx, (lines) =>
    lines.map((line) => line.replace(/"signature":"..../, '"signature":"AAAA')),
  );
  await expect(leave({}, restored(older, forged))).rejects.toMatchObject({ code: 'CERTIFICATE_INVALID' });
  const raw = `select retention.leave_destruction('{}', 'x', 'x')`;
  expect(await failureOf(older.engine, raw)).toMatchObject({
    code: '42501',
    message: 'permission denied for function leave_destruction',
  });

  const place = {
    ...{ home: ctx.config.home, databaseUrl: older.url('auditkeep_engine') },
    maintenanceDatabaseUrl: older.url('auditkeep_maint'),
  };
  const command = (...argv: string[]) =>
    runCommand(place, 'purge', 'replay', '--leave', certificate.slice(0, 8), ...argv);
  expect(await command('--apply')).toMatchObject({ code: 2 });
  const told = ['--reason', 'the backup is older'];
  const lines = (verb: string, ...rest: string[]) => [
    `${verb} ${LATE}  3 rows  ${certificate}`,
    `  there is ${LATE}  2 rows  archived`,
    ...rest,
    '',
  ];
  const shown = await command(...told);
  expect([shown.code, shown.stdout.split('\n')]).toEqual([0, lines('leave   ', 'Nothing was changed. Give --apply.')]);
  expect(await missing()).toHaveLength(1);
  const done = await command(...told, '--apply');
  expect([done.code, done.stdout.split('\n')]).toEqual([0, lines('left    ')]);
  expect(await missing()).toEqual([]);
  const events = `select count(*) as value from audit.audit_log_all where event_type = 'purge.left'`;
  expect(await scalar(older.engine, z.bigint(), events)).toBe(1n);
  await expect(refused()).rejects.toMatchObject({ code: 'PLAN_UNKNOWN' });
  // What lies there goes by a plan of its own.
  await destroy(older, as, roster, { ahead: 150 });
  for (const statement of ['delete from retention.unreplayed', 'truncate retention.unreplayed']) {
    expect(await failureOf(older.admin, statement)).toMatchObject({ code: 'AK013' });
  }
});
