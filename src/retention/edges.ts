/**
 * The states of a unit and the edges between them, as the code knows them. The table retention.unit_edge says the same
 * with guard, who takes an edge, what its one transaction does and what a crash leaves; a test keeps the two equal, and
 * the trigger on retention.unit lets nothing else happen.
 */

/** Every state of retention.unit. */
export const UNIT_STATES = [
  'hot',
  'sealed',
  'archived',
  'copied',
  'verified',
  'locked',
  'committed',
  'quarantined',
  'dropped',
  'purge_due',
  'purge_approved',
  'purging',
  'purged',
  'split',
  'restored',
  'expired',
  'failed',
] as const;

export type UnitState = (typeof UNIT_STATES)[number];

export interface UnitEdge {
  /** new: the unit is not there yet. */
  readonly from: UnitState | 'new';
  readonly to: UnitState;
  /** A legal hold stops it. */
  readonly blockedByHold: boolean;
  /** Leads to destruction: an approved plan has to allow it. */
  readonly disposal: boolean;
}

/** Every edge but those to and from failed, which every state with an edge of its own has, but for restored. */
export const UNIT_EDGES: readonly UnitEdge[] = [
  edge('new', 'hot'),
  edge('new', 'archived'),
  edge('new', 'restored'),
  edge('hot', 'sealed'),
  edge('sealed', 'archived', 'hold'),
  edge('sealed', 'split'),
  edge('archived', 'split'),
  edge('archived', 'sealed'),
  edge('archived', 'copied'),
  edge('copied', 'verified'),
  edge('verified', 'locked'),
  edge('locked', 'committed'),
  edge('committed', 'quarantined', 'hold'),
  edge('quarantined', 'dropped', 'hold'),
  edge('archived', 'purge_due', 'hold'),
  edge('dropped', 'purge_due', 'hold'),
  edge('purge_due', 'purge_approved', 'disposal'),
  edge('purge_due', 'archived'),
  edge('purge_approved', 'archived'),
  edge('purge_approved', 'quarantined', 'disposal'),
  edge('purge_approved', 'purging', 'disposal'),
  edge('quarantined', 'archived'),
  edge('quarantined', 'purging', 'disposal'),
  edge('purging', 'purged'),
  edge('restored', 'expired'),
];

/** What is destroyed is also what a hold protects. */
function edge(from: UnitEdge['from'], to: UnitState, blocked: 'free' | 'hold' | 'disposal' = 'free'): UnitEdge {
  return { from, to, blockedByHold: blocked !== 'free', disposal: blocked === 'disposal' };
}
