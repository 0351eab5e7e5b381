/** The alarm: raised while there is still a step to act in, once, and not when partitions reach far enough. */
import { expect, test } from 'vitest';
import { z } from 'zod';
import { raiseHorizonAlarm, shortHorizons } from '../../src/retention/horizon.ts';
import { applyPartitions } from '../../src/retention/partition.ts';
import { POLICIES } from '../../src/retention/policy.ts';
import { isoOf, systemClock, toInstant, type UtcInstant } from '../../src/time/clock.ts';
import { addPeriod } from '../../src/time/period.ts';
import { useDatabase } from '../support/database.ts';
import { instant, retentionContext, scalar } from './rows.ts';

const db = useDatabase();
const alarms = () =>
  scalar(
    db.engine,
    z.bigint(),
    `select count(*) as value from audit.security_events_log where event_type = 'partition_horizon_short'`,
  );

test('a migrated database has no short horizon, one without partitions only short ones', async () => {
  expect(await raiseHorizonAlarm(retentionContext(db.engine))).toEqual([]);
  expect(await alarms()).toBe(0n);
  expect(shortHorizons(POLICIES, [], systemClock.now())).toHaveLength(POLICIES.length);
});

test('a clock that has run on raises it once, and growth ends it', async () => {
  // Eight days on the daily branches have ended, the monthly ones have not.
  const later = isoOf(addPeriod(systemClock.now(), { unit: 'day', count: 8 }));
  const ctx = retentionContext(db.engine, later);
  expect(await raiseHorizonAlarm(ctx)).toHaveLength(2);
  await raiseHorizonAlarm(ctx);
  expect(await alarms()).toBe(1n);
  // An hour later it is news again.
  const nextHour = retentionContext(db.engine, isoOf(toInstant(Date.parse(later) + 3_600_001)));
  await raiseHorizonAlarm(nextHour);
  await raiseHorizonAlarm(nextHour);
  expect(await alarms()).toBe(2n);
  await applyPartitions(ctx);
  expect(await raiseHorizonAlarm(ctx)).toEqual([]);
});

test('a branch is short when its last partition ends within one more step, or is a tombstone', () => {
  const now = instant('2026-05-15T00:00:00Z');
  const [rule] = POLICIES;
  if (rule === undefined) throw new Error('no policy');
  const until = (to: UtcInstant | null, tombstone = false) => {
    const leaf = { name: 'x', relation: 'audit.x', from: instant('2026-05-01T00:00:00Z'), to, tombstone };
    const leaves = [{ ...leaf, sizeBytes: 0n, estimatedRows: 0n, unit: null }];
    return shortHorizons([rule], [{ table: rule.table, category: rule.category, parent: 'x', leaves }], now);
  };
  const step = instant('2026-06-15T00:00:00Z');
  expect(until(step)).toEqual([]);
  expect(until(toInstant(step - 1))).toEqual([{ branch: 'audit_log', until: step - 1 }]);
  expect(until(step, true)).toEqual([{ branch: 'audit_log', until: null }]);
  expect(until(null)).toEqual([]);
});
