/** What the catalog says about partitions and units: plain data, read by store.ts, judged by plan.ts. */
import type { UtcInstant } from '../time/clock.ts';
import type { UnitState } from './edges.ts';
import type { FamilyName } from './policy.ts';

/** A partition that hangs below a hot table. */
export interface LeafFacts {
  /** Without its schema. */
  readonly name: string;
  readonly relation: string;
  /** Inclusive; null reaches back without end. */
  readonly from: UtcInstant | null;
  /** Exclusive; null reaches on without end. */
  readonly to: UtcInstant | null;
  /** Always empty: its rows go to the late table. */
  readonly tombstone: boolean;
  readonly sizeBytes: bigint;
  /** As the planner guesses; exact only after ANALYZE. */
  readonly estimatedRows: bigint;
  /** null for tombstones and for partitions that somebody else made. */
  readonly unit: LeafUnit | null;
}

interface LeafUnit {
  readonly unitId: bigint;
  readonly state: UnitState;
  readonly held: boolean;
  /** New rows of its range go to the late table already. */
  readonly diverted: boolean;
  /** Counted when it was sealed; null before. */
  readonly rows: bigint | null;
  /** When a restored copy is dropped; of an attached unit: when it may be archived again. */
  readonly expiresAt: UtcInstant | null;
}

/** A table or one list value of it, with its leaves from the lowest up. */
export interface BranchFacts {
  readonly table: FamilyName;
  readonly category: string | null;
  /** The relation that the leaves hang below, without its schema. */
  readonly parent: string;
  readonly leaves: readonly LeafFacts[];
}

/** A unit wherever it lies. */
export interface UnitFacts extends LeafUnit {
  readonly table: FamilyName;
  readonly category: string | null;
  readonly relation: string;
  readonly from: UtcInstant | null;
  readonly to: UtcInstant | null;
  /** PostgreSQL's text form; null while it is hot or sealed. */
  readonly archivedAt: string | null;
}

/** What can be wrong with a partition that others made or altered. */
export const FAULTS = [
  'default',
  'foreign-owner',
  'not-a-table',
  'half-detached',
  'referenced',
  'overlaps-unit',
  'altered',
] as const;

export type Fault = (typeof FAULTS)[number];

/** Nothing is wrong with any. */
export const NO_FAULTS: ReadonlyMap<string, readonly Fault[]> = new Map();
