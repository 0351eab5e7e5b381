/** Sizes and colours of a report. A colour never carries a meaning alone: the word stands beside it. */
import type { RequirementStatus } from '../status.ts';

/** A4 in points, with room for the footer inside the bottom margin. */
export const PAGE = { width: 595.28, height: 841.89, left: 56, right: 56, top: 62, bottom: 66 } as const;
export const CONTENT_WIDTH = PAGE.width - PAGE.left - PAGE.right;

export const COLOR = {
  ink: '#1b2430',
  quiet: '#5a6675',
  line: '#d5dbe3',
  shade: '#f3f5f8',
  brand: '#14365c',
  paper: '#ffffff',
} as const;

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

export const FONT = { regular: 'sans', bold: 'sans-bold', mono: 'mono' } as const;
