/** Blast radius: units, rows and per cent of a table that one destruction may reach; code and database count alike. */
import fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { runArchive } from '../../src/retention/archive.ts';
import { BUILT_IN_POLICY } from '../../src/retention/policy.ts';
import { applyPolicy } from '../../src/retention/policy-apply.ts';
import { beyondLimits, parsePurgeText } from '../../src/retention/purge-plan.ts';
import { approvePurge, planDestruction, requestPurge } from '../../src/retention/purge-request.ts';
import { runPurge } from '../../src/retention/purge-run.ts';
import { foundRegister, type Roster } from '../persons/roster.ts';
import { type TestContext, temporaryHome, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { guardsLater } from './later.ts';
import { ensureMonths, failureOf, insertEvents, instant, linkAll, scalar } from './rows.ts';

const db = useDatabase();
const MONTHS = ['2015-01', '2015-02', '2015-03'];
let ctx: TestContext;
let roster: Roster;
const records = () => roster.as(ctx, 'records');
const scope = { table: 'audit_log', reason: 'test' } as const;
const count = (relation: string) => scalar(db.admin, z.bigint(), `select count(*) as value from ${relation}`);

/** What the planner guesses about the month that nothing has counted yet: 100 rows lie there. */
const guessHot = (rows: number) =>
  db.admin.withClient((client) =>
    client.query(`update pg_class set reltuples = ${rows} where relname = 'audit_log_y2025m12'`),
  );

beforeAll(async () => {
  ctx = await testContext(db, {});
  roster = await foundRegister(ctx, await temporaryHome());
  await ensureMonths(db.engine, [...MONTHS, '2025-12']);
  await db.admin.withClient((client) =>
    client.query('alter table audit.audit_log_y2025m12 set (autovacuum_enabled = false)'),
  );
  await db.engine.withClient(async (client) => {
    for (const month of MONTHS) await insertEvents(client, `${month}-10T00:00:00Z`, 10);
    await insertEvents(client, '2025-12-10T00:00:00Z', 100);
  });
  await linkAll(db.engine);
  await runArchive(ctx, { table: 'audit_log', before: instant('2016-01-01T00:00:00Z'), reason: 'test' });
  await guessHot(100);
});

test('code and database find the same plans beyond a limit, at the limit itself too', async () => {
  const { document } = await planDestruction(ctx, scope);
  const parsed = parsePurgeText(document);
  const [sample] = parsed?.units ?? [];
  if (parsed === null || sample === undefined) throw new Error('nothing is due');
  const total = await scalar(db.engine, z.bigint(), `select retention.known_rows('audit_log') as value`);
  const limits = (units: number, rows: number, percent: number) => ({
    ...BUILT_IN_POLICY.limits,
    units,
    rows,
    percent,
  });
  let refused = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 0, max: 60 }), { minLength: 1, maxLength: 4 }),
      fc.constantFrom(1, 2, 4),
      fc.constantFrom(30, 60, 1000),
      fc.constantFrom(10, 40, 100),
      async (rows, units, most, percent) => {
        const plan = { ...parsed, units: rows.map((each) => ({ ...sample, rows: each })) };
        const found = beyondLimits(plan, limits(units, most, percent), () => total);
        const sum = rows.reduce((all, each) => all + each, 0);
        const isBeyond = rows.length > units || sum > most || BigInt(sum * 100) > total * BigInt(percent);
        expect(found !== null).toBe(isBeyond);
        const check = `select retention.check_limits('${JSON.stringify(plan)}', '${JSON.stringify(limits(units, most, percent))}')`;
        const failure = await failureOf(db.admin, check);
        if (isBeyond) expect(failure).toMatchObject({ code: 'AK128' });
        else expect(failure).toBeNull();
        refused += isBeyond ? 1 : 0;
      },
    ),
    {
      ...{ seed: 4, numRuns: 60 },
      // At each limit: four units, 60 rows, and all the rows there are.
      examples: [
        [[1, 1, 1, 1], 4, 1000, 100],
        [[30, 30], 4, 60, 100],
        [[Number(total)], 4, 1000, 100],
      ],
    },
  );
  expect(refused).toBeGreaterThan(10);
});

test('an approved plan that is beyond a limit by now begins with no unit, whoever starts it', async () => {
  await guardsLater(db, 0);
  const { planId } = await requestPurge(records(), scope);
  await approvePurge(roster.as(ctx, 'records2'), planId);
  await guardsLater(db, 73);
  await guessHot(0);
  await expect(runPurge(ctx, { plan: planId, reason: 'test' })).rejects.toMatchObject({ code: 'PLAN_LIMITS' });
  expect(await failureOf(db.engine, `select retention.start_plan('${planId}')`)).toMatchObject({ code: 'AK128' });
  expect(await count('retention.plan_start')).toBe(0n);
  expect(await count(`retention.unit where state <> 'hot' and state <> 'archived'`)).toBe(0n);
  await guessHot(100);
  expect(await failureOf(db.engine, `select retention.start_plan('${planId}')`)).toBeNull();
});

test.each([
  [{ percent: 20 }, '30 of the'],
  [{ percent: 20, rows: 29 }, '30 rows; 29 are allowed'],
  [{ percent: 20, rows: 29, units: 2 }, '3 units; 2 are allowed'],
])('beyond %j nobody is asked to sign', async (limits, words) => {
  const section = { ...ctx, config: { ...ctx.config, retention: { limits } } };
  expect(await applyPolicy(section, { reason: 'less at once' })).toMatchObject({ outcome: 'in force' });
  const plans = await count('retention.plan');
  await expect(requestPurge(records(), scope)).rejects.toMatchObject({
    code: 'PLAN_LIMITS',
    message: expect.stringContaining(words) as string,
  });
  expect(await count('retention.plan')).toBe(plans);
  // Less of it is within the limits again.
  const less = { ...scope, before: instant('2015-03-01T00:00:00Z') };
  expect((await requestPurge(records(), less)).plan.units).toHaveLength(2);
});
