/** The alarm: raised while there is still a step to act in, once, and not when partitions reach far enough. */
import { expect, test } from 'vitest';
import { z } from 'zod';
import { raiseHorizonAlarm, shortHorizons } from '../../src/retention/horizon.ts';
import { applyPartitions } from '../../src/retention/partition.ts';
import { POLICIES } from '../../src/retention/policy.ts';
import { isoOf, systemClock } from '../../src/time/clock.ts';
import { addPeriod } from '../../src/time/period.ts';
import { useDatabase } from '../support/database.ts';
import { retentionContext, scalar } from './rows.ts';

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
  await applyPartitions(ctx);
  expect(await raiseHorizonAlarm(ctx)).toEqual([]);
});
