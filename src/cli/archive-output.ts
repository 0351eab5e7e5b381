/** What `archive plan` and `archive run` print: partitions first, then late rows. */
import type { Context } from '../context.ts';
import { EXIT, type ExitCode } from '../errors.ts';
import { countOf } from '../plural.ts';
import type { ArchivalRun } from '../retention/archival.ts';
import { type ArchiveScope, planArchive } from '../retention/archive.ts';
import { type LateOutcome, type LateRange, planLate } from '../retention/late.ts';
import { branchLabel } from '../retention/policy.ts';
import { isoOf } from '../time/clock.ts';
import type { CommandResult } from './command.ts';
import { planUnitJson, planUnitLine, rangeText } from './plan-output.ts';

/** `{ planHash, units, late }` of what a run with this scope would do. Changes nothing. */
export async function planOutput(ctx: Pick<Context, 'db' | 'clock'>, scope: ArchiveScope): Promise<CommandResult> {
  const plan = await planArchive(ctx, scope);
  const late = await planLate(ctx, scope);
  const lines = [
    ...plan.units.map(planUnitLine),
    ...late.map((range) => `collect late rows of ${branchLabel(range)}  ${rangeText(range.from, range.to)}`),
  ];
  return {
    data: { planHash: plan.planHash, units: plan.units.map(planUnitJson), late: late.map(rangeJson) },
    text: textOf(lines),
  };
}

/** `{ planHash, units, late }` with the outcome and its reason for each, and the gravest of them as exit code. */
export function runOutput(run: ArchivalRun): CommandResult {
  const units = run.units.map((unit) => ({ ...planUnitJson(unit), ...outcomeJson(unit.outcome) }));
  const late = run.late.map((range) => ({ ...rangeJson(range), ...outcomeJson(range.outcome) }));
  const lines = [
    ...units.map((unit) => `${unit.outcome.padEnd(9)} ${unit.partition}  ${countOf(unit.rows, 'row')}${because(unit)}`),
    ...run.late.map((range, at) => `${lateLine(range)}${because(late[at] ?? { reason: null })}`),
  ];
  return { data: { planHash: run.planHash, units, late }, text: textOf(lines), exitCode: exitCodeOf(run) };
}

function textOf(lines: readonly string[]): string {
  return lines.length === 0 ? 'nothing is due' : lines.join('\n');
}

function because({ reason }: { readonly reason: string | null }): string {
  return reason === null ? '' : `  ${reason}`;
}

/** Failed, refused by a hold or a rule, waiting for a lock or a link, done. */
function exitCodeOf(run: ArchivalRun): ExitCode {
  const kinds = new Set([...run.units, ...run.late].map(({ outcome }) => outcome.kind));
  if (kinds.has('failed')) return EXIT.bug;
  if (!kinds.has('postponed')) return EXIT.done;
  return run.units.some((unit) => unit.blockers.length > 0) ? EXIT.refused : EXIT.unavailable;
}

function outcomeJson(outcome: ArchivalRun['units'][number]['outcome'] | LateOutcome['outcome']) {
  switch (outcome.kind) {
    case 'archived':
      return { outcome: outcome.kind, reason: null };
    case 'collected':
      return { outcome: outcome.kind, partition: outcome.relation, rows: outcome.rows, reason: null };
    case 'rolled-up':
      return { outcome: outcome.kind, partition: outcome.relation, rollUps: outcome.rollUps, reason: null };
    case 'postponed':
      return { outcome: outcome.kind, reason: outcome.reason };
    case 'failed':
      return {
        outcome: outcome.kind,
        reason: outcome.error instanceof Error ? outcome.error.message : String(outcome.error),
      };
  }
}

function rangeJson(range: LateRange) {
  return { table: range.table, category: range.category, from: isoOf(range.from), to: isoOf(range.to) };
}

function lateLine({ outcome, ...range }: LateOutcome): string {
  switch (outcome.kind) {
    case 'collected':
      return `collected ${outcome.relation}  ${countOf(outcome.rows, 'late row')}`;
    case 'rolled-up':
      return `rolled up ${outcome.relation}  ${countOf(outcome.rollUps, 'roll-up')}`;
    case 'postponed':
    case 'failed':
      return `${outcome.kind.padEnd(9)} late rows of ${branchLabel(range)}  ${rangeText(range.from, range.to)}`;
  }
}
