/** When transactions are due for anonymization and when the result may be called anonymous. Pure. */
import { AuditkeepError } from '../errors.ts';
import { isoOf, parseInstant, toInstant, type UtcInstant } from '../time/clock.ts';

/** Transactions are kept as they are for this long. */
const POLICY_YEARS = 2;

export interface RiskThresholds {
  /** A row is called anonymous only when it shares what is left with at least k - 1 others. */
  readonly k: number;
  /** The largest share of rows that a chain-join attacker may link with certainty. */
  readonly uniquelyLinkedShare: number;
}

export const RISK_THRESHOLDS: RiskThresholds = { k: 5, uniquelyLinkedShare: 0.01 };

/**
 * The instant before which transactions are due, ISO 8601: the start of the UTC day two years ago, or the start of the
 * day given. Whole days only: half a day processed now and half tomorrow would stand in classes of half the size.
 * @param before `2024-01-31` or an instant; null for the policy's age
 * @throws INPUT_INVALID when before is malformed or in the future
 */
export function cutoffOf(now: UtcInstant, before: string | null): string {
  if (before === null) return isoOf(startOfDay(yearsBefore(now, POLICY_YEARS)));
  const instant = parseInstant(/^\d{4}-\d{2}-\d{2}$/.test(before) ? `${before}T00:00:00Z` : before);
  if (instant === null || instant > now) {
    throw new AuditkeepError('INPUT_INVALID', {
      message: instant === null ? `not a day: ${before}` : `${before} is in the future`,
      hint: 'give a past UTC day such as 2024-01-31',
    });
  }
  return isoOf(startOfDay(instant));
}

/** Whether a measured set may be called anonymous. */
export function passesGate(measured: { rows: number; uniquelyLinked: number }, thresholds: RiskThresholds): boolean {
  return measured.rows === 0 || measured.uniquelyLinked <= thresholds.uniquelyLinkedShare * measured.rows;
}

function startOfDay(instant: UtcInstant): UtcInstant {
  const dayMs = 86_400_000;
  return toInstant(Math.floor(instant / dayMs) * dayMs);
}

/** 29 February becomes 1 March in a year without one. */
function yearsBefore(instant: UtcInstant, years: number): UtcInstant {
  const date = new Date(instant);
  date.setUTCFullYear(date.getUTCFullYear() - years);
  return toInstant(date.getTime());
}
