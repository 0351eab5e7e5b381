/** What may be destroyed: policy in force + units + holds + now -> a plan with its hash. Pure. */
import { z } from 'zod';
import { canonicalJson } from '../canonical-json.ts';
import { isoOf, type UtcInstant } from '../time/clock.ts';
import { addPeriod, describePeriod } from '../time/period.ts';
import { textHash } from './hold.ts';
import type { PlanUnit } from './plan.ts';
import { FAMILIES, type FamilyName, type PolicyRule, type PurgeLimits, wholePeriod } from './policy.ts';
import type { PolicyVersion } from './policy-store.ts';

const PLAN_FORMAT = 'auditkeep-purge-plan/v1';

/** What the database says about a unit that has left the hot tables. */
export interface PurgeFacts {
  readonly unitId: bigint;
  readonly table: FamilyName;
  readonly category: string | null;
  readonly partition: string;
  readonly from: UtcInstant | null;
  readonly to: UtcInstant;
  readonly generation: number;
  readonly state: string;
  readonly bytes: bigint;
  /** What its manifest says; null: it has none. */
  readonly sealed: { readonly rows: bigint; readonly fingerprint: string } | null;
  readonly held: boolean;
  /** Some of its rows have to stay longer than the policy says. */
  readonly hasLongerRows: boolean;
}

export interface PurgeScope {
  readonly table?: FamilyName | undefined;
  /** Units that end at or before this instant. */
  readonly before?: UtcInstant | undefined;
}

/** A plan of destruction; the hash covers the units without blockers. */
export interface PurgePlan {
  readonly planHash: string;
  /** Canonical text, of which planHash is the SHA-256. */
  readonly document: string;
  /** Everything that is due, also what is blocked. */
  readonly units: readonly PlanUnit[];
}

export interface PurgeInput {
  readonly version: PolicyVersion;
  readonly facts: readonly PurgeFacts[];
  /** Hashes of the holds in force, of all tables or with the table that they name. */
  readonly holds: readonly { readonly sha256: string; readonly table: string | null }[];
  readonly now: UtcInstant;
  readonly scope: PurgeScope;
}

/** The units whose whole period is over and whose disposition is destruction. */
export function planPurge(input: PurgeInput): PurgePlan {
  const due = input.facts.flatMap((facts) => {
    const rule = input.version.policy.rules.find(
      (candidate) => candidate.table === facts.table && candidate.category === facts.category,
    );
    if (rule === undefined || !isDue(rule, facts, input)) return [];
    return [{ facts, line: lineOf(rule, facts) }];
  });
  const going = due.filter(({ line }) => line.blockers.length === 0).map(({ facts }) => facts);
  const document = purgeText(input, going);
  return { planHash: textHash(document), document, units: due.map(({ line }) => line) };
}

function isDue(rule: PolicyRule, facts: PurgeFacts, { now, scope }: PurgeInput): boolean {
  if (scope.table !== undefined && scope.table !== facts.table) return false;
  if (scope.before !== undefined && facts.to > scope.before) return false;
  const whole = wholePeriod(rule);
  return rule.disposition === 'purge' && whole !== null && addPeriod(facts.to, whole) <= now && isReviewable(facts);
}

/** In the archive, or on the way out without a plan. */
function isReviewable({ state }: PurgeFacts): boolean {
  return state === 'archived' || state === 'purge_due' || state === 'failed';
}

function lineOf(rule: PolicyRule, facts: PurgeFacts): PlanUnit {
  const whole = wholePeriod(rule);
  const blockers: PlanUnit['blockers'][number][] = [];
  if (facts.held) blockers.push('held');
  if (facts.hasLongerRows) blockers.push('rows-not-due');
  if (facts.sealed === null) blockers.push('no-manifest');
  if (facts.state === 'failed') blockers.push('failed-before');
  return {
    ...{ table: facts.table, category: facts.category, partition: facts.partition, from: facts.from, to: facts.to },
    ...{ rows: facts.sealed?.rows ?? 0n, bytes: facts.bytes, action: 'purge', blockers },
    policy: `destroyed after ${whole === null ? 'ever' : describePeriod(whole)} (${rule.citation})`,
    ...{ unitId: facts.unitId, state: null, sealedRows: facts.sealed?.rows ?? null },
  };
}

/** What two persons sign the hash of. Sizes, estimates and times stay outside. */
function purgeText({ version, holds }: PurgeInput, going: readonly PurgeFacts[]): string {
  const tables = new Set<string>(going.map((facts) => facts.table));
  const concerned = holds.filter(({ table }) => table === null || tables.has(table));
  return canonicalJson({
    format: PLAN_FORMAT,
    policy: { version: version.version, sha256: version.sha256 },
    holds: concerned.map(({ sha256 }) => sha256).sort(),
    units: going
      .toSorted((a, b) => Number(a.unitId - b.unitId))
      .map((facts) => ({
        unit_id: Number(facts.unitId),
        table: facts.table,
        category: facts.category,
        partition: facts.partition,
        from: facts.from === null ? null : isoOf(facts.from),
        to: isoOf(facts.to),
        generation: facts.generation,
        rows: Number(facts.sealed?.rows ?? 0n),
        fingerprint: facts.sealed?.fingerprint ?? '',
        action: 'purge',
      })),
  });
}

const documentSchema = z.strictObject({
  format: z.literal(PLAN_FORMAT),
  policy: z.strictObject({ version: z.int(), sha256: z.string() }),
  holds: z.array(z.string()),
  units: z.array(
    z.strictObject({
      unit_id: z.int(),
      table: z.enum(FAMILIES),
      category: z.string().nullable(),
      partition: z.string(),
      from: z.string().nullable(),
      to: z.string(),
      generation: z.int(),
      rows: z.int(),
      fingerprint: z.string(),
      action: z.literal('purge'),
    }),
  ),
});
export type PlanDocument = z.infer<typeof documentSchema>;

/** Reads a stored plan; null unless it is canonical and of exactly these fields. */
export function parsePurgeText(text: string): PlanDocument | null {
  try {
    const document = documentSchema.parse(JSON.parse(text));
    return canonicalJson(document) === text ? document : null;
  } catch {
    return null; // not JSON or of another shape
  }
}

/**
 * Which limit a plan goes beyond, in words; null when it keeps all of them.
 * @param rowsOf all rows of a table, hot, archived and late
 */
export function beyondLimits(
  document: PlanDocument,
  limits: PurgeLimits,
  rowsOf: (table: FamilyName) => bigint,
): string | null {
  const rows = document.units.reduce((sum, unit) => sum + BigInt(unit.rows), 0n);
  if (document.units.length > limits.units) return `${document.units.length} units; ${limits.units} are allowed`;
  if (rows > BigInt(limits.rows)) return `${rows} rows; ${limits.rows} are allowed`;
  for (const table of new Set(document.units.map((unit) => unit.table))) {
    const own = document.units
      .filter((unit) => unit.table === table)
      .reduce((sum, unit) => sum + BigInt(unit.rows), 0n);
    if (own * 100n > rowsOf(table) * BigInt(limits.percent)) {
      return `${own} of the ${rowsOf(table)} rows of ${table}; ${limits.percent} per cent are allowed`;
    }
  }
  return null;
}
