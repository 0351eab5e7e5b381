/** The clock that Context carries, and the instants the rest of the code computes with. */

/** Milliseconds since 1970-01-01T00:00:00Z, an integer. */
export type UtcInstant = number & { readonly __brand: 'UtcInstant' };

/** Where "now" comes from. Nothing else in the product reads the system's clock. */
export interface Clock {
  now(): UtcInstant;
}

/** The machine's clock. */
export const systemClock: Clock = { now: () => toInstant(Date.now()) };

/** Brands integer milliseconds since the Unix epoch. */
export function toInstant(epochMs: number): UtcInstant {
  if (!Number.isSafeInteger(epochMs)) throw new RangeError(`not an instant in milliseconds: ${epochMs}`);
  return epochMs as UtcInstant;
}

/** ISO 8601 in UTC with milliseconds, as PostgreSQL reads it: `2026-01-31T00:00:00.000Z`. */
export function isoOf(instant: UtcInstant): string {
  return new Date(instant).toISOString();
}

/** The same text form for people, whatever the text's own: `2026-01-31T00:00:00Z`; a text that is no instant stays. */
export function secondsOf(text: string): string {
  const instant = parseInstant(text);
  return instant === null ? text : `${isoOf(instant).slice(0, 19)}Z`;
}

/**
 * Reads an ISO 8601 instant or PostgreSQL's text form of timestamptz (`2026-01-31 00:00:00.123456+00`), cut to
 * milliseconds; null when the text is neither. A text without a zone is not an instant and gives null.
 */
export function parseInstant(text: string): UtcInstant | null {
  const match = /^(\d{4})-(\d{2})-(\d{2})[T ](\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,9}))?(Z|[+-]\d{2}(?::?\d{2})?)$/.exec(
    text,
  );
  if (match === null) return null;
  const [, year, month, day, hour, minute, second, fraction, zone] = match;
  const offset = zone === 'Z' ? 'Z' : `${zone?.slice(0, 3)}:${zone?.slice(3).replace(':', '') || '00'}`;
  const milliseconds = (fraction ?? '').padEnd(3, '0').slice(0, 3);
  const epochMs = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}.${milliseconds}${offset}`);
  if (Number.isNaN(epochMs) || !isCalendarDay(Number(year), Number(month), Number(day))) return null;
  return toInstant(epochMs);
}

/** Date.parse accepts 30 February and moves it to March; a calendar day that does not exist is refused here. */
function isCalendarDay(year: number, month: number, day: number): boolean {
  const date = new Date(Date.UTC(2000, month - 1, day));
  date.setUTCFullYear(year, month - 1, day);
  return date.getUTCFullYear() === year && date.getUTCMonth() === month - 1 && date.getUTCDate() === day;
}
