/** Retention plans as scripts and people get them: the contract of `partition plan` and `archive plan --json`. */

import { countOf } from '../plural.ts';
import type { PlanUnit } from '../retention/plan.ts';
import { isoOf, parseInstant, type UtcInstant } from '../time/clock.ts';
import { utcDate } from '../time/period.ts';

/** `{ table, category, partition, from, to, rows, bytes, action, policy, blockers }`; from is null for "the beginning". */
export function planUnitJson(unit: PlanUnit) {
  return {
    table: unit.table,
    category: unit.category,
    partition: unit.partition,
    from: unit.from === null ? null : isoOf(unit.from),
    to: isoOf(unit.to),
    rows: Number(unit.rows),
    bytes: Number(unit.bytes),
    action: unit.action,
    policy: unit.policy,
    blockers: unit.blockers,
  };
}

/** One line a unit: what, from when to when, how much, and what stands in the way. */
export function planUnitLine(unit: PlanUnit): string {
  const size = unit.action === 'create' ? '' : `  ${countOf(unit.rows, 'row')}`;
  const blocked = unit.blockers.length === 0 ? '' : `  blocked: ${unit.blockers.join(', ')}`;
  return `${unit.action.padEnd(7)} ${unit.partition}  ${rangeText(unit.from, unit.to)}${size}${blocked}`;
}

/** `2026-01-01 to 2026-02-01`, half-open. */
export function rangeText(from: UtcInstant | null, to: UtcInstant | null): string {
  return `${from === null ? 'the beginning' : utcDate(from)} to ${to === null ? 'the end' : utcDate(to)}`;
}

/** An instant, or a UTC day as its first one; null for anything else. */
export function parseDay(text: string): UtcInstant | null {
  return parseInstant(text) ?? parseInstant(`${text}T00:00:00Z`);
}
