/** Bounds on the UTC calendar: the same from a machine in any zone, across DST changes, leap days and year ends. */
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { intersect, rangeAt, rangesFrom, rangesOf } from '../../src/retention/bounds.ts';
import { isoOf, toInstant } from '../../src/time/clock.ts';
import { addPeriod, type CalendarStep, nextStep, subtractPeriod } from '../../src/time/period.ts';
import { instant } from './rows.ts';

const ZONES = ['UTC', 'America/New_York', 'Europe/Zurich', 'Asia/Kolkata', 'Pacific/Apia', 'Australia/Lord_Howe'];
const HOME_ZONE = process.env['TZ'];
const anyInstant = fc
  .integer({ min: Date.parse('0100-01-01T00:00:00Z'), max: Date.parse('9998-12-31T23:59:59Z') })
  .map(toInstant);
const anyStep = fc.constantFrom<CalendarStep>('day', 'month');

afterEach(() => {
  if (HOME_ZONE === undefined) delete process.env['TZ'];
  else process.env['TZ'] = HOME_ZONE;
});

describe.each(ZONES)('on a machine in %s', (zone) => {
  test('a range holds its instant, begins at midnight UTC and touches the next', () => {
    process.env['TZ'] = zone;
    fc.assert(
      fc.property(anyStep, anyInstant, (step, at) => {
        const range = rangeAt(step, at);
        expect(range.from <= at && at < range.to).toBe(true);
        const start = isoOf(range.from);
        expect(start.slice(step === 'month' ? 8 : 11)).toBe(step === 'month' ? '01T00:00:00.000Z' : '00:00:00.000Z');
        expect(rangeAt(step, toInstant(range.to - 1))).toEqual(range);
        expect(rangeAt(step, range.to).from).toBe(range.to);
      }),
      { numRuns: 300 },
    );
  });

  test('days are 24 hours long, months 28 to 31 days, also where a zone changes its clocks', () => {
    process.env['TZ'] = zone;
    const dayMs = 86_400_000;
    for (const at of ['2026-03-08T07:30:00Z', '2026-03-29T01:30:00Z', '2011-12-30T12:00:00Z', '2026-11-01T06:00:00Z']) {
      const day = rangeAt('day', instant(at));
      expect(day.to - day.from).toBe(dayMs);
    }
    const lengths = rangesFrom('month', instant('2024-01-01T00:00:00Z'), instant('2025-01-01T00:00:00Z')).map(
      (range) => (range.to - range.from) / dayMs,
    );
    expect(lengths).toEqual([31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]);
  });
});

test('ranges from an instant are contiguous, start exactly there and cover the end', () => {
  fc.assert(
    fc.property(anyStep, anyInstant, fc.integer({ min: 1, max: 200 }), (step, from, days) => {
      const until = toInstant(from + days * 86_400_000);
      const ranges = rangesFrom(step, from, until);
      expect(ranges[0]?.from).toBe(from);
      for (const [index, range] of ranges.entries()) {
        expect(range.from < range.to).toBe(true);
        if (index > 0) expect(range.from).toBe(ranges[index - 1]?.to);
        expect(range.to).toBe(nextStep(step, range.from));
      }
      const last = ranges.at(-1);
      expect(last !== undefined && last.from < until && until <= last.to).toBe(true);
    }),
    { numRuns: 300 },
  );
});

test('an adopted bound off the grid gives one short range that ends on it', () => {
  const ranges = rangesFrom('month', instant('2026-01-31T23:00:00Z'), instant('2026-03-01T00:00:00Z'));
  expect(ranges.map((range) => [isoOf(range.from), isoOf(range.to)])).toEqual([
    ['2026-01-31T23:00:00.000Z', '2026-02-01T00:00:00.000Z'],
    ['2026-02-01T00:00:00.000Z', '2026-03-01T00:00:00.000Z'],
  ]);
});

test('instants need each of their ranges once, oldest first, whatever their order', () => {
  const instants = ['2024-02-29T23:59:59.999Z', '2023-12-31T00:00:00Z', '2024-02-01T00:00:00Z', '2024-03-01T00:00:00Z'];
  const ranges = rangesOf('month', instants.map(instant));
  expect(ranges.map((range) => isoOf(range.from).slice(0, 7))).toEqual(['2023-12', '2024-02', '2024-03']);
});

test('the intersection is what both hold, and null where they only touch', () => {
  const march = { from: instant('2026-03-01T00:00:00Z'), to: instant('2026-04-01T00:00:00Z') };
  const mid = instant('2026-03-10T00:00:00Z');
  expect(intersect(march, { from: null, to: mid })).toEqual({ from: march.from, to: mid });
  expect(intersect(march, { from: mid, to: null })).toEqual({ from: mid, to: march.to });
  expect(intersect(march, { from: march.to, to: null })).toBeNull();
  expect(intersect(march, { from: null, to: march.from })).toBeNull();
});

test('calendar lengths end on days that exist', () => {
  const minus = (at: string, count: number) => isoOf(subtractPeriod(instant(at), { unit: 'year', count }));
  expect(minus('2024-02-29T12:00:00Z', 2)).toBe('2022-02-28T12:00:00.000Z');
  expect(isoOf(addPeriod(instant('2026-01-31T00:00:00Z'), { unit: 'month', count: 1 }))).toBe(
    '2026-02-28T00:00:00.000Z',
  );
});
