/** Colours and patterns of statuses. Neither carries a meaning alone: the word stands beside it. */
import type { Pattern } from '../../pdf/bars.ts';
import type { RequirementStatus } from '../model/status.ts';

/** Dark enough for white text on it: contrast of at least 4.5 (WCAG 2.2, 1.4.3). */
export const STATUS_COLOR: Readonly<Record<RequirementStatus, string>> = {
  pass: '#1d7044',
  pass_with_waiver: '#5f6f00',
  fail: '#b3261e',
  error: '#7a1fa2',
  insufficient_data: '#8a5a00',
  stale: '#9c4a12',
  no_occurrences: '#41607f',
  not_applicable: '#5f6b78',
  manual_pending: '#5f6b78',
};

/** Classes of age, the youngest first: darker is older; the last is for those without a time. */
export const AGE_LOOKS: readonly { readonly color: string; readonly pattern: Pattern }[] = [
  { color: '#9dbcdc', pattern: 'plain' },
  { color: '#5a88b8', pattern: 'plain' },
  { color: '#2c5a91', pattern: 'plain' },
  { color: '#12294a', pattern: 'plain' },
];
export const NO_AGE_LOOK: { readonly color: string; readonly pattern: Pattern } = {
  color: '#8b96a3',
  pattern: 'rising',
};

/** What statuses look like in charts to those who do not see the colours apart. */
export const STATUS_PATTERN: Readonly<Record<RequirementStatus, Pattern>> = {
  pass: 'plain',
  pass_with_waiver: 'upright',
  fail: 'rising',
  error: 'crossed',
  insufficient_data: 'falling',
  stale: 'level',
  no_occurrences: 'plain',
  not_applicable: 'level',
  manual_pending: 'upright',
};
