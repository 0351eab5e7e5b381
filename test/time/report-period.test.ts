import { describe, expect, it } from 'vitest';
import { parseInstant, toInstant } from '../../src/time/clock.ts';
import { parseReportPeriod } from '../../src/time/report-period.ts';

const now = parseInstant('2026-03-15T12:00:00Z') ?? toInstant(0);
const code = (value: string): unknown => expect.objectContaining({ code: value });

describe('parseReportPeriod', () => {
  it.each([
    ['2025-Q4', '2025-10-01', '2025-12-31'],
    ['2024', '2024-01-01', '2024-12-31'],
    ['2024-02', '2024-02-01', '2024-02-29'],
    ['2025-12', '2025-12-01', '2025-12-31'],
    ['last-full-month', '2026-02-01', '2026-02-28'],
    ['2026-01-01..2026-03-14', '2026-01-01', '2026-03-14'],
    ['2026-03-14..2026-03-14', '2026-03-14', '2026-03-14'],
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

  it('takes a period that ends exactly now', () => {
    const end = parseInstant('2026-03-01T00:00:00Z') ?? toInstant(0);
    expect(parseReportPeriod('2026-02', { now: end }).interim).toBe(false);
  });

  it.each(['', 'q1', '2026-Q5', '2026-13', '26-01', '2026-02-30..2026-03-01', '2026-03-01..2026-02-01', '2026-01-01'])(
    'refuses %j',
    (text) => {
      expect(() => parseReportPeriod(text, { now })).toThrow(code('REPORT_PERIOD'));
    },
  );

  it('refuses the future, also as interim', () => {
    expect(() => parseReportPeriod('2026-Q2', { now, interim: true })).toThrow(code('REPORT_PERIOD'));
  });

  it('takes a running period as interim only', () => {
    expect(() => parseReportPeriod('2026-03', { now })).toThrow(code('REPORT_PERIOD'));
    expect(parseReportPeriod('2026-03', { now, interim: true }).interim).toBe(true);
  });
});
