/**
 * The report's state machine, as compliance.report_transition (migration 0042) has it; a test keeps the two equal.
 * draft -> pending_review -> reviewed -> approved -> archived; a rejection goes back to draft, a recall voids the review.
 */
import type { Meaning } from '../../persons/decision.ts';
import type { Role } from '../../persons/roles.ts';

export type ReportStatus = 'draft' | 'pending_review' | 'reviewed' | 'approved' | 'archived';
export type Part = 'preparer' | 'reviewer' | 'approver';

export interface Transition {
  readonly meaning: Meaning;
  readonly from: ReportStatus;
  readonly to: ReportStatus;
  readonly role: Role;
  /** Taken once a person and report root; null for archiving, which judges nothing. */
  readonly part: Part | null;
}

const archive = (meaning: Meaning, from: ReportStatus): Transition => ({
  meaning,
  from,
  to: 'archived',
  role: 'records_manager',
  part: null,
});

export const TRANSITIONS: readonly Transition[] = [
  { meaning: 'submit', from: 'draft', to: 'pending_review', role: 'preparer', part: 'preparer' },
  { meaning: 'review', from: 'pending_review', to: 'reviewed', role: 'reviewer', part: 'reviewer' },
  { meaning: 'reject', from: 'pending_review', to: 'draft', role: 'reviewer', part: 'reviewer' },
  { meaning: 'reject', from: 'reviewed', to: 'draft', role: 'approver', part: 'approver' },
  { meaning: 'recall', from: 'reviewed', to: 'pending_review', role: 'reviewer', part: 'reviewer' },
  { meaning: 'approve', from: 'reviewed', to: 'approved', role: 'approver', part: 'approver' },
  archive('archive-distributed', 'approved'),
  archive('archive-superseded', 'draft'),
  archive('archive-superseded', 'approved'),
  archive('archive-withdrawn', 'draft'),
  archive('archive-withdrawn', 'pending_review'),
  archive('archive-withdrawn', 'reviewed'),
  archive('archive-withdrawn', 'approved'),
];

/** The transition that a meaning is in a status, or null. */
export function transitionOf(meaning: Meaning, from: ReportStatus): Transition | null {
  return TRANSITIONS.find((step) => step.meaning === meaning && step.from === from) ?? null;
}
