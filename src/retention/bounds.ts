/** Where partitions begin and end: half-open ranges on the UTC calendar. Pure. */
import type { UtcInstant } from '../time/clock.ts';
import { type CalendarStep, nextStep, startOfStep } from '../time/period.ts';

/** [from, to) */
export interface TimeRange {
  readonly from: UtcInstant;
  readonly to: UtcInstant;
}

/** The calendar day or month that holds an instant. */
export function rangeAt(step: CalendarStep, instant: UtcInstant): TimeRange {
  return { from: startOfStep(step, instant), to: nextStep(step, instant) };
}

/**
 * Contiguous ranges from exactly `from` until one reaches `until`. Where `from` lies off the calendar grid (an adopted
 * partition ended there) the first range is short and ends on it; every other range is a whole day or month.
 */
export function rangesFrom(step: CalendarStep, from: UtcInstant, until: UtcInstant): readonly TimeRange[] {
  const ranges: TimeRange[] = [];
  let at = from;
  while (at < until) {
    const to = nextStep(step, at);
    ranges.push({ from: at, to });
    at = to;
  }
  return ranges;
}

/** The distinct calendar ranges that a set of instants needs, oldest first. */
export function rangesOf(step: CalendarStep, instants: readonly UtcInstant[]): readonly TimeRange[] {
  const byStart = new Map<UtcInstant, TimeRange>();
  for (const instant of instants) {
    const range = rangeAt(step, instant);
    byStart.set(range.from, range);
  }
  return [...byStart.values()].sort((a, b) => a.from - b.from);
}

/**
 * What of a range lies within another, or null when they only touch or lie apart. A null end of `within` is unbounded.
 */
export function intersect(
  range: TimeRange,
  within: { readonly from: UtcInstant | null; readonly to: UtcInstant | null },
): TimeRange | null {
  const from = within.from !== null && within.from > range.from ? within.from : range.from;
  const to = within.to !== null && within.to < range.to ? within.to : range.to;
  return from < to ? { from, to } : null;
}

/** Whether an instant lies within a range; a null end is unbounded. */
export function contains(
  range: { readonly from: UtcInstant | null; readonly to: UtcInstant | null },
  instant: UtcInstant,
): boolean {
  return (range.from === null || range.from <= instant) && (range.to === null || instant < range.to);
}
