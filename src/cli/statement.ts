/** `auditkeep waiver add | approve | list` and `auditkeep attest add | list`: what persons sign besides decisions. */
import { AuditkeepError, EXIT } from '../errors.ts';
import { addAttestation, addWaiver, approveWaiver, listStatements } from '../persons/state-statement.ts';
import { type CheckedStatement, signedWaivers, waiverState } from '../persons/statement.ts';
import { checkAttestedRequirement, checkWaiverScope } from '../reports/evaluate/statements.ts';
import { isoOf, parseInstant } from '../time/clock.ts';
import { type AnyCommand, type CommandResult, defineCommand } from './command.ts';
import { dryRunOption, withDryRun } from './dry-run.ts';

const OUTCOMES = ['met', 'not-met', 'not-applicable'] as const;

/** `waiver add | approve | list`, `attest add | list`. */
export const statementCommands: readonly AnyCommand[] = [
  defineCommand({
    path: ['waiver', 'add'],
    summary:
      'accept exceptions of a control until a day, signed by a policy owner; counts when a second one approved it',
    examples: [
      [
        'auditkeep waiver add --control ac-12 --until 2026-12-31 --reason "roll-out of tokens" --as you@example.org --key ~/.ssh/id_ed25519',
        'every exception of the control, for at most 366 days',
      ],
      [
        'auditkeep waiver add --control ac-12 --only account=6f9619ff-8b86-4d01-b42d-00cf4fc964ff --until 2026-12-31 --reason "token ordered" --as you@example.org --key ~/.ssh/id_ed25519',
        'the exceptions of one account',
      ],
    ],
    options: (yargs) =>
      yargs.options({
        control: { type: 'string', demandOption: true, describe: 'id of the control' },
        only: {
          type: 'string',
          array: true,
          describe:
            'column=value that covered exceptions have to have; ids as they are, not as pseudonyms; all of several',
        },
        until: { type: 'string', demandOption: true, describe: 'day or instant at which it ends' },
        from: { type: 'string', describe: 'day or instant from which it counts; now unless given' },
        reason: { type: 'string', demandOption: true, describe: 'why, for the report; no names of persons' },
        'dry-run': dryRunOption,
      }),
    async run(session, { control, only, until, from, reason, 'dry-run': dryRun }) {
      const scope = (only ?? []).map(conditionOf);
      await checkWaiverScope(control, scope);
      const ctx = await session.context({ dryRun });
      const valid_from = from === undefined ? isoOf(ctx.clock.now()) : instantOf(from);
      const done = await addWaiver(ctx, { control, scope, reason, valid_from, expires_at: instantOf(until) });
      const next = `counts once another policy owner signs: auditkeep waiver approve ${done.id.slice(0, 8)}`;
      const text = `waiver ${done.id} for ${control}, sha256 ${done.sha256}\n${next}`;
      return { data: done, text: withDryRun(text, dryRun) };
    },
  }),
  defineCommand({
    path: ['waiver', 'approve'],
    positionals: '<id>',
    summary: 'sign a waiver as the second policy owner, after which it counts',
    examples: [
      [
        'auditkeep waiver approve 1b4e28ba --as other@example.org --key ~/.ssh/id_ed25519',
        'ID may be the first digits',
      ],
    ],
    options: (yargs) =>
      yargs
        .positional('id', { type: 'string', demandOption: true, describe: 'id of the waiver, or its first digits' })
        .option('dry-run', dryRunOption),
    async run(session, { id, 'dry-run': dryRun }) {
      const ctx = await session.context({ dryRun });
      const { waiver, ...done } = await approveWaiver(ctx, id);
      const { control, reason, expires_at } = waiver.waiver;
      const text = `waiver ${waiver.waiver.id} for ${control} until ${expires_at} is approved: ${reason}`;
      return { data: { ...done, waiver: waiver.waiver.id }, text: withDryRun(text, dryRun) };
    },
  }),
  defineCommand({
    path: ['waiver', 'list'],
    summary: 'all waivers and whether they count now; ends with 3 when one was not signed',
    examples: [['auditkeep waiver list', 'active, expired, not yet, one signature or INVALID']],
    options: (yargs) => yargs,
    async run(session) {
      const ctx = await session.context();
      const now = isoOf(ctx.clock.now());
      const [waivers, approvals] = [await listStatements(ctx, 'waiver'), await listStatements(ctx, 'waiver_approval')];
      const signed = new Map(signedWaivers(waivers, approvals).map((waiver) => [waiver.sha256, waiver]));
      return listResult([...waivers, ...approvals.filter(({ problem }) => problem !== null)], (entry) => {
        const found = signed.get(entry.sha256);
        if (found === undefined) return '';
        const { control, valid_from, expires_at, person, reason } = found.waiver;
        const state = found.approvedBy === null ? 'one signature' : waiverState(found.waiver, now);
        const scope = found.waiver.format === 'auditkeep-waiver/v2' ? found.waiver.scope : [];
        const only = scope.map(({ column, value }) => `${column}=${value} `).join('');
        const persons = [person, ...(found.approvedBy === null ? [] : [found.approvedBy])].join(' and ');
        return `${control}  ${state.padEnd(7)} ${valid_from} to ${expires_at}  ${persons}  ${only}${reason}`;
      });
    },
  }),
  defineCommand({
    path: ['attest', 'add'],
    summary: 'say how a requirement that controls do not answer wholly stands in a period, and sign it',
    examples: [
      [
        'auditkeep attest add --framework sox --requirement itgc-change-3 --from 2026-01-01 --to 2026-03-31 --outcome met --statement "projects looked at on 2 April" --as you@example.org --key ~/.ssh/id_ed25519',
        'one requirement',
      ],
    ],
    options: (yargs) =>
      yargs.options({
        framework: { type: 'string', demandOption: true, describe: 'gdpr, sox, hipaa, ...' },
        requirement: { type: 'string', demandOption: true, describe: 'id of the requirement' },
        from: { type: 'string', demandOption: true, describe: 'first day' },
        to: { type: 'string', demandOption: true, describe: 'last day' },
        outcome: { choices: OUTCOMES, demandOption: true, describe: 'how it stands' },
        statement: { type: 'string', demandOption: true, describe: 'what was looked at; no names of persons' },
        'dry-run': dryRunOption,
      }),
    async run(session, { framework, requirement, from, to, outcome, statement, 'dry-run': dryRun }) {
      await checkAttestedRequirement(framework, requirement);
      const ctx = await session.context({ dryRun });
      const period = { period_start: from, period_end: to };
      const done = await addAttestation(ctx, { framework, requirement, ...period, outcome, statement });
      return { data: done, text: withDryRun(`attestation ${done.id}, sha256 ${done.sha256}`, dryRun) };
    },
  }),
  defineCommand({
    path: ['attest', 'list'],
    summary: 'all attestations; ends with 3 when one was not signed',
    examples: [['auditkeep attest list', 'who attested what for which period']],
    options: (yargs) => yargs,
    async run(session) {
      return listResult(await listStatements(await session.context(), 'attestation'), (entry) => {
        if (entry.statement?.format !== 'auditkeep-attestation/v1') return '';
        const { framework, requirement, period_start, period_end, outcome, person } = entry.statement;
        return `${framework} ${requirement}  ${period_start} to ${period_end}  ${outcome}  ${person}`;
      });
    },
  }),
];

function listResult(entries: readonly CheckedStatement[], line: (entry: CheckedStatement) => string): CommandResult {
  const text = entries.map((entry) => {
    const id = entry.statement?.id ?? entry.sha256;
    return `${id}  ${entry.problem === null ? line(entry) : `INVALID: ${entry.problem}`}`;
  });
  const exitCode = entries.every((entry) => entry.problem === null) ? EXIT.done : EXIT.findings;
  return { data: entries, text: text.length === 0 ? 'There are none yet.' : text.join('\n'), exitCode };
}

/** `column=value` */
function conditionOf(text: string): { readonly column: string; readonly value: string } {
  const at = text.indexOf('=');
  const [column, value] = [text.slice(0, at), text.slice(at + 1)];
  if (at > 0 && value !== '') return { column, value };
  throw new AuditkeepError('USAGE', { message: `${text} is no condition`, hint: 'write --only account=ID' });
}

/** A day is its first instant in UTC. */
function instantOf(text: string): string {
  const instant = parseInstant(/^\d{4}-\d{2}-\d{2}$/.test(text) ? `${text}T00:00:00Z` : text);
  if (instant !== null) return isoOf(instant);
  throw new AuditkeepError('USAGE', { message: `${text} is no day and no instant`, hint: 'write 2026-12-31' });
}
