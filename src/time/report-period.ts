/**
 * The period a report covers, from the words a person types: `2026-Q2`, `FY2026`, `2026`, `2026-05`, `last-full-month`,
 * or two inclusive dates `2026-01-01..2026-03-31`. Days are days of the UTC calendar, so each has 24 hours.
 */
import { AuditkeepError } from '../errors.ts';
import { isoOf, secondsOf, toInstant, type UtcInstant } from './clock.ts';

/** A whole number of UTC days, both as printed (inclusive dates) and as computed with (half-open instants). */
export interface ReportPeriod {
  /** First and last day, inclusive, `YYYY-MM-DD`. */
  readonly startDate: string;
  readonly endDate: string;
  /** [startAt, endAt): the instants the days stand for. */
  readonly startAt: UtcInstant;
  readonly endAt: UtcInstant;
  readonly zone: 'UTC';
  /** True when the period still ran, or had ended less than REPORT_GRACE_MS ago: what belongs to it may still come in. */
  readonly interim: boolean;
}

const DAY_MS = 86_400_000;
const HINT = 'give 2026-Q2, FY2026, 2026, 2026-05, last-full-month, or two dates such as 2026-01-01..2026-03-31';

/** How long after its end a period is left to come in before a report of it is final. */
const REPORT_GRACE_MS = DAY_MS;

/** How often reports of a framework are made. */
export const FREQUENCIES = ['monthly', 'quarterly', 'yearly'] as const;
export type Frequency = (typeof FREQUENCIES)[number];

export interface PeriodOptions {
  readonly now: UtcInstant;
  readonly interim?: boolean;
  /** Month (1 to 12) in which a fiscal year starts; it is named after the calendar year in which it ends. 1 unless given. */
  readonly fiscalYearStart?: number;
}

/**
 * Reads a period.
 * @throws REPORT_PERIOD when the text is no period, ends before it starts, lies in the future, or still runs (or ended
 *   less than REPORT_GRACE_MS ago) and interim was not asked for.
 */
export function parseReportPeriod(text: string, options: PeriodOptions): ReportPeriod {
  const span = spanOf(text.trim(), options.now, options.fiscalYearStart ?? 1);
  if (span === null) throw refused(`'${text}' is not a period`, HINT);
  const [startMs, endMs] = span;
  if (startMs >= endMs) throw refused(`the period '${text}' ends before it starts`, HINT);
  const finalAt = toInstant(endMs + REPORT_GRACE_MS);
  const interim = finalAt > options.now;
  if (startMs > options.now) throw refused(`the period '${text}' lies in the future`, 'give a period that has begun');
  if (interim && options.interim !== true) {
    throw refused(
      `the period '${text}' has not ended${endMs > options.now ? '' : ' 24 hours ago'}`,
      `wait until ${secondsOf(isoOf(finalAt))}, or add --interim for a report that cannot be approved`,
    );
  }
  return {
    startDate: dateOf(startMs),
    endDate: dateOf(endMs - DAY_MS),
    startAt: toInstant(startMs),
    endAt: toInstant(endMs),
    zone: 'UTC',
    interim,
  };
}

/** The quarter that holds an instant, or the last one that a report can be made of now where that one still runs: `2026-Q2`. */
export function lastEndedQuarter(at: UtcInstant, now: UtcInstant): string {
  const last = quarterIndex(toInstant(now - REPORT_GRACE_MS)) - 1;
  return quarterText(Math.min(quarterIndex(at), last));
}

/** The last period of a frequency that had ended at an instant: `2026-05`, `2026-Q2` or `FY2026`. */
export function lastEnded(frequency: Frequency, at: UtcInstant, fiscalYearStart: number): string {
  const [year, month] = [new Date(at).getUTCFullYear(), new Date(at).getUTCMonth()];
  switch (frequency) {
    case 'monthly':
      return dateOf(utcMs(year, month - 1)).slice(0, 7);
    case 'quarterly':
      return quarterText(quarterIndex(at) - 1);
    case 'yearly':
      // From the month in which a new one starts, the one named after this year has ended; one from January ends with it.
      return `FY${fiscalYearStart > 1 && month >= fiscalYearStart - 1 ? year : year - 1}`;
  }
}

function quarterIndex(at: UtcInstant): number {
  const date = new Date(at);
  return date.getUTCFullYear() * 4 + Math.floor(date.getUTCMonth() / 3);
}

function quarterText(index: number): string {
  return `${Math.floor(index / 4)}-Q${(index % 4) + 1}`;
}

function spanOf(text: string, now: UtcInstant, fiscalYearStart: number): readonly [number, number] | null {
  if (text === 'last-full-month') return lastFullMonth(now);
  const fiscal = /^FY(\d{4})$/.exec(text);
  if (fiscal !== null) return months(Number(fiscal[1]) - (fiscalYearStart > 1 ? 1 : 0), fiscalYearStart - 1, 12);
  const quarter = /^(\d{4})-Q([1-4])$/.exec(text);
  if (quarter !== null) return months(Number(quarter[1]), (Number(quarter[2]) - 1) * 3, 3);
  const year = /^(\d{4})$/.exec(text);
  if (year !== null) return months(Number(year[1]), 0, 12);
  const month = /^(\d{4})-(0[1-9]|1[0-2])$/.exec(text);
  if (month !== null) return months(Number(month[1]), Number(month[2]) - 1, 1);
  const dates = /^(\d{4}-\d{2}-\d{2})\.\.(\d{4}-\d{2}-\d{2})$/.exec(text);
  if (dates === null) return null;
  const first = dayMs(dates[1] ?? '');
  const last = dayMs(dates[2] ?? '');
  return first === null || last === null ? null : [first, last + DAY_MS];
}

function lastFullMonth(now: UtcInstant): readonly [number, number] {
  const today = new Date(now);
  return months(today.getUTCFullYear(), today.getUTCMonth() - 1, 1);
}

function months(year: number, firstMonth: number, count: number): readonly [number, number] {
  return [utcMs(year, firstMonth), utcMs(year, firstMonth + count)];
}

/** Date.UTC reads years 0 to 99 as 1900 to 1999; setUTCFullYear does not. */
function utcMs(year: number, month: number): number {
  return new Date(0).setUTCFullYear(year, month, 1);
}

function dayMs(text: string): number | null {
  const ms = Date.parse(`${text}T00:00:00Z`);
  return Number.isNaN(ms) || dateOf(ms) !== text ? null : ms;
}

function dateOf(ms: number): string {
  return isoOf(toInstant(ms)).slice(0, 10);
}

function refused(message: string, hint: string): AuditkeepError {
  return new AuditkeepError('REPORT_PERIOD', { message, hint });
}
