/** `auditkeep person init | list | prove | add | role | key | acknowledge`: the register of persons who may decide. */
import { EXIT } from '../errors.ts';
import { acknowledgeVoid } from '../persons/acknowledge.ts';
import type { PersonChange } from '../persons/act.ts';
import { changeRegister, initPersons, proveKey, type RegisterChanged } from '../persons/change.ts';
import { readRegister } from '../persons/read-register.ts';
import type { Register } from '../persons/register.ts';
import { ROLES } from '../persons/roles.ts';
import { readProofFile, readRosterFile } from '../persons/roster-file.ts';
import { readInstallationId } from '../persons/store.ts';
import { type AnyCommand, type CommandResult, defineCommand } from './command.ts';
import { dryRunOption, NOTHING_CHANGED } from './dry-run.ts';

const officerOption = {
  type: 'string',
  array: true,
  demandOption: true,
  describe: 'SSH key files of the key officers who sign: two; a third makes an addition effective at once',
} as const;
const emailOption = { type: 'string', demandOption: true, describe: 'e-mail of the person, in lower case' } as const;

/** `person init | list | prove | add | role | key | acknowledge`. */
export const personCommands: readonly AnyCommand[] = [
  defineCommand({
    path: ['person', 'init'],
    positionals: '<roster>',
    summary: 'found the register of persons from a roster file, signed by two key officers',
    examples: [['auditkeep person init roster.yaml --officer a/id_ed25519 b/id_ed25519', 'once an installation']],
    options: (yargs) =>
      yargs
        .positional('roster', {
          type: 'string',
          demandOption: true,
          describe: 'roster file (docs/guide/compliance.md)',
        })
        .options({ officer: officerOption, 'dry-run': dryRunOption }),
    async run(session, { roster, officer: officerKeyFiles, 'dry-run': dryRun }) {
      const ctx = await session.context({ dryRun });
      const changes = await readRosterFile(await ctx.db.withClient(readInstallationId), roster);
      return changedResult(await initPersons(ctx, { changes, officerKeyFiles }), dryRun);
    },
  }),
  defineCommand({
    path: ['person', 'list'],
    summary: 'persons, roles and keys as the signed acts say; ends with 3 on findings that nobody acknowledged',
    examples: [['auditkeep person list', 'who may do what']],
    options: (yargs) => yargs,
    async run(session) {
      const ctx = await session.context();
      const { register, findings, installationId } = await ctx.db.withClient(readRegister);
      const persons = personsOf(register);
      const text = [
        ...persons.flatMap(({ email, name, roles, keys }) => [
          `${email}  ${name}`,
          ...roles.map(({ role, from, until }) => `  ${role.padEnd(16)} ${spanText(from, until)}`),
          ...keys.map(({ fingerprint, from, until }) => `  ${fingerprint} ${spanText(from, until)}`),
        ]),
        ...findings.map(
          ({ kind, what, acknowledged }) => `finding: ${kind}: ${what}${acknowledged ? ' (acknowledged)' : ''}`,
        ),
      ];
      if (text.length === 0) text.push('There is no register yet: found it with `auditkeep person init`.');
      return {
        data: { installationId, persons, findings },
        text: [`installation ${installationId}`, ...text].join('\n'),
        exitCode: findings.some((finding) => !finding.acknowledged) ? EXIT.findings : EXIT.done,
      };
    },
  }),
  defineCommand({
    path: ['person', 'prove'],
    summary: 'prove that you hold a key, for whoever enters it into the register of one installation',
    examples: [
      ['auditkeep person prove --email you@example.org --key ~/.ssh/id_ed25519', 'prints the lines of the roster'],
      [
        'auditkeep person prove --email you@example.org --key ~/.ssh/id_ed25519 --installation ID',
        'without a database',
      ],
    ],
    options: (yargs) =>
      yargs.option('email', emailOption).option('installation', {
        type: 'string',
        describe: 'id of the installation, as `person list` shows it there; without it the database is asked',
      }),
    async run(session, { email, installation }) {
      const id = installation ?? (await (await session.context()).db.withClient(readInstallationId));
      const { publicKey, proof } = await proveKey(id, email, session.config.key ?? '');
      const indented = proof.trimEnd().replaceAll('\n', '\n          ');
      return {
        data: { publicKey, proof },
        text: `      - publicKey: ${publicKey}\n        proof: |\n          ${indented}`,
      };
    },
  }),
  defineCommand({
    path: ['person', 'add'],
    positionals: '<roster>',
    summary: 'add the persons of a roster file, signed by two key officers',
    examples: [['auditkeep person add new.yaml --officer a b', 'effective after 24 hours']],
    options: (yargs) =>
      yargs
        .positional('roster', {
          type: 'string',
          demandOption: true,
          describe: 'roster file (docs/guide/compliance.md)',
        })
        .options({ officer: officerOption, 'dry-run': dryRunOption }),
    async run(session, { roster, officer: officerKeyFiles, 'dry-run': dryRun }) {
      const ctx = await session.context({ dryRun });
      const changes = await readRosterFile(await ctx.db.withClient(readInstallationId), roster);
      return changedResult(await changeRegister(ctx, { changes, officerKeyFiles }), dryRun);
    },
  }),
  defineCommand({
    path: ['person', 'role'],
    summary: 'give a role or take it, signed by two key officers whom it does not concern',
    examples: [
      ['auditkeep person role --email you@example.org --give reviewer --officer a b', 'effective after 24 hours'],
      ['auditkeep person role --email you@example.org --take approver --officer a b', 'effective at once'],
    ],
    options: (yargs) =>
      yargs
        .option('email', emailOption)
        .option('give', { choices: ROLES, describe: 'role to give' })
        .option('take', { choices: ROLES, describe: 'role to take' })
        .options({ officer: officerOption, 'dry-run': dryRunOption }),
    async run(session, { email, give, take, officer: officerKeyFiles, 'dry-run': dryRun }) {
      const changes: PersonChange[] = [];
      if (take !== undefined) changes.push({ kind: 'role-end', email, role: take });
      if (give !== undefined) changes.push({ kind: 'role', email, role: give });
      return changedResult(
        await changeRegister(await session.context({ dryRun }), { changes, officerKeyFiles }),
        dryRun,
      );
    },
  }),
  defineCommand({
    path: ['person', 'key'],
    summary: 'add or end a key, signed by two key officers whom it does not concern',
    examples: [
      ['auditkeep person key --email you@example.org --end SHA256:... --reason compromised --officer a b', 'at once'],
    ],
    options: (yargs) =>
      yargs
        .option('email', emailOption)
        .option('add', { type: 'string', describe: 'file with the output of `person prove --json`' })
        .option('end', { type: 'string', describe: 'fingerprint of a key to end' })
        .option('reason', { choices: ['replaced', 'left', 'compromised'] as const, default: 'replaced' as const })
        .options({ officer: officerOption, 'dry-run': dryRunOption }),
    async run(session, { email, add, end, reason, officer: officerKeyFiles, 'dry-run': dryRun }) {
      const changes: PersonChange[] = [];
      if (add !== undefined) changes.push({ kind: 'key', email, ...(await readProofFile(add)) });
      if (end !== undefined) changes.push({ kind: 'key-end', email, fingerprint: end, reason });
      return changedResult(
        await changeRegister(await session.context({ dryRun }), { changes, officerKeyFiles }),
        dryRun,
      );
    },
  }),
  defineCommand({
    path: ['person', 'acknowledge'],
    summary:
      'say that a void act or decision is known, signed by two key officers; it stays listed and counts for nothing',
    examples: [
      [
        'auditkeep person acknowledge --act 7 --reason "restore drill, ticket 12" --officer a b',
        'as person list names it',
      ],
      [
        'auditkeep person acknowledge --decision 8b7c1f0e-0000-4000-8000-000000000000 --reason junk --officer a b',
        'at once',
      ],
    ],
    options: (yargs) =>
      yargs
        .option('act', { type: 'string', describe: 'number of a void act' })
        .option('decision', { type: 'string', describe: 'id of a void decision' })
        .option('reason', { type: 'string', demandOption: true, describe: 'what was found out about it' })
        .options({ officer: officerOption, 'dry-run': dryRunOption }),
    async run(session, { act, decision, reason, officer: officerKeyFiles, 'dry-run': dryRun }) {
      const ctx = await session.context({ dryRun });
      const input = { act: act ?? null, decision: decision ?? null, reason, officerKeyFiles };
      return changedResult(await acknowledgeVoid(ctx, input), dryRun);
    },
  }),
];

function changedResult(changed: RegisterChanged, dryRun: boolean): CommandResult {
  const { sequence, sha256, effectiveAt } = changed;
  if (dryRun) {
    const text = `act ${sequence} of the register would be effective ${effectiveAt}\n${NOTHING_CHANGED}`;
    return { data: { ...changed, sha256: null }, text };
  }
  return { data: changed, text: `act ${sequence} of the register, sha256 ${sha256}, effective ${effectiveAt}` };
}

function personsOf(register: Register) {
  return [...register.persons].sort().map(([email, name]) => ({
    email,
    name,
    roles: register.roles.filter((role) => role.email === email),
    keys: [...register.keys.values()].filter((key) => key.email === email),
  }));
}

function spanText(from: string, until: string | null): string {
  return until === null ? `from ${from}` : `from ${from} until ${until}`;
}
