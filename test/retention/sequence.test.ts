/**
 * Any sequence of inserts, holds, plans, approvals, archival, destruction, late rows, splits, copies, killed connections and
 * jumps of the clock: hot + late + archived + quarantined + destroyed with a certificate = inserted, each once, and nothing
 * under a hold is destroyed. A seed decides a sequence; AUDITKEEP_TEST_RUNS says how many, AUDITKEEP_TEST_SEED which is first.
 */
import { beforeAll, expect, test } from 'vitest';
import { systemClock } from '../../src/time/clock.ts';
import { foundRegister, type Roster } from '../persons/roster.ts';
import { TestClock, temporaryHome, testContext } from '../support/context.ts';
import { copyDatabase, useDatabase } from '../support/database.ts';
import { ensureMonths, insertEvents, linkAll } from './rows.ts';
import { check, checkEnd, perform, sequenceOf, type World } from './sequence.ts';

const RUNS = Number(process.env['AUDITKEEP_TEST_RUNS'] ?? 2);
const FIRST = Number(process.env['AUDITKEEP_TEST_SEED'] ?? 24);
const LENGTH = 30;

const db = useDatabase();
let roster: Roster;

beforeAll(async () => {
  roster = await foundRegister(await testContext(db), await temporaryHome());
  await ensureMonths(db.engine, ['2015-01', '2015-02', '2015-03', '2025-12']);
  // So that no plan reaches more than its share of the table; not among the rows that are counted.
  await db.engine.withClient(async (client) => {
    await insertEvents(client, '2025-12-10T00:00:00Z', 400);
  });
  await db.admin.withClient((client) =>
    client.query(`begin; alter table audit.audit_log_y2025m12 disable trigger ak_child_immutable;
      update audit.audit_log_y2025m12 set event_type = 'others';
      alter table audit.audit_log_y2025m12 enable always trigger ak_child_immutable; commit`),
  );
  await linkAll(db.engine);
});

let destroyed = 0;
let restored = 0;

test.each(Array.from({ length: RUNS }, (_, at) => FIRST + at))(
  'seed %i',
  async (seed) => {
    const copy = await copyDatabase(db);
    const ctx = await testContext(copy, { clock: new TestClock(systemClock.now()) });
    const world: World = { db: copy, ctx, roster, rows: [], holds: [], ahead: 0, restored: 0 };
    const operations = sequenceOf(seed, LENGTH);
    for (const [at, operation] of operations.entries()) {
      try {
        await perform(world, operation);
        await check(world);
      } catch (error) {
        const done = operations.slice(0, at + 1).map((one) => JSON.stringify(one));
        throw new Error(`seed ${seed}, operation ${at}:\n${done.join('\n')}`, { cause: error });
      }
    }
    destroyed += await checkEnd(world);
    restored += world.restored;
  },
  240_000,
);

test('sequences come to destruction and to copies, or they would show nothing', () => {
  expect(destroyed).toBeGreaterThan(0);
  expect(restored).toBeGreaterThan(0);
});
