/** A request of destruction splits what only some rows hold back: those stay, the others go. */
import { beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { runArchive } from '../../src/retention/archive.ts';
import { placeHold } from '../../src/retention/hold-place.ts';
import { approvePurge, planDestruction, requestPurge } from '../../src/retention/purge-request.ts';
import { runPurge } from '../../src/retention/purge-run.ts';
import { foundRegister, type Roster } from '../persons/roster.ts';
import { type TestContext, temporaryHome, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { guardsLater, waitInQuarantine } from './later.ts';
import { ensureMonths, insertEvents, instant, linkAll, scalar } from './rows.ts';

const db = useDatabase();
let ctx: TestContext;
let roster: Roster;
const before = instant('2016-01-01T00:00:00Z');
const HELD = '00000000-0000-4000-8000-000000000007';

beforeAll(async () => {
  ctx = await testContext(db);
  roster = await foundRegister(ctx, await temporaryHome());
  await ensureMonths(db.engine, ['2015-01', '2015-02', '2025-12']);
  await db.engine.withClient(async (client) => {
    for (const month of ['2015-01', '2015-02']) await insertEvents(client, `${month}-10T00:00:00Z`, 10);
    await insertEvents(client, '2025-12-10T00:00:00Z', 100);
    await client.query(
      `insert into audit.audit_log (id, event_type, event_category, event_action, event_timestamp)
       values ($1, 'test', 'system', 'CREATE', '2015-01-20')`,
      [HELD],
    );
    await client.query(`select retention.create_partition('security_events_log', '2015-01-01Z', '2015-02-01Z'),
                               retention.create_partition('security_events_log', '2025-01-01Z', '2025-02-01Z')`);
    await client.query(`insert into audit.security_events_log (event_type, severity, category, event_description, event_timestamp, retention_days)
      select 'test', 'low', 'anomaly', 'x', timestamptz '2015-01-10Z', case when n < 6 then 2555 else 9000 end from generate_series(0, 9) n
      union all select 'others', 'low', 'anomaly', 'x', timestamptz '2025-01-10Z', 2555 from generate_series(1, 40)`);
  });
  await linkAll(db.engine);
  await runArchive(ctx, { before, reason: 'test' });
  const hold = { table: 'audit_log', matter: 'M-1', reason: 'r', custodian: 'c', ids: [HELD] } as const;
  await placeHold(roster.as(ctx, 'counsel'), hold);
});

const lines = ({ units }: Awaited<ReturnType<typeof planDestruction>>) =>
  units.map(({ partition, rows, blockers }) => [partition, rows, blockers]);

test('a plan says that rows stand in the way, and changes nothing; a dry run neither', async () => {
  const plan = await planDestruction(ctx, { before });
  expect(lines(plan)).toEqual([
    ['audit_log_y2015m01', 11n, ['held']],
    ['audit_log_y2015m02', 10n, []],
    ['security_events_log_y2015m01', 10n, ['rows-not-due']],
  ]);
  const asked = { before, table: 'security_events_log', reason: 'test', split: false } as const;
  await expect(requestPurge(roster.as(ctx, 'records'), asked)).rejects.toMatchObject({ code: 'PLAN_EMPTY' });
  expect(lines(await planDestruction(ctx, { before }))).toEqual(lines(plan));
});

test('a request parts them first, and is of what may go; what must stay stays, through the destruction', async () => {
  const { planId, plan, splits } = await requestPurge(roster.as(ctx, 'records'), { before, reason: 'test' });
  expect(splits.map(({ partition, siblings }) => [partition, siblings.map(({ rows }) => rows).sort()])).toEqual([
    ['audit_log_y2015m01', [1, 10]],
    ['security_events_log_y2015m01', [4, 6]],
  ]);
  expect(lines(plan)).toEqual([
    ['audit_log_y2015m01_g2', 10n, []],
    ['audit_log_y2015m01_g3', 1n, ['held']],
    ['audit_log_y2015m02', 10n, []],
    ['security_events_log_y2015m01_g2', 6n, []],
    ['security_events_log_y2015m01_g3', 4n, ['rows-not-due']],
  ]);
  await approvePurge(roster.as(ctx, 'records2'), planId);
  await guardsLater(db, 73);
  await runPurge(ctx, { plan: planId, reason: 'test' });
  await waitInQuarantine(db);
  const { units } = await runPurge(ctx, { plan: planId, reason: 'test' });
  expect(units.map(({ outcome }) => outcome)).toEqual(
    units.map(() => expect.objectContaining({ kind: 'purged' }) as unknown),
  );
  expect(units).toHaveLength(3);
  const left = (table: string) =>
    scalar(
      db.engine,
      z.string(),
      `select string_agg(id::text || ' ' || origin, ',') as value from audit.${table}_all where event_type = 'test' and event_timestamp < '2016-01-01'`,
    );
  expect(await left('audit_log')).toBe(`${HELD} late`);
  expect((await left('security_events_log')).split(',')).toHaveLength(4);
});

test('what belongs together is not split again', async () => {
  const again = requestPurge(roster.as(ctx, 'records'), { before, reason: 'test' });
  await expect(again).rejects.toMatchObject({ code: 'PLAN_EMPTY', message: 'everything that is due is blocked' });
  const split = `select count(*) as value from audit.audit_log_all where event_type = 'partition.split'`;
  expect(await scalar(db.engine, z.bigint(), split)).toBe(2n);
});
