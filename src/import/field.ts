/** Forms that single fields must have before they may enter a column. */
import { isIP } from 'node:net';
import { parseInstant, type UtcInstant } from '../time/clock.ts';
import { RecordRejected } from './rejection.ts';

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
/**
 * A word of a vocabulary: no space, `@`, `:` or `/`, and no run of nine digits, so that no e-mail address, IP address, ARN,
 * account or phone number has this form. A name of a person can have it (`alice`, `Alice.Smith`), and so can the name of a
 * person's machine: what a source puts where a word belongs is for whoever sets the source up to see to.
 */
const WORD = /^[A-Za-z](?!.*\d{9})[A-Za-z0-9_.-]{0,63}$/;
const VERSION = /^(?!.*\d{9})[A-Za-z0-9][A-Za-z0-9_.+-]{0,31}$/;

const YEAR_1 = Date.parse('0001-01-01T00:00:00.000Z');
const YEAR_10000 = Date.UTC(10000, 0, 1);
/** Clocks of other systems may run ahead by this much; beyond, a time is wrong rather than early. */
const FUTURE_TOLERANCE_MS = 24 * 60 * 60 * 1000;

/** An instant with all its digits (microseconds) beside the milliseconds to compute with. */
export interface EventTime {
  readonly instant: UtcInstant;
  /** ISO 8601 in UTC with six digits of the second. Finer digits are cut, as PostgreSQL has none. */
  readonly text: string;
}

/**
 * Reads an instant of a record.
 * @throws RecordRejected TIME_INVALID for anything but an instant with a zone in years 1 to 9999; TIME_FUTURE when it is
 * more than a day after now
 */
export function parseEventTime(value: unknown, now: UtcInstant, field: string): EventTime {
  const instant = typeof value === 'string' ? parseInstant(value) : null;
  if (typeof value !== 'string' || instant === null || instant < YEAR_1 || instant >= YEAR_10000) {
    throw new RecordRejected('TIME_INVALID', field);
  }
  if (instant > now + FUTURE_TOLERANCE_MS) throw new RecordRejected('TIME_FUTURE', field);
  const micros = /\.\d{3}(\d{1,3})/.exec(value)?.[1]?.padEnd(3, '0') ?? '000';
  return { instant, text: `${new Date(instant).toISOString().slice(0, -1)}${micros}Z` };
}

/** Lower-case UUID, or null when the value is none. */
export function parseUuid(value: unknown): string | null {
  return typeof value === 'string' && UUID.test(value) ? value.toLowerCase() : null;
}

/** Whether a text is an IP address as PostgreSQL's inet reads it (no zone as in fe80::1%eth0). */
export function isAddress(text: string): boolean {
  return !text.includes('%') && isIP(text) !== 0;
}

/** Whether a text may stand in a column that every reader of the chain sees: a word of a vocabulary. */
export function isWord(text: string): boolean {
  return WORD.test(text);
}

/** Whether a text is a version number or name, and no IP address. */
export function isVersion(text: string): boolean {
  return VERSION.test(text) && isIP(text) === 0;
}

/** A word for a bare column. @throws RecordRejected FIELD_MISSING, FIELD_TOO_LONG, FIELD_INVALID */
export function requireWord(value: unknown, field: string): string {
  if (value === undefined || value === null || value === '') throw new RecordRejected('FIELD_MISSING', field);
  if (typeof value === 'string' && value.length > 64) throw new RecordRejected('FIELD_TOO_LONG', field);
  if (typeof value !== 'string' || !isWord(value)) throw new RecordRejected('FIELD_INVALID', field);
  return value;
}

/** Whether a text fits varchar(max), which counts code points. */
export function fits(text: string, max: number): boolean {
  return text.length <= max || (text.length <= 2 * max && [...text].length <= max);
}
