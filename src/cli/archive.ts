/** `auditkeep archive plan | run | list | restore` */
import type { Argv } from 'yargs';
import { AuditkeepError } from '../errors.ts';
import { countOf } from '../plural.ts';
import { runArchival } from '../retention/archival.ts';
import { type ArchiveScope, listArchive } from '../retention/archive.ts';
import type { UnitFacts } from '../retention/facts.ts';
import { FAMILIES } from '../retention/policy.ts';
import { isoOf } from '../time/clock.ts';
import { planOutput, runOutput } from './archive-output.ts';
import { restoreCommand } from './archive-restore.ts';
import { type AnyCommand, defineCommand } from './command.ts';
import { dryRunOption, NOTHING_CHANGED } from './dry-run.ts';
import { parseDay, rangeText } from './plan-output.ts';

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
    summary: 'show which partitions, and which late rows, are past their hot period',
    examples: [
      ['auditkeep archive plan', 'what tonight’s run would move'],
      ['auditkeep archive plan --table audit_log --before 2024-01-01 --json', 'for a date of your own, as JSON'],
    ],
    options: scopeOptions,
    async run(session, args) {
      return await planOutput(await session.context(), scopeOf(args));
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
        const shown = await planOutput(ctx, scopeOf(args));
        return { ...shown, text: `${shown.text}\n${NOTHING_CHANGED}` };
      }
      return runOutput(await runArchival(ctx, { ...scopeOf(args), reason: args.reason }));
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
  restoreCommand,
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
    expiresAt: unit.expiresAt === null ? null : isoOf(unit.expiresAt),
  };
}

function unitLine(unit: UnitFacts): string {
  const held = unit.held ? '  held' : '';
  const until = unit.expiresAt === null ? '' : `  until ${isoOf(unit.expiresAt)}`;
  return `${unit.state.padEnd(9)} ${unit.relation}  ${rangeText(unit.from, unit.to)}  ${unit.rows === null ? '? rows' : countOf(unit.rows, 'row')}${until}${held}`;
}
