/**
 * Bounds are those of the UTC calendar, whatever zone a session is in: across DST changes, leap days and year ends. Days
 * and months are what we make; quarters and years are what others made, and keep the bounds that the catalog has.
 */
import fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import type { SqlClient } from '../../src/db/database.ts';
import { queryOne, queryRows } from '../../src/db/query.ts';
import { rangeAt, rangesFrom } from '../../src/retention/bounds.ts';
import { leafName } from '../../src/retention/plan.ts';
import { isoOf, toInstant, type UtcInstant } from '../../src/time/clock.ts';
import { useDatabase } from '../support/database.ts';
import { rewindIn } from './rows.ts';

const db = useDatabase();
let zones: readonly string[] = [];

beforeAll(async () => {
  const rows = await db.admin.withClient((client) =>
    queryRows(client, z.object({ name: z.string() }), 'select name from pg_timezone_names order by name'),
  );
  zones = rows.map((row) => row.name);
});

/** Where calendars go wrong: DST in both hemispheres, leap days, a century without one, year ends, a day that was left out. */
const MOMENTS = [
  ...['2021-03-14', '2021-10-31', '2021-04-04', '2020-02-29', '2024-02-29', '1900-02-28'],
  ...['1999-12-31', '2024-12-31', '2011-12-30', '1970-01-01'],
];
const instants = fc.oneof(
  fc
    .constantFrom(...MOMENTS)
    .chain((day) =>
      fc.integer({ min: -36, max: 60 }).map((hours) => toInstant(Date.parse(`${day}T00:00:00Z`) + hours * 3_600_000)),
    ),
  fc.integer({ min: Date.UTC(1890, 0, 1), max: Date.UTC(2025, 0, 1) }).map(toInstant),
);

type Width = 'day' | 'month' | 'quarter' | 'year';

/** The calendar a second time, by Date.UTC alone: where the step that holds an instant begins, and where later ones do. */
function startOf(width: Width, at: UtcInstant, steps = 0): UtcInstant {
  const date = new Date(at);
  const [year, month, day] = [date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate()];
  const firsts: Record<Width, number> = {
    day: Date.UTC(year, month, day + steps),
    month: Date.UTC(year, month + steps, 1),
    quarter: Date.UTC(year, month - (month % 3) + steps * 3, 1),
    year: Date.UTC(year + steps, 0, 1),
  };
  return toInstant(firsts[width]);
}

test('ranges hold their instant, are whole calendar steps and follow one another without a gap', () => {
  fc.assert(
    fc.property(instants, fc.constantFrom('day', 'month'), (at, step) => {
      expect(rangeAt(step, at)).toEqual({ from: startOf(step, at), to: startOf(step, at, 1) });
      const ranges = rangesFrom(step, at, toInstant(at + 100 * 86_400_000));
      const ends = ranges.map((_, index) => startOf(step, at, index + 1));
      expect(ranges.map((range) => range.to)).toEqual(ends);
      expect(ranges.map((range) => range.from)).toEqual([at, ...ends.slice(0, -1)]);
    }),
    { seed: 4 },
  );
});

interface Leaf {
  readonly name: string;
  readonly from: UtcInstant;
  readonly to: UtcInstant;
}

/** Runs `work` in a transaction of a session in a zone that writes dates as Germans do; gives the partitions then there. */
function inZone(
  role: 'engine' | 'admin',
  zone: string,
  parent: string,
  work: (client: SqlClient) => Promise<unknown>,
): Promise<readonly Leaf[]> {
  return db[role].withClient(async (client) => {
    await client.query('begin');
    try {
      await client.query(`select set_config('TimeZone', $1, true), set_config('DateStyle', 'German', true)`, [zone]);
      await work(client);
      const rows = await queryRows(
        client,
        z.object({ name: z.string(), lower: z.number(), upper: z.number() }),
        `select relation_name as name, extract(epoch from lower_bound)::float8 * 1000 as lower,
                extract(epoch from upper_bound)::float8 * 1000 as upper
           from retention.leaves($1::regclass) where not tombstone order by lower_bound`,
        [parent],
      );
      return rows.map(({ name, lower, upper }) => ({ name, from: toInstant(lower), to: toInstant(upper) }));
    } finally {
      await client.query('rollback');
    }
  });
}

async function make(
  client: SqlClient,
  table: string,
  category: string,
  ranges: readonly { from: UtcInstant; to: UtcInstant }[],
) {
  for (const { from, to } of ranges) {
    await client.query('select retention.create_partition($1, $2::timestamptz, $3::timestamptz, $4)', [
      ...[table, isoOf(from), isoOf(to), category],
    ]);
  }
}

test('partitions that a session in any zone makes are days and months of the UTC calendar, one after the other', async () => {
  const branches = [
    { table: 'audit_log', category: '', parent: 'audit.audit_log', step: 'month' },
    {
      table: 'performance_metrics',
      category: 'minute',
      step: 'day',
      parent: 'security_internal.performance_metrics_minute',
    },
  ] as const;
  await fc.assert(
    fc.asyncProperty(instants, fc.nat(), fc.constantFrom(...branches), async (at, pick, branch) => {
      const zone = zones[pick % zones.length] ?? 'UTC';
      const { step, table, category, parent } = branch;
      const first = startOf(step, at);
      const made = await inZone('engine', zone, parent, (client) =>
        make(client, table, category, rangesFrom(step, first, startOf(step, at, 3))),
      );
      const expected = [0, 1, 2].map((index) => {
        const range = { from: startOf(step, at, index), to: startOf(step, at, index + 1) };
        return { name: leafName(parent.split('.')[1] ?? '', range), ...range };
      });
      expect([zone, made.filter((leaf) => leaf.from >= first && leaf.to <= startOf(step, at, 3))]).toEqual([
        zone,
        expected,
      ]);
    }),
    { seed: 4, numRuns: 25 },
  );
});

test('quarters and years that others made, by their own midnight or by UTC, are adopted as the catalog has them', async () => {
  await fc.assert(
    fc.asyncProperty(
      instants,
      fc.nat(),
      fc.constantFrom<Width>('quarter', 'year'),
      fc.constantFrom('', 'Z'),
      async (at, pick, width, suffix) => {
        const zone = zones[pick % zones.length] ?? 'UTC';
        const dates = [0, 1].map((steps) => isoOf(startOf(width, at, steps)).slice(0, 10) + suffix);
        let bounds = { lower: 0, upper: 0 };
        const leaves = await inZone('admin', zone, 'audit.security_events_log', async (client) => {
          // What the session understands by these dates is what its partition means.
          bounds = await queryOne(
            client,
            z.object({ lower: z.number(), upper: z.number() }),
            `select extract(epoch from $1::timestamptz)::float8 * 1000 as lower, extract(epoch from $2::timestamptz)::float8 * 1000 as upper`,
            dates,
          );
          await rewindIn(client, 'security_events_log', '', isoOf(toInstant(bounds.lower)));
          await client.query(`create table audit.theirs partition of audit.security_events_log
            for values from ('${dates[0]}') to ('${dates[1]}')`);
          await client.query('alter table audit.theirs owner to auditkeep_owner');
          await client.query(`select retention.adopt_partition('security_events_log', 'theirs')`);
          const upper = toInstant(bounds.upper);
          await make(client, 'security_events_log', '', rangesFrom('month', upper, startOf('month', upper, 2)));
        });
        const [from, upper] = [toInstant(bounds.lower), toInstant(bounds.upper)];
        if (suffix === 'Z') expect([from, upper]).toEqual([startOf(width, at), startOf(width, at, 1)]);
        const ends = [upper, startOf('month', upper, 1), startOf('month', upper, 2)];
        expect([zone, leaves.map((leaf) => [leaf.from, leaf.to])]).toEqual([
          zone,
          [from, ...ends.slice(0, -1)].map((start, index) => [start, ends[index]]),
        ]);
      },
    ),
    { seed: 4, numRuns: 20 },
  );
});
