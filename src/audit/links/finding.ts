/** What a verification reports. The names and the shape are a contract with scripts (chain verify --json). */

/** Every class of finding; which one a row gets is decided in judge.ts and link-walk.ts, first match wins. */
const FINDING_CLASSES = [
  'modified',
  'rehashed',
  'deleted',
  'inserted',
  'reordered',
  'truncated',
  'head-cut',
  'rewritten',
  'forked',
  'unsealed',
  'erased-without-record',
  'commitment-broken',
  'checkpoint-invalid',
  'rolled-back',
  'doubled',
  'purged-without-certificate',
  'unprotected',
] as const;

export type FindingClass = (typeof FINDING_CLASSES)[number];

export interface Finding {
  readonly class: FindingClass;
  /** The link's place; null where no link is concerned. */
  readonly seq: number | null;
  readonly eventId: string | null;
  /** `schema.table` of the partition that the row lies in; null where there is no row. */
  readonly partition: string | null;
  /** What the chain, the signer or the design says: a hash in hex, a size, or words. */
  readonly expected: string | null;
  readonly actual: string | null;
  /** The last checkpoint that still fits and the first that does not, by size. */
  readonly checkpointFrom: number | null;
  readonly checkpointTo: number | null;
}

/** How much of the chain a run looks at, the least first. */
export const VERIFY_LEVELS = ['head', 'incremental', 'rolling', 'full'] as const;

export type VerifyLevel = (typeof VERIFY_LEVELS)[number];

/** What a full run made of the units that an interrupted one had read. */
export interface Resumed {
  /** Units that were taken over, and their events. */
  readonly units: number;
  readonly events: number;
  /** When the interrupted run began, ISO 8601; null when that cannot be read. */
  readonly startedAt: string | null;
  /** Units that were read again: changed, moved, or read too long ago. */
  readonly readAgain: number;
  /** Why nothing was taken over, in words; null when something could be. */
  readonly ignored: string | null;
}

export interface Verification {
  readonly level: VerifyLevel;
  /** Events whose leaf was recomputed; in a run that goes on from an interrupted one, by either. */
  readonly checked: number;
  /** The links walked: seq in [from, to). */
  readonly from: number;
  readonly to: number;
  /** True when there is no finding. */
  readonly intact: boolean;
  /**
   * True when a checkpoint kept outside the database covers part of the chain and fits: one with a quorum of cosignatures
   * where witnesses are configured, otherwise the one in the signer's store.
   */
  readonly anchored: boolean;
  readonly findings: readonly Finding[];
  /** Events with an envelope, checked by commitment only; groups erased with a record; committed but not linked yet. */
  readonly sealed: number;
  readonly erased: number;
  readonly purged: number;
  readonly pending: number;
  /** Null when there was nothing to go on from; always at the levels below full. */
  readonly resumed: Resumed | null;
}

/** A finding with everything that is not given absent. */
export function finding(kind: FindingClass, facts: Partial<Omit<Finding, 'class'>>): Finding {
  const absent = { seq: null, eventId: null, partition: null, expected: null, actual: null };
  return { class: kind, ...absent, checkpointFrom: null, checkpointTo: null, ...facts };
}
