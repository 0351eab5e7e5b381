/** `auditkeep archive restore`: a range as tables of its own, or, signed by two, below its hot table again. */
import { AuditkeepError, EXIT, type ExitCode, exitCodeOf, gravestExitCode } from '../errors.ts';
import { countOf } from '../plural.ts';
import { FAMILIES, type FamilyName } from '../retention/policy.ts';
import {
  type PlannedRestore,
  planRestore,
  type RestoreOutcome,
  type RestoreScope,
  restoreRange,
} from '../retention/restore.ts';
import { type AttachRun, approveAttach, requestAttach } from '../retention/restore-attach.ts';
import { parseInstant } from '../time/clock.ts';
import { type AnyCommand, type CommandResult, defineCommand, type Session } from './command.ts';
import { dryRunOption, NOTHING_CHANGED, withDryRun } from './dry-run.ts';
import { parseDay, rangeText } from './plan-output.ts';

const MOST_DAYS = 90;

export const restoreCommand: AnyCommand = defineCommand({
  path: ['archive', 'restore'],
  summary: 'bring a range back as tables of its own, which expire; --attach hangs it below the hot table again',
  examples: [
    [
      'auditkeep archive restore --table audit_log --from 2015-01-01 --to 2015-04-01 --reason "case 7"',
      'copies, proven to be what the manifests say, in quarantine.restored_audit_log',
    ],
    [
      'auditkeep archive restore --attach --table audit_log --from 2015-01-01 --to 2015-02-01 --reason "case 7" --as r@example.org --key r_ed25519',
      'requests; makes room in the hot table once another records manager has approved it',
    ],
    [
      'auditkeep archive restore --approve 1b4e28ba-2fa1-41d2-883f-0016d3cca427 --as s@example.org --key s_ed25519',
      'approves and attaches; run again, goes on where it was cut off',
    ],
  ],
  options: (yargs) =>
    yargs.options({
      table: { choices: FAMILIES, describe: 'of this table' },
      category: { type: 'string', describe: 'only this list value of the table' },
      from: { type: 'string', describe: 'partitions that hold rows from this UTC day on' },
      to: { type: 'string', describe: 'and before this one' },
      days: { type: 'number', default: 14, describe: `how long it stays, 1 to ${MOST_DAYS} days` },
      reason: { type: 'string', describe: 'recorded in the audit events' },
      attach: {
        type: 'boolean',
        default: false,
        describe: 'request that the partitions hang below the hot table again',
      },
      approve: { type: 'string', describe: 'id of a request to approve, or to go on with' },
      'dry-run': dryRunOption,
    }),
  async run(session, args) {
    if (args.approve !== undefined) return await approve(session, args.approve, args['dry-run']);
    const { days, attach, reason } = args;
    const asked = { ...scopeOf(args), days: daysOf(days), reason: reasonOf(reason) };
    if (attach) return await request(session, asked, args['dry-run']);
    const ctx = await session.context();
    if (args['dry-run']) return planResult(await planRestore(ctx, asked));
    const units = await restoreRange(ctx, asked);
    return {
      data: { units: units.map((unit) => ({ ...unitJson(unit), ...outcomeJson(unit.outcome) })) },
      text: listText(units.map((unit) => `${unitLine(unit, unit.outcome.kind)}${outcomeText(unit.outcome)}`)),
      exitCode: gravestExitCode(units.map(({ outcome }) => exitCodeOfOutcome(outcome))),
    };
  },
});

interface Asked extends RestoreScope {
  readonly days: number;
  readonly reason: string;
}

async function request(session: Session, asked: Asked, dryRun: boolean): Promise<CommandResult> {
  const { restoreId, sha256, until, units } = await requestAttach(await session.context({ dryRun }), asked);
  const lines = units.map((unit) => unitLine(unit, unit.attach ? 'attach' : 'stays'));
  const next = dryRun
    ? 'that would be requested'
    : `restore ${restoreId} is requested; another records manager: auditkeep archive restore --approve ${restoreId}`;
  return {
    data: { restoreId, sha256, until, units: units.map((unit) => ({ ...unitJson(unit), attach: unit.attach })) },
    text: withDryRun([...lines, `room is made in the hot table until ${until}`, next].join('\n'), dryRun),
  };
}

async function approve(session: Session, restoreId: string, dryRun: boolean): Promise<CommandResult> {
  const run = await approveAttach(await session.context({ dryRun }), { restoreId, dryRun });
  const lines = run.units.map(
    ({ partition, outcome }) => `${outcome.kind.padEnd(8)} ${partition}${reasonText(outcome)}`,
  );
  const hangs = run.units.some(({ outcome }) => outcome.kind !== 'failed');
  const done = hangs ? [`attached until ${run.until}: tombstones gave way`] : [];
  const said = dryRun ? ['it would be approved, and attached'] : done;
  const { until, reason, requestedBy, planned } = run;
  return {
    data: {
      ...{ restoreId: run.restoreId, until, reason, requestedBy, planned },
      units: run.units.map(({ partition, outcome }) => ({
        partition,
        outcome: outcome.kind,
        reason: reasonIn(outcome),
      })),
    },
    text: withDryRun([...(dryRun ? signedLines(run) : lines), ...said].join('\n'), dryRun),
    exitCode: gravestExitCode(run.units.map(({ outcome }) => exitCodeOfOutcome(outcome))),
  };
}

/** What the second person would sign. */
function signedLines({ requestedBy, reason, until, planned }: AttachRun): string[] {
  const units = planned.map((unit) => unitLine({ ...unit, rows: BigInt(unit.rows) }, 'attach'));
  return [`requested by ${requestedBy ?? 'nobody'}, until ${until}: ${reason}`, ...units];
}

type AttachOutcome = AttachRun['units'][number]['outcome'];

function reasonIn(outcome: AttachOutcome | RestoreOutcome): string | null {
  if (outcome.kind === 'blocked') return outcome.blocker;
  if (outcome.kind !== 'failed') return null;
  return outcome.error instanceof Error ? outcome.error.message : String(outcome.error);
}

function reasonText(outcome: AttachOutcome | RestoreOutcome): string {
  const reason = reasonIn(outcome);
  return reason === null ? '' : `  ${reason}`;
}

function exitCodeOfOutcome(outcome: AttachOutcome | RestoreOutcome): ExitCode {
  if (outcome.kind === 'failed') return exitCodeOf(outcome.error);
  return outcome.kind === 'blocked' ? EXIT.refused : EXIT.done;
}

function planResult(units: readonly PlannedRestore[]): CommandResult {
  const lines = units.map(
    (unit) => `${unitLine(unit, 'restore')}${unit.blocker === null ? '' : `  blocked: ${unit.blocker}`}`,
  );
  return { data: { units: units.map(unitJson) }, text: `${listText(lines)}\n${NOTHING_CHANGED}` };
}

const listText = (lines: readonly string[]) =>
  lines.length === 0 ? 'no partition holds rows of that range' : lines.join('\n');

function unitJson(unit: PlannedRestore) {
  const { table, category, partition, from, to, state, blocker, copy, certificate } = unit;
  return { table, category, partition, from, to, rows: Number(unit.rows ?? 0n), state, blocker, copy, certificate };
}

function unitLine(
  { partition, from, to, rows }: Pick<PlannedRestore, 'partition' | 'from' | 'to' | 'rows'>,
  verb: string,
): string {
  const instantOf = (text: string | null) => (text === null ? null : parseInstant(text));
  return `${verb.padEnd(8)} ${partition}  ${rangeText(instantOf(from), instantOf(to))}  ${countOf(rows ?? 0n, 'row')}`;
}

function outcomeJson(outcome: RestoreOutcome) {
  const restored = outcome.kind === 'restored' ? outcome.copy : null;
  return {
    outcome: outcome.kind,
    reason: reasonIn(outcome),
    relation: restored?.relation ?? null,
    fingerprint: restored?.fingerprint ?? null,
    expiresAt: restored?.expiresAt ?? null,
  };
}

function outcomeText(outcome: RestoreOutcome): string {
  if (outcome.kind !== 'restored') return reasonText(outcome);
  return `  ${outcome.copy.relation} until ${outcome.copy.expiresAt}`;
}

function scopeOf(args: {
  readonly table?: FamilyName | undefined;
  readonly category?: string | undefined;
  readonly from?: string | undefined;
  readonly to?: string | undefined;
}): RestoreScope {
  const { table, category } = args;
  const [from, to] = [parseDay(args.from ?? ''), parseDay(args.to ?? '')];
  if (table !== undefined && from !== null && to !== null) return { table, category, from, to };
  throw new AuditkeepError('USAGE', {
    message: 'a restore is of a table and a range',
    hint: 'give --table, --from and --to (days as 2024-01-01), or --approve ID',
  });
}

function daysOf(days: number): number {
  if (Number.isInteger(days) && days >= 1 && days <= MOST_DAYS) return days;
  throw new AuditkeepError('USAGE', {
    message: `not a number of days from 1 to ${MOST_DAYS}: ${days}`,
    hint: 'give --days 14',
  });
}

function reasonOf(reason: string | undefined): string {
  if (reason !== undefined && reason.trim() !== '') return reason;
  throw new AuditkeepError('USAGE', { message: 'a restore needs a reason', hint: 'give --reason "..."' });
}
