/** Legal holds: what they reach, and who releases them. */
import { randomUUID } from 'node:crypto';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { main } from '../../src/cli/main.ts';
import type { SqlClient } from '../../src/db/database.ts';
import { runArchive } from '../../src/retention/archive.ts';
import type { HoldInput } from '../../src/retention/hold.ts';
import { listHolds, placeHold, releaseHold, showHold } from '../../src/retention/hold-place.ts';
import { approvePurge, planDestruction, requestPurge } from '../../src/retention/purge-request.ts';
import { runPurge } from '../../src/retention/purge-run.ts';
import { emailOf, foundRegister, type Roster } from '../persons/roster.ts';
import { type TestContext, temporaryHome, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { guardsLater, waitInQuarantine } from './later.ts';
import { ensureMonths, failureOf, insertEvents, instant, linkAll, scalar } from './rows.ts';

const MATTER = { matter: 'M-1', reason: 'litigation', custodian: 'General Counsel' } as const;
const USER = '6f1c8a52-9f0e-4a57-8f0a-3d9b6c1f2e77';
const MONTHS = ['2015-01', '2015-02', '2015-03', '2015-04', '2015-05'] as const;
const relationOf = (month: string) => `audit_log_y${month.replace('-', 'm')}`;

const db = useDatabase();
let ctx: TestContext;
let roster: Roster;
const counsel = () => roster.as(ctx, 'counsel');
const counsel2 = () => roster.as(ctx, 'counsel2');

/** One event with these columns. */
const event = (client: SqlClient, at: string, columns: Readonly<Record<string, string>>) =>
  client.query(
    `insert into audit.audit_log (event_type, event_category, event_action, event_timestamp${Object.keys(columns)
      .map((name) => `, ${name}`)
      .join('')}) values ('test', 'system', 'READ', '${at}'${Object.values(columns)
      .map((value) => `, '${value}'`)
      .join('')})`,
  );

beforeAll(async () => {
  ctx = await testContext(db, {});
  roster = await foundRegister(ctx, await temporaryHome());
  await ensureMonths(db.engine, [...MONTHS, '2025-12']);
  await db.engine.withClient(async (client) => {
    for (const month of MONTHS) await insertEvents(client, `${month}-10T00:00:00Z`, 5);
    await insertEvents(client, '2025-12-10T00:00:00Z', 100);
    await event(client, '2015-02-11T00:00:00Z', { user_id: USER, resource_type: 'file', resource_id: 'r-1' });
    await event(client, '2015-03-11T00:00:00Z', { actor_envelope: 'ak1.x', resource_type: 'file', resource_id: 'r-2' });
    await event(client, '2015-04-11T00:00:00Z', { payload_envelope: 'ak1.x', resource_type: 'file' });
  });
  await linkAll(db.engine);
  await runArchive(ctx, { table: 'audit_log', before: instant('2016-01-01T00:00:00Z'), reason: 'test' });
});

/** The months of 2015 that a hold reaches; it is released again. */
async function reached(scope: Partial<HoldInput>): Promise<string[]> {
  const placed = await placeHold(counsel(), { table: 'audit_log', ...MATTER, ...scope });
  await releaseHold(counsel(), { holdId: placed.holdId, reason: 'done' });
  await releaseHold(counsel2(), { holdId: placed.holdId, reason: '' });
  return MONTHS.filter((month) => placed.units.includes(relationOf(month)));
}

describe('a scope', () => {
  test('is everything, a time, an account, a resource or rows by id', async () => {
    expect(await reached({ table: undefined })).toEqual(MONTHS);
    const [from, to] = [instant('2015-01-31T00:00:00Z'), instant('2015-03-01T00:00:00Z')];
    expect(await reached({ from, to })).toEqual(['2015-01', '2015-02']);
    const id = await scalar(
      db.engine,
      z.string(),
      `select id as value from audit.audit_log_archive where event_timestamp >= '2015-05-01' limit 1`,
    );
    expect(await reached({ ids: [id] })).toEqual(['2015-05']);
  });

  test('takes in what cannot be matched because it is encrypted', async () => {
    expect(await reached({ user: USER.toUpperCase() })).toEqual(['2015-02', '2015-03']);
    expect(await reached({ user: 'A@example.org' })).toEqual(MONTHS);
    expect(await reached({ user: 'nobody@example.org' })).toEqual(['2015-03']);
    expect(await reached({ resourceType: 'file', resourceId: 'r-1' })).toEqual(['2015-02', '2015-04']);
    expect(await reached({ resourceType: 'file' })).toEqual(['2015-02', '2015-03', '2015-04']);
    expect(await reached({ user: USER, resourceType: 'file', resourceId: 'r-2' })).toEqual(['2015-03']);
  });

  test.each<[Partial<HoldInput>, string]>([
    [{ from: instant('2015-02-01T00:00:00Z'), to: instant('2015-01-01T00:00:00Z') }, 'ends before it begins'],
    [{ resourceId: 'r' }, 'needs its type'],
    [{ ids: ['x'] }, 'UUIDs'],
    [{ matter: ' ' }, 'no matter'],
    [{ table: 'performance_metrics', user: USER }, 'no column for that scope'],
  ])('that makes no sense is refused: %j', async (scope, message) => {
    const placing = placeHold(counsel(), { table: 'audit_log', ...MATTER, ...scope });
    await expect(placing).rejects.toMatchObject({
      code: 'HOLD_INVALID',
      message: expect.stringContaining(message) as string,
    });
  });

  test('is signed by a legal person', async () => {
    await expect(placeHold(roster.as(ctx, 'records'), { ...MATTER })).rejects.toMatchObject({ code: 'ROLE_MISSING' });
    await expect(placeHold(ctx, { ...MATTER })).rejects.toMatchObject({ code: 'USAGE' });
  });
});

test('holds overlap: a unit is free when the last one is released, by two', async () => {
  const blockers = async () =>
    (await planDestruction(ctx, { before: instant('2015-02-01T00:00:00Z') })).units.map((unit) => unit.blockers);
  const one = await placeHold(counsel(), { table: 'audit_log', ...MATTER });
  const two = await placeHold(counsel2(), { to: instant('2015-02-01T00:00:00Z'), ...MATTER });
  expect((await releaseHold(counsel(), { holdId: one.holdId, reason: 'settled' })).state).toBe('release requested');
  await expect(releaseHold(counsel(), { holdId: one.holdId, reason: '' })).rejects.toMatchObject({
    code: 'DUTY_SEPARATION',
  });
  expect((await releaseHold(counsel2(), { holdId: one.holdId, reason: '' })).state).toBe('released');
  expect(await blockers()).toEqual([['held']]);
  await releaseHold(counsel2(), { holdId: two.holdId, reason: 'settled' });
  await releaseHold(counsel(), { holdId: two.holdId, reason: '' });
  expect(await blockers()).toEqual([[]]);
  await expect(releaseHold(counsel(), { holdId: two.holdId, reason: 'x' })).rejects.toMatchObject({
    code: 'DECISION_OBJECT',
  });
  await expect(showHold(ctx, randomUUID())).rejects.toMatchObject({ code: 'HOLD_UNKNOWN' });
});

test('hold release --dry-run makes the same checks as the request and as the approval, and changes nothing', async () => {
  const { holdId } = await placeHold(counsel(), { table: 'audit_log', ...MATTER });
  const command = async (...argv: string[]) => {
    const [stdout, stderr] = [new PassThrough(), new PassThrough()];
    const exit = await main(['hold', ...argv, '--database-url', db.url()], { stdout, stderr });
    stdout.end();
    stderr.end();
    return { exit, stdout: await text(stdout), stderr: await text(stderr) };
  };
  const release = (person: string, ...more: string[]) =>
    command('release', holdId, '--as', emailOf(person), '--key', roster.keyFile(person), ...more);
  const state = async () => [
    (await showHold(ctx, holdId)).state,
    await scalar(db.admin, z.bigint(), 'select count(*) as value from compliance.object_decision'),
    await scalar(db.admin, z.bigint(), 'select count(*) as value from compliance.object_decision_request'),
    await scalar(db.admin, z.bigint(), 'select count(*) as value from retention.hold_release'),
    await scalar(db.admin, z.bigint(), 'select count(*) as value from audit.audit_log_all'),
  ];
  const placed = await state();
  const request = await release('counsel', '--reason', 'settled', '--dry-run');
  expect([request.exit, request.stdout]).toMatchObject([0, expect.stringContaining('release requested')]);
  expect(await release('records', '--reason', 'x', '--dry-run')).toMatchObject({ exit: 4 });
  expect(await release('counsel', '--dry-run')).toMatchObject({ exit: 2 });
  expect(await state()).toEqual(placed);
  expect(await release('counsel', '--reason', 'settled')).toMatchObject({ exit: 0 });
  const requestedLine = (await command('show', holdId)).stdout;
  const requested = await state();
  const approval = await release('counsel2', '--dry-run');
  expect([approval.exit, approval.stdout]).toMatchObject([0, expect.stringContaining('released')]);
  expect((await release('counsel', '--dry-run')).stderr).toMatch(/^error DUTY_SEPARATION: /);
  expect(await state()).toEqual(requested);
  await guardsLater(db, 1);
  expect(await release('counsel2')).toMatchObject({ exit: 0 });
  const { placed_at, released_at } = await showHold(ctx, holdId);
  expect(requestedLine).toContain(`held since ${placed_at}, release requested`);
  const listed = await command('list');
  expect(listed.stdout).toContain(`${holdId}  released since ${released_at}`);
  expect(released_at).not.toBe(placed_at);
  await guardsLater(db, 0);
});

test('a draft that nobody signed holds nothing, and a release that nobody signed releases nothing', async () => {
  const placed = await placeHold(counsel(), { table: 'audit_log', ...MATTER });
  for (const statement of [
    `update retention.hold set matter = 'x'`,
    `delete from retention.hold`,
    `insert into retention.hold_release (release_id, hold_id, document, sha256, reason) values (gen_random_uuid(), '${placed.holdId}', '', '', 'x')`,
    `insert into compliance.object_decision default values`,
  ]) {
    expect(await failureOf(db.engine, statement)).toMatchObject({ code: '42501' });
  }
  const draft = JSON.stringify({
    ...{
      format: 'auditkeep-hold/v1',
      hold_id: randomUUID(),
      matter: 'm',
      reason: 'r',
      custodian: 'c',
      beyond_destroyed: false,
    },
  });
  await db.engine.withClient((client) => client.query('select retention.draft_hold($1)', [draft]));
  expect((await listHolds(ctx)).filter((hold) => hold.state === 'draft')).toHaveLength(1);
  const before = await scalar(db.engine, z.bigint(), 'select count(*) as value from retention.active_hold');
  expect(before).toBe(1n);
  await releaseHold(counsel(), { holdId: placed.holdId, reason: 'x' });
  await releaseHold(counsel2(), { holdId: placed.holdId, reason: '' });
});

test('whatever is held and however long, nothing under a hold is ever purged', async () => {
  const open: string[] = [];
  const months = ['2015-03', '2015-04', '2015-05'] as const;
  const step = fc.oneof(
    fc.record({ kind: fc.constant('hold' as const), month: fc.constantFrom(...months) }),
    fc.record({ kind: fc.constant('release' as const) }),
    fc.record({ kind: fc.constant('plan' as const) }),
    fc.record({ kind: fc.constant('run' as const), hours: fc.constantFrom(1, 73, 100) }),
  );
  let hours = 0;
  const plans: string[] = [];
  const held = () =>
    scalar(
      db.engine,
      z.array(z.string()),
      `select coalesce(array_agg(relation_name order by 1), '{}') as value from retention.unit u
    where u.state not in ('purging', 'purged') and u.upper_bound < '2016-01-01' and retention.is_held(u.unit_id)`,
    );
  const gone = () =>
    scalar(
      db.engine,
      z.array(z.string()),
      `select coalesce(array_agg(relation_name order by 1), '{}') as value from retention.unit where state in ('purging', 'purged')`,
    );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 6 }), async (steps) => {
      for (const action of steps) {
        const [heldBefore, goneBefore] = [await held(), await gone()];
        if (action.kind === 'hold') {
          const from = instant(`${action.month}-05T00:00:00Z`);
          const placed = await placeHold(counsel(), {
            table: 'audit_log',
            from,
            to: instant(`${action.month}-20T00:00:00Z`),
            ...MATTER,
          }).catch(() => null);
          if (placed !== null) open.push(placed.holdId);
        }
        const last = action.kind === 'release' ? open.pop() : undefined;
        if (last !== undefined) {
          await releaseHold(counsel(), { holdId: last, reason: 'x' });
          await releaseHold(counsel2(), { holdId: last, reason: '' });
        }
        if (action.kind === 'plan') {
          const requested = await requestPurge(roster.as(ctx, 'records'), { table: 'audit_log', reason: 'x' }).catch(
            () => null,
          );
          if (requested !== null) {
            await approvePurge(roster.as(ctx, 'records2'), requested.planId);
            plans.push(requested.planId);
          }
        }
        if (action.kind === 'run') {
          hours += action.hours;
          await guardsLater(db, hours);
          await waitInQuarantine(db);
          for (const plan of plans) await runPurge(ctx, { plan, reason: 'x' }).catch(() => null);
          const goneNow = (await gone()).filter((name) => !goneBefore.includes(name));
          expect(goneNow.filter((name) => heldBefore.includes(name))).toEqual([]);
        }
      }
    }),
    { numRuns: 2 },
  );
});
