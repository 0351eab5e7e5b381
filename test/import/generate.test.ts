import { beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { queryOne } from '../../src/db/query.ts';
import { generateEvents, generateTransactions } from '../../src/import/generate.ts';
import { importGenerated } from '../../src/import/generated.ts';
import { parseInstant, toInstant } from '../../src/time/clock.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';

const db = useDatabase();
let ctx: TestContext;
beforeAll(async () => {
  ctx = await testContext(db);
});

const HOUR_MS = 60 * 60 * 1000;
const options = { seed: 1, count: 500, years: 5, now: toInstant(Date.UTC(2026, 2, 15)) };
const timeOf = (line: string) =>
  parseInstant(z.object({ event_timestamp: z.string() }).parse(JSON.parse(line)).event_timestamp) ?? 0;

test('the same seed and time give the same records, another seed others', () => {
  expect([...generateEvents(options)]).toEqual([...generateEvents(options)]);
  expect([...generateTransactions(options)]).toEqual([...generateTransactions(options)]);
  expect([...generateEvents(options)][7]).not.toBe([...generateEvents({ ...options, seed: 2 })][7]);
});

test('events are in order, reach over the years asked for and end before now', () => {
  const times = [...generateEvents(options)].map(timeOf);
  expect(times).toHaveLength(500);
  expect(times).toEqual(times.toSorted((a, b) => a - b));
  const spanDays = ((times.at(-1) ?? 0) - (times[0] ?? 0)) / (24 * HOUR_MS);
  expect(spanDays).toBeGreaterThan(5 * 365 - 10);
  expect(times.at(-1)).toBeLessThan(options.now);
});

test('days later the same seed gives the same records but for those that were added since', () => {
  const before = new Set(generateEvents(options));
  const after = [...generateEvents({ ...options, now: toInstant(options.now + 240 * HOUR_MS + 1234) })];
  const added = after.filter((line) => !before.has(line));
  expect(added.length).toBeGreaterThan(0);
  expect(added.length).toBeLessThan(5);
  expect(added.every((line) => timeOf(line) > Math.max(...[...before].map(timeOf)))).toBe(true);
});

test('everything generated is accepted, once; sensitive events are stored encrypted', async () => {
  const input = { seed: 7, events: 1000, transactions: 100, years: 1 };
  const first = await importGenerated(ctx, input);
  expect(first.events).toMatchObject({ read: 1000, imported: 1000, rejected: 0, late: 0 });
  expect(first.transactions).toMatchObject({ read: 100, imported: 100, rejected: 0 });
  const second = await importGenerated(ctx, input);
  expect(second.events).toMatchObject({ read: 1000, imported: 0, duplicates: 1000 });
  expect(second.transactions).toMatchObject({ read: 100, imported: 0, duplicates: 100 });
  const sealed = await db.engine.withClient((client) =>
    queryOne(
      client,
      z.object({ sealed: z.bigint(), plain: z.bigint() }),
      `select count(*) filter (where actor_envelope like 'ak1.%' and payload_envelope like 'ak1.%') as sealed,
              count(*) filter (where num_nonnulls(user_email, user_roles, ip_address, user_agent, resource_id,
                                                  old_values, new_values, additional_data) > 0) as plain
         from audit.audit_log where data_sensitivity = 'sensitive'`,
    ),
  );
  expect(sealed).toEqual({ sealed: 10n, plain: 0n });
});
