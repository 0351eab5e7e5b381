/** `auditkeep archive plan | run | list` */
import type { Argv } from 'yargs';
import { AuditkeepError, EXIT, type ExitCode } from '../errors.ts';
import { countOf } from '../plural.ts';
import { type ArchiveRun, type ArchiveScope, listArchive, planArchive, runArchive } from '../retention/archive.ts';
import type { UnitFacts } from '../retention/facts.ts';
import type { Plan } from '../retention/plan.ts';
import { FAMILIES } from '../retention/policy.ts';
import { isoOf } from '../time/clock.ts';
import { type AnyCommand, type CommandResult, defineCommand } from './command.ts';
import { dryRunOption, NOTHING_CHANGED } from './dry-run.ts';
import { parseDay, planUnitJson, planUnitLine, rangeText } from './plan-output.ts';

const tableOption = { choices: FAMILIES, describe: 'only this table' } as const;

function scopeOptions(yargs: Argv) {
  return yargs.options({
    table: tableOption,
    before: {
      type: 'string',
      describe: 'partitions that end by this UTC day, whatever their policy’s age',
    },
  });
}

export const archiveCommands: readonly AnyCommand[] = [
  defineCommand({
    path: ['archive', 'plan'],
    summary: 'show which partitions are past their hot period',
    examples: [
      ['auditkeep archive plan', 'what tonight’s run would move'],
      ['auditkeep archive plan --table audit_log --before 2024-01-01 --json', 'for a date of your own, as JSON'],
    ],
    options: scopeOptions,
    async run(session, args) {
      return planResult(await planArchive(await session.context(), scopeOf(args)));
    },
  }),
  defineCommand({
    path: ['archive', 'run'],
    summary: 'move partitions to the archive: no row is copied, and readers of the _all views notice nothing',
    examples: [
      ['auditkeep archive run', 'what is past its hot period'],
      ['auditkeep archive run --table audit_log --before 2024-01-01 --reason "year end"', 'what a DBA asks for'],
      ['auditkeep archive run --dry-run', 'only show the plan'],
    ],
    options: (yargs) =>
      scopeOptions(yargs).options({
        reason: { type: 'string', default: 'on demand', describe: 'recorded in the audit events of each unit' },
        'dry-run': dryRunOption,
      }),
    async run(session, args) {
      const ctx = await session.context();
      if (args['dry-run']) {
        const shown = planResult(await planArchive(ctx, scopeOf(args)));
        return { ...shown, text: `${shown.text}\n${NOTHING_CHANGED}` };
      }
      return runResult(await runArchive(ctx, { ...scopeOf(args), reason: args.reason }));
    },
  }),
  defineCommand({
    path: ['archive', 'list'],
    summary: 'list the partitions that have left the hot tables',
    examples: [['auditkeep archive list --table audit_log', 'of one table']],
    options: (yargs) => yargs.options({ table: tableOption }),
    async run(session, args) {
      const units = await listArchive(await session.context(), { table: args.table });
      return {
        data: { units: units.map(unitJson) },
        text: units.length === 0 ? 'nothing is archived' : units.map(unitLine).join('\n'),
      };
    },
  }),
];

interface ScopeArgs {
  readonly table?: ArchiveScope['table'];
  readonly before?: string | undefined;
}

function scopeOf(args: ScopeArgs): ArchiveScope {
  if (args.before === undefined) return { table: args.table };
  const before = parseDay(args.before);
  if (before !== null) return { table: args.table, before };
  throw new AuditkeepError('INPUT_INVALID', {
    message: `'${args.before}' is neither a day nor an instant`,
    hint: 'give --before as 2024-01-01 or 2024-01-01T00:00:00Z',
  });
}

function planResult(plan: Plan): CommandResult {
  return {
    data: { planHash: plan.planHash, units: plan.units.map(planUnitJson) },
    text: plan.units.length === 0 ? 'nothing is due' : plan.units.map(planUnitLine).join('\n'),
  };
}

function runResult(run: ArchiveRun): CommandResult {
  const units = run.units.map((unit) => ({ ...planUnitJson(unit), ...outcomeJson(unit.outcome) }));
  const lines = units.map(
    (unit) =>
      `${unit.outcome.padEnd(9)} ${unit.partition}  ${countOf(unit.rows, 'row')}${unit.reason === null ? '' : `  ${unit.reason}`}`,
  );
  return {
    data: { planHash: run.planHash, units },
    text: lines.length === 0 ? 'nothing is due' : lines.join('\n'),
    exitCode: exitCodeOfRun(run),
  };
}

/** The gravest of the units: failed, refused by a hold or a rule, waiting for a lock or a link, done. */
function exitCodeOfRun(run: ArchiveRun): ExitCode {
  const kinds = new Set(run.units.map((unit) => unit.outcome.kind));
  if (kinds.has('failed')) return EXIT.bug;
  if (!kinds.has('postponed')) return EXIT.done;
  return run.units.some((unit) => unit.blockers.length > 0) ? EXIT.refused : EXIT.unavailable;
}

function outcomeJson(outcome: ArchiveRun['units'][number]['outcome']) {
  switch (outcome.kind) {
    case 'archived':
      return { outcome: outcome.kind, reason: null };
    case 'postponed':
      return { outcome: outcome.kind, reason: outcome.reason };
    case 'failed':
      return {
        outcome: outcome.kind,
        reason: outcome.error instanceof Error ? outcome.error.message : String(outcome.error),
      };
  }
}

function unitJson(unit: UnitFacts) {
  return {
    table: unit.table,
    category: unit.category,
    partition: unit.relation,
    from: unit.from === null ? null : isoOf(unit.from),
    to: unit.to === null ? null : isoOf(unit.to),
    rows: unit.rows === null ? null : Number(unit.rows),
    state: unit.state,
    held: unit.held,
    archivedAt: unit.archivedAt,
  };
}

function unitLine(unit: UnitFacts): string {
  const held = unit.held ? '  held' : '';
  return `${unit.state.padEnd(9)} ${unit.relation}  ${rangeText(unit.from, unit.to)}  ${unit.rows === null ? '? rows' : countOf(unit.rows, 'row')}${held}`;
}
