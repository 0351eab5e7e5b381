import { describe, expect, it } from 'vitest';
import { parseInstant, toInstant } from '../../src/time/clock.ts';
import { lastEnded, lastEndedQuarter, parseReportPeriod } from '../../src/time/report-period.ts';

const at = (text: string) => parseInstant(text) ?? toInstant(Number.NaN);
const now = at('2026-03-15T12:00:00Z');
const code = (value: string): unknown => expect.objectContaining({ code: value });

describe('parseReportPeriod', () => {
  it.each([
    ['2025-Q4', '2025-10-01', '2025-12-31'],
    ['2024', '2024-01-01', '2024-12-31'],
    ['2024-02', '2024-02-01', '2024-02-29'],
    ['2025-12', '2025-12-01', '2025-12-31'],
    ['last-full-month', '2026-02-01', '2026-02-28'],
    ['FY2025', '2025-01-01', '2025-12-31'],
    ['2026-01-01..2026-03-13', '2026-01-01', '2026-03-13'],
    ['2026-03-13..2026-03-13', '2026-03-13', '2026-03-13'],
  ])('reads %s as %s to %s', (text, startDate, endDate) => {
    expect(parseReportPeriod(text, { now })).toMatchObject({ startDate, endDate, zone: 'UTC', interim: false });
  });

  it('gives half-open instants', () => {
    const { startAt, endAt } = parseReportPeriod('2024-02', { now });
    expect([startAt, endAt]).toEqual([Date.UTC(2024, 1, 1), Date.UTC(2024, 2, 1)]);
  });

  it('reads last-full-month in January as December', () => {
    const january = parseInstant('2026-01-31T23:59:59Z') ?? toInstant(0);
    expect(parseReportPeriod('last-full-month', { now: january })).toMatchObject({ startDate: '2025-12-01' });
  });

  it('leaves a period 24 hours to come in, to the millisecond', () => {
    const over = at('2026-03-02T00:00:00Z');
    expect(parseReportPeriod('2026-02', { now: over }).interim).toBe(false);
    const before = toInstant(over - 1);
    expect(() => parseReportPeriod('2026-02', { now: before })).toThrow(/not ended 24 hours ago/);
    expect(parseReportPeriod('2026-02', { now: before, interim: true }).interim).toBe(true);
    expect(() => parseReportPeriod('last-full-month', { now: at('2026-03-01T12:00:00Z') })).toThrow(
      expect.objectContaining({ hint: expect.stringContaining('2026-03-02T00:00:00Z') as string }),
    );
  });

  it.each([
    ['FY2025', 4, '2024-04-01', '2025-03-31'],
    ['FY2025', 10, '2024-10-01', '2025-09-30'],
    ['FY2025', 12, '2024-12-01', '2025-11-30'],
    ['FY2024', 3, '2023-03-01', '2024-02-29'],
  ])('reads %s of years that start in month %i as %s to %s', (text, fiscalYearStart, startDate, endDate) => {
    expect(parseReportPeriod(text, { now, fiscalYearStart })).toMatchObject({ startDate, endDate });
  });

  it('refuses a fiscal year that runs, and one that has not begun', () => {
    expect(() => parseReportPeriod('FY2026', { now, fiscalYearStart: 4 })).toThrow(/has not ended/);
    expect(() => parseReportPeriod('FY2027', { now, fiscalYearStart: 4, interim: true })).toThrow(/future/);
  });

  it.each(['2025-03-29..2025-03-31', '2025-10-25..2025-10-27', '2025'])(
    'counts 24 hours a day in %s, whatever clocks were put forward or back',
    (text) => {
      const { startAt, endAt, startDate, endDate } = parseReportPeriod(text, { now });
      const days = (Date.parse(endDate) - Date.parse(startDate)) / 86_400_000 + 1;
      expect([startAt % 86_400_000, endAt - startAt]).toEqual([0, days * 86_400_000]);
    },
  );

  it.each([
    '',
    'q1',
    '2026-Q5',
    '2026-13',
    '26-01',
    '2026-02-30..2026-03-01',
    '2026-03-01..2026-02-01',
    '2026-01-01',
    'FY26',
    'fy2025',
  ])('refuses %j', (text) => {
    expect(() => parseReportPeriod(text, { now })).toThrow(code('REPORT_PERIOD'));
  });

  it('refuses the future, also as interim', () => {
    expect(() => parseReportPeriod('2026-Q2', { now, interim: true })).toThrow(code('REPORT_PERIOD'));
  });

  it('takes a running period as interim only', () => {
    expect(() => parseReportPeriod('2026-03', { now })).toThrow(code('REPORT_PERIOD'));
    expect(parseReportPeriod('2026-03', { now, interim: true }).interim).toBe(true);
  });
});

describe('lastEnded', () => {
  it.each([
    ['monthly', '2026-01-01T00:00:00Z', 1, '2025-12'],
    ['monthly', '2026-03-31T23:59:59Z', 1, '2026-02'],
    ['quarterly', '2026-01-01T00:00:00Z', 1, '2025-Q4'],
    ['quarterly', '2026-06-30T23:59:59Z', 1, '2026-Q1'],
    ['quarterly', '2026-07-01T00:00:00Z', 4, '2026-Q2'],
    ['yearly', '2026-01-01T00:00:00Z', 1, 'FY2025'],
    ['yearly', '2026-12-31T23:59:59Z', 1, 'FY2025'],
    ['yearly', '2026-03-31T23:59:59Z', 4, 'FY2025'],
    ['yearly', '2026-04-01T00:00:00Z', 4, 'FY2026'],
    ['yearly', '2026-12-01T00:00:00Z', 12, 'FY2026'],
  ] as const)('%s at %s, years from month %i: %s', (frequency, when, fiscalYearStart, text) => {
    expect(lastEnded(frequency, at(when), fiscalYearStart)).toBe(text);
    const { endAt } = parseReportPeriod(text, { now: at(when), fiscalYearStart, interim: true });
    expect(endAt).toBeLessThanOrEqual(at(when));
  });
});

describe('lastEndedQuarter', () => {
  it.each([
    ['2026-02-01T00:00:00Z', '2026-04-01T12:00:00Z', '2025-Q4'],
    ['2026-02-01T00:00:00Z', '2026-04-02T00:00:00Z', '2026-Q1'],
    ['2025-05-01T00:00:00Z', '2026-04-02T00:00:00Z', '2025-Q2'],
  ])('of %s at %s is %s, of which a report can be made', (when, nowText, text) => {
    expect(lastEndedQuarter(at(when), at(nowText))).toBe(text);
    expect(parseReportPeriod(text, { now: at(nowText) }).interim).toBe(false);
  });
});
