/** Calendar arithmetic on the UTC calendar: no session, machine or daylight-saving zone can move a bound. */
import { DateTime } from 'luxon';
import { isoOf, toInstant, type UtcInstant } from './clock.ts';

/** The calendar steps that partitions are cut at. */
export type CalendarStep = 'day' | 'month';

/** A length on the calendar: two years are two years, whatever number of days they have. */
export interface Period {
  readonly unit: 'day' | 'month' | 'year';
  readonly count: number;
}

/** The first instant of the UTC day or month that holds an instant. */
export function startOfStep(step: CalendarStep, instant: UtcInstant): UtcInstant {
  return fromDateTime(utc(instant).startOf(step));
}

/** The first instant of the next UTC day or month. */
export function nextStep(step: CalendarStep, instant: UtcInstant): UtcInstant {
  return fromDateTime(
    utc(instant)
      .startOf(step)
      .plus(step === 'day' ? { days: 1 } : { months: 1 }),
  );
}

/** The instant a calendar length later; 31 January and a month is the last day of February. */
export function addPeriod(instant: UtcInstant, period: Period): UtcInstant {
  return fromDateTime(utc(instant).plus({ [`${period.unit}s`]: period.count }));
}

/** The instant a calendar length earlier. */
export function subtractPeriod(instant: UtcInstant, period: Period): UtcInstant {
  return fromDateTime(utc(instant).minus({ [`${period.unit}s`]: period.count }));
}

/** `2 years`, `1 day`: for people. */
export function describePeriod(period: Period): string {
  return `${period.count} ${period.unit}${period.count === 1 ? '' : 's'}`;
}

/** The UTC date of an instant, `2026-01-31`. */
export function utcDate(instant: UtcInstant): string {
  return isoOf(instant).slice(0, 10);
}

function utc(instant: UtcInstant): DateTime {
  return DateTime.fromMillis(instant, { zone: 'utc' });
}

function fromDateTime(value: DateTime): UtcInstant {
  return toInstant(value.toMillis());
}
