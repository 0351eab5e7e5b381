/** Colours of statuses. A colour never carries a meaning alone: the word stands beside it. */
import type { RequirementStatus } from '../status.ts';

/** Dark enough for white text on it: contrast of at least 4.5 (WCAG 2.2, 1.4.3). */
export const STATUS_COLOR: Readonly<Record<RequirementStatus, string>> = {
  pass: '#1d7044',
  pass_with_waiver: '#4d6b1e',
  fail: '#b3261e',
  error: '#7a1fa2',
  insufficient_data: '#8a5a00',
  stale: '#8a5a00',
  no_occurrences: '#41607f',
  not_applicable: '#5f6b78',
  manual_pending: '#5f6b78',
};
