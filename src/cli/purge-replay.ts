/** `auditkeep purge replay`: what a restored database holds again is destroyed again, under its certificates. */
import { AuditkeepError, EXIT, type ExitCode, exitCodeOf, gravestExitCode } from '../errors.ts';
import { countOf } from '../plural.ts';
import { type MissingDestruction, planReplay } from '../retention/missing-destruction.ts';
import { leaveDestructionOf, type ReplayOutcome, replayDestructions } from '../retention/purge-replay.ts';
import { type AnyCommand, type CommandResult, defineCommand, type Session } from './command.ts';
import { dryRunOption, NOTHING_CHANGED } from './dry-run.ts';

export const replayCommand: AnyCommand = defineCommand({
  path: ['purge', 'replay'],
  summary: 'after a restore: destroy again what the journal says was destroyed; shows it without --apply',
  examples: [
    ['auditkeep purge replay', 'which destructions the database does not have, and what stands in the way'],
    [
      'auditkeep purge replay --apply',
      'checks every signature again; AUDITKEEP_MAINTENANCE_DATABASE_URL names a login in the role auditkeep_owner',
    ],
    [
      'auditkeep purge replay --leave 7d3f1a2b --reason "the backup is older than its rows" --apply',
      'does not do this one again: what lies there is something else, and goes by new plans',
    ],
  ],
  options: (yargs) =>
    yargs.options({
      reason: { type: 'string', describe: 'recorded in the audit events' },
      leave: { type: 'string', describe: 'id of a certificate whose destruction cannot be done again' },
      apply: { type: 'boolean', default: false, describe: 'do it; without it the destructions are shown' },
      'dry-run': dryRunOption,
    }),
  async run(session, { reason: given, leave, apply, 'dry-run': dryRun }) {
    if (leave !== undefined) return await leaveOne(session, leave, { reason: given ?? '', act: apply && !dryRun });
    const reason = given ?? 'the database was restored';
    const ctx = await session.context();
    if (!apply || dryRun) return planResult(await planReplay(ctx), apply);
    const done = await replayDestructions(ctx, { reason });
    return {
      data: { destructions: done.map((one) => ({ ...oneJson(one), ...outcomeJson(one.outcome) })) },
      text: textOf(done.map((one) => line(one, one.outcome.kind, outcomeJson(one.outcome).reason))),
      exitCode: gravestExitCode(done.map(({ outcome }) => exitCodeOfOutcome(outcome))),
    };
  },
});

async function leaveOne(
  session: Session,
  certificate: string,
  { reason, act }: { readonly reason: string; readonly act: boolean },
): Promise<CommandResult> {
  if (reason.trim() === '') {
    throw new AuditkeepError('USAGE', { message: 'a destruction is left for a reason', hint: 'give --reason "..."' });
  }
  const one = await leaveDestructionOf(await session.context(), { certificate, reason, dryRun: !act });
  const remains = one.remains.map(
    ({ relation, state, rows }) => `  there is ${relation}  ${countOf(rows, 'row')}  ${state}`,
  );
  const text = [
    line(one, act ? 'left' : 'leave', null),
    ...remains,
    ...(act ? [] : [`${NOTHING_CHANGED} Give --apply.`]),
  ];
  return { data: { ...oneJson(one), outcome: act ? 'left' : 'leave' }, text: text.join('\n') };
}

function planResult(missing: readonly MissingDestruction[], apply: boolean): CommandResult {
  const lines = missing.map((one) => line(one, one.blocker === null ? 'replay' : 'blocked', one.blocker));
  return {
    data: { destructions: missing.map((one) => ({ ...oneJson(one), blocker: one.blocker })) },
    text: `${textOf(lines)}\n${NOTHING_CHANGED}${apply || lines.length === 0 ? '' : ' Give --apply.'}`,
  };
}

const textOf = (lines: readonly string[]) =>
  lines.length === 0 ? 'the database has every destruction of the journal' : lines.join('\n');

function oneJson({ entry: { certificate }, remains }: MissingDestruction) {
  const { certificate_id: id, plan, unit, purged_at: purgedAt } = certificate;
  const { table, category, partition, from, to, rows } = unit;
  const there = remains.map(({ relation, state, rows: count }) => ({ relation, state, rows: Number(count) }));
  return { certificate: id, planId: plan.id, table, category, partition, from, to, rows, purgedAt, remains: there };
}

function line({ entry: { certificate } }: MissingDestruction, verb: string, reason: string | null): string {
  const { certificate_id: id, unit } = certificate;
  return `${verb.padEnd(8)} ${unit.partition}  ${countOf(unit.rows, 'row')}  ${id}${reason === null ? '' : `  ${reason}`}`;
}

function outcomeJson(outcome: ReplayOutcome): { outcome: string; reason: string | null } {
  switch (outcome.kind) {
    case 'replayed':
      return { outcome: outcome.kind, reason: null };
    case 'blocked':
      return { outcome: outcome.kind, reason: outcome.blocker };
    case 'failed':
      return {
        outcome: outcome.kind,
        reason: outcome.error instanceof Error ? outcome.error.message : String(outcome.error),
      };
  }
}

function exitCodeOfOutcome(outcome: ReplayOutcome): ExitCode {
  if (outcome.kind === 'failed') return exitCodeOf(outcome.error);
  return outcome.kind === 'blocked' ? EXIT.refused : EXIT.done;
}
