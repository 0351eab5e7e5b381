/** `auditkeep purge plan | request | approve | run | certificate | list | replay` */
import type { Argv } from 'yargs';
import { AuditkeepError, EXIT, type ExitCode, exitCodeOf, gravestExitCode } from '../errors.ts';
import { countOf } from '../plural.ts';
import { FAMILIES } from '../retention/policy.ts';
import { type PurgePlan, type PurgeScope, parsePurgeText } from '../retention/purge-plan.ts';
import {
  approvePurge,
  findPlan,
  type ListedPlan,
  listPlans,
  planDestruction,
  requestPurge,
} from '../retention/purge-request.ts';
import { type PurgeRun, readUnfinished, runPurge } from '../retention/purge-run.ts';
import { readChecked, writeCertificate } from '../retention/read-certificate.ts';
import { type AnyCommand, type CommandResult, defineCommand } from './command.ts';
import { dryRunOption, NOTHING_CHANGED, withDryRun } from './dry-run.ts';
import { parseDay, planUnitJson, planUnitLine } from './plan-output.ts';
import { replayCommand } from './purge-replay.ts';

function scopeOptions(yargs: Argv) {
  return yargs.options({
    table: { choices: FAMILIES, describe: 'only this table' },
    before: { type: 'string', describe: 'only partitions that end by this UTC day' },
  });
}

export const purgeCommands: readonly AnyCommand[] = [
  defineCommand({
    path: ['purge', 'plan'],
    summary: 'show what is past its whole period, and what stands in the way of its destruction',
    examples: [
      ['auditkeep purge plan', 'all that is due'],
      ['auditkeep purge plan --table audit_log --json', '{ planHash, units }'],
    ],
    options: scopeOptions,
    async run(session, args) {
      return planResult(await planDestruction(await session.context(), scopeOf(args)));
    },
  }),
  defineCommand({
    path: ['purge', 'request'],
    summary: 'request the destruction of what is due; another records manager has to approve it',
    examples: [
      [
        'auditkeep purge request --table audit_log --reason "records schedule" --as r@example.org --key r_ed25519',
        'signs the hash of the plan',
      ],
      ['auditkeep purge request --as r@example.org --key r_ed25519 --dry-run', 'the same checks, nothing changed'],
    ],
    options: (yargs) =>
      scopeOptions(yargs).options({
        reason: { type: 'string', default: 'past its whole period', describe: 'kept with the plan' },
        'dry-run': dryRunOption,
      }),
    async run(session, args) {
      const dryRun = args['dry-run'];
      const ctx = await session.context({ dryRun });
      const { planId, plan, splits } = await requestPurge(ctx, {
        ...scopeOf(args),
        reason: args.reason,
        split: !dryRun,
      });
      const parted = splits.map(({ partition, siblings }) => `split    ${partition}  into ${siblings.length} units`);
      const next = dryRun
        ? 'that would be requested'
        : `plan ${planId} is requested; another records manager: auditkeep purge approve ${planId}`;
      return {
        data: { planId, planHash: plan.planHash, units: plan.units.map(planUnitJson), splits },
        text: withDryRun([...parted, planResult(plan).text, next].join('\n'), dryRun),
      };
    },
  }),
  defineCommand({
    path: ['purge', 'approve'],
    positionals: '<plan>',
    summary: 'sign a requested plan as the second records manager; it may start after the cooling-off',
    examples: [['auditkeep purge approve 1b4e28ba --as s@example.org --key s_ed25519', 'by its id or its hash']],
    options: (yargs) =>
      yargs.positional('plan', { type: 'string', demandOption: true }).options({ 'dry-run': dryRunOption }),
    async run(session, { plan: id, 'dry-run': dryRun }) {
      const plan = await approvePurge(await session.context({ dryRun }), id);
      const text = `plan ${plan.plan_id} ${dryRun ? 'would' : 'may'} start from ${plan.starts_at} to ${plan.ends_at}`;
      return {
        data: { planId: plan.plan_id, planHash: plan.plan_hash, startsAt: plan.starts_at, endsAt: plan.ends_at },
        text: withDryRun(text, dryRun),
      };
    },
  }),
  defineCommand({
    path: ['purge', 'run'],
    positionals: '[plan]',
    summary: 'execute an approved plan, or go on with those that have begun; shows them without --apply',
    examples: [
      ['auditkeep purge run 1b4e28ba', 'what it would destroy'],
      ['auditkeep purge run 1b4e28ba --apply', 'quarantine now; a later run, after seven days, destroys and certifies'],
      ['auditkeep purge run --apply', 'go on with all that have begun'],
    ],
    options: (yargs) =>
      yargs.positional('plan', { type: 'string' }).options({
        reason: { type: 'string', default: 'on demand', describe: 'recorded in the audit events of each unit' },
        apply: { type: 'boolean', default: false, describe: 'do it; without it the plans are shown' },
        'dry-run': dryRunOption,
      }),
    async run(session, { plan, reason, apply, 'dry-run': dryRun }) {
      const ctx = await session.context();
      const plans = plan === undefined ? await readUnfinished(ctx) : [await findPlan(ctx, plan)];
      if (!apply || dryRun) {
        const text = plans.map(plannedUnits);
        return { data: { plans }, text: [...text, `${NOTHING_CHANGED}${apply ? '' : ' Give --apply.'}`].join('\n') };
      }
      const runs: PurgeRun[] = [];
      for (const { plan_id } of plans) runs.push(await runPurge(ctx, { plan: plan_id, reason }));
      return runResult(runs);
    },
  }),
  defineCommand({
    path: ['purge', 'certificate'],
    positionals: '<certificate>',
    summary: 'check a certificate of destruction, and write it as signed JSON and a page',
    examples: [['auditkeep purge certificate 1b4e28ba --out certificates', 'by its id or the beginning of it']],
    options: (yargs) =>
      yargs
        .positional('certificate', { type: 'string', demandOption: true })
        .option('out', { type: 'string', describe: 'folder for ID.json, ID.sig and ID.pdf' }),
    async run(session, { certificate: id, out }) {
      const checked = await readChecked(await session.context(), id);
      const files = out === undefined ? [] : await writeCertificate(out, checked);
      const { certificate, sha256, signature } = checked;
      return { data: { certificate, sha256, signature, files }, text: [checked.document, ...files].join('\n') };
    },
  }),
  defineCommand({
    path: ['purge', 'list'],
    summary: 'plans of destruction with signatures, window, progress and certificates',
    examples: [['auditkeep purge list', 'ends with 3 when a signature does not hold']],
    options: (yargs) => yargs,
    async run(session) {
      const plans = await listPlans(await session.context());
      const unsigned = plans.some(({ decisions }) => decisions.findings.length > 0);
      return {
        data: { plans: plans.map(planJson) },
        text: plans.length === 0 ? 'there are no plans' : plans.map(planLine).join('\n'),
        exitCode: unsigned ? EXIT.findings : EXIT.done,
      };
    },
  }),
  replayCommand,
];

/** What was signed, for people; a document of another form is shown as it is. */
function plannedUnits({ plan_id, document }: { readonly plan_id: string; readonly document: string }): string {
  const units = parsePurgeText(document)?.units;
  if (units === undefined) return `plan ${plan_id}  ${document}`;
  const lines = units.map(({ action, partition, from, to, rows }) => {
    const range = `${from?.slice(0, 10) ?? 'the beginning'} to ${to.slice(0, 10)}`;
    return `${action.padEnd(7)} ${partition}  ${range}  ${countOf(rows, 'row')}`;
  });
  return [`plan ${plan_id}`, ...lines].join('\n');
}

function scopeOf(args: { readonly table?: PurgeScope['table']; readonly before?: string | undefined }): PurgeScope {
  if (args.before === undefined) return { table: args.table };
  const before = parseDay(args.before);
  if (before !== null) return { table: args.table, before };
  throw new AuditkeepError('INPUT_INVALID', {
    message: `'${args.before}' is neither a day nor an instant`,
    hint: 'give --before as 2024-01-01 or 2024-01-01T00:00:00Z',
  });
}

function planResult(plan: PurgePlan): CommandResult {
  return {
    data: { planHash: plan.planHash, units: plan.units.map(planUnitJson) },
    text: plan.units.length === 0 ? 'nothing is due' : plan.units.map(planUnitLine).join('\n'),
  };
}

function runResult(runs: readonly PurgeRun[]): CommandResult {
  const units = runs.flatMap((run) =>
    run.units.map(({ partition, outcome }) => ({ planId: run.planId, partition, ...outcomeJson(outcome) })),
  );
  const lines = units.map(
    ({ outcome, partition, certificate, reason }) =>
      `${outcome.padEnd(7)} ${partition}  ${certificate ?? reason ?? ''}`,
  );
  return {
    data: { runs: runs.map(({ planId, planHash }) => ({ planId, planHash })), units },
    text: lines.length === 0 ? 'nothing is under way' : lines.join('\n'),
    exitCode: exitCodeOfRuns(runs),
  };
}

/** The gravest of the units; seven days in quarantine are as it should be. */
function exitCodeOfRuns(runs: readonly PurgeRun[]): ExitCode {
  return gravestExitCode(
    runs.flatMap((run) =>
      run.units.map(({ outcome }) => {
        if (outcome.kind === 'failed') return exitCodeOf(outcome.error);
        return outcome.kind === 'held' ? EXIT.refused : EXIT.done;
      }),
    ),
  );
}

function outcomeJson(outcome: PurgeRun['units'][number]['outcome']) {
  switch (outcome.kind) {
    case 'purged':
      return { outcome: outcome.kind, certificate: outcome.certificateId, reason: null };
    case 'waiting':
      return { outcome: outcome.kind, certificate: null, reason: outcome.reason };
    case 'held':
      return { outcome: outcome.kind, certificate: null, reason: 'back in its archive' };
    case 'failed': {
      const { error } = outcome;
      return {
        outcome: outcome.kind,
        certificate: null,
        reason: error instanceof Error ? error.message : String(error),
      };
    }
  }
}

function planJson(plan: ListedPlan) {
  const { decisions, document: _, ...stored } = plan;
  const { request, approval, findings } = decisions;
  return { ...stored, requestedBy: request?.person ?? null, approvedBy: approval?.person ?? null, findings };
}

function planLine(plan: ListedPlan): string {
  const { requestedBy, approvedBy, findings } = planJson(plan);
  const states = Object.entries(plan.states).map(([state, count]) => `${count} ${state}`);
  const state = plan.started_at === null ? windowText(plan) : `started ${plan.started_at}: ${states.join(', ')}`;
  const people = `requested by ${requestedBy ?? 'nobody'}, approved by ${approvedBy ?? 'nobody'}`;
  const destroyed = plan.certificates.map(({ certificate, partition }) => `  purged ${partition}  ${certificate}`);
  const found = findings.map((finding) => `  finding: ${finding}`);
  return [`${plan.plan_id}  ${people}; ${state}`, ...destroyed, ...found].join('\n');
}

function windowText({ starts_at, ends_at }: ListedPlan): string {
  return starts_at === null ? 'waits for its approval' : `may start from ${starts_at} to ${ends_at}`;
}
