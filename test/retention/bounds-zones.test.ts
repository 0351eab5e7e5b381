/** Bounds are those of the UTC calendar, whatever zone a session is in: across DST changes, leap days and year ends. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { queryRows } from '../../src/db/query.ts';
import { rangeAt, rangesFrom } from '../../src/retention/bounds.ts';
import { leafName } from '../../src/retention/plan.ts';
import { isoOf, toInstant } from '../../src/time/clock.ts';
import { useDatabase } from '../support/database.ts';

const db = useDatabase();

const ZONES = [
  'America/New_York',
  'Europe/Berlin',
  'Pacific/Apia',
  'Asia/Kathmandu',
  'Australia/Lord_Howe',
  'UTC',
  '+14',
];
const BRANCHES = [
  { table: 'audit_log', category: '', parent: 'audit.audit_log', step: 'month' },
  {
    table: 'performance_metrics',
    category: 'minute',
    parent: 'security_internal.performance_metrics_minute',
    step: 'day',
  },
] as const;
/** Where calendars go wrong: DST in both hemispheres, a leap day, a century without one, year ends. */
const MOMENTS = [
  '2021-03-14',
  '2021-10-31',
  '2021-04-04',
  '2020-02-29',
  '2100-02-28',
  '1999-12-31',
  '2024-12-31',
  '2011-12-30',
];

const instantArbitrary = fc.oneof(
  fc
    .constantFrom(...MOMENTS)
    .chain((day) =>
      fc.integer({ min: -36, max: 60 }).map((hours) => toInstant(Date.parse(`${day}T00:00:00Z`) + hours * 3_600_000)),
    ),
  fc.integer({ min: Date.UTC(1990, 0, 1), max: Date.UTC(2024, 0, 1) }).map(toInstant),
);

test('ranges hold their instant, are whole calendar steps and follow one another without a gap', () => {
  fc.assert(
    fc.property(instantArbitrary, fc.constantFrom('day', 'month'), (instant, step) => {
      const range = rangeAt(step, instant);
      expect(range.from <= instant && instant < range.to).toBe(true);
      const [from, to] = [new Date(range.from), new Date(range.to)];
      const next =
        step === 'day'
          ? Date.UTC(from.getUTCFullYear(), from.getUTCMonth(), from.getUTCDate() + 1)
          : Date.UTC(from.getUTCFullYear(), from.getUTCMonth() + 1, 1);
      expect(to.getTime()).toBe(next);
      const ranges = rangesFrom(step, instant, toInstant(instant + 100 * 86_400_000));
      for (const [at, one] of ranges.entries()) if (at > 0) expect(one.from).toBe(ranges[at - 1]?.to);
    }),
  );
});

test('a partition made from a session in any zone has them', async () => {
  const shape = z.object({ relation_name: z.string(), lower: z.string(), upper: z.string() });
  await fc.assert(
    fc.asyncProperty(
      instantArbitrary,
      fc.constantFrom(...ZONES),
      fc.constantFrom(...BRANCHES),
      async (instant, zone, branch) => {
        const range = rangeAt(branch.step, instant);
        // Beyond two years ahead none is made.
        if (range.from > Date.UTC(2026, 0, 1)) return;
        const rows = await db.engine.withClient(async (client) => {
          await client.query('begin');
          await client.query(`select set_config('TimeZone', $1, true), set_config('DateStyle', 'German', true)`, [
            zone,
          ]);
          await client.query('select retention.create_partition($1, $2::timestamptz, $3::timestamptz, $4)', [
            branch.table,
            isoOf(range.from),
            isoOf(range.to),
            branch.category,
          ]);
          await client.query(`select set_config('TimeZone', 'UTC', true), set_config('DateStyle', 'ISO', true)`);
          const found = await queryRows(
            client,
            shape,
            `select relation_name, lower_bound::text as lower, upper_bound::text as upper from retention.leaves('${branch.parent}') where not tombstone and lower_bound <= $1::timestamptz and upper_bound > $1::timestamptz`,
            [isoOf(instant)],
          );
          await client.query('rollback');
          return found;
        });
        const name = branch.parent.split('.')[1] ?? '';
        expect(rows.map((row) => [row.relation_name, Date.parse(row.lower), Date.parse(row.upper)])).toEqual([
          [leafName(name, range), range.from, range.to],
        ]);
      },
    ),
    { numRuns: 40 },
  );
});
