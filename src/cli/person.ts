/** `auditkeep person init | list | prove | add | role | key`: the register of persons who may decide. */
import { EXIT } from '../errors.ts';
import type { PersonChange } from '../persons/act.ts';
import { changeRegister, initPersons, proveKey, type RegisterChanged } from '../persons/change.ts';
import { readRegister } from '../persons/read-register.ts';
import type { Register } from '../persons/register.ts';
import { ROLES } from '../persons/roles.ts';
import { readProofFile, readRosterFile } from '../persons/roster-file.ts';
import { type AnyCommand, type CommandResult, defineCommand } from './command.ts';

const officerOption = {
  type: 'string',
  array: true,
  demandOption: true,
  describe: 'SSH key files of the key officers who sign: two; a third makes an addition effective at once',
} as const;
const emailOption = { type: 'string', demandOption: true, describe: 'e-mail of the person, in lower case' } as const;

/** `person init | list | prove | add | role | key`. */
export const personCommands: readonly AnyCommand[] = [
  defineCommand({
    path: ['person', 'init'],
    positionals: '<roster>',
    summary: 'found the register of persons from a roster file, signed by two key officers',
    examples: [['auditkeep person init roster.yaml --officer a/id_ed25519 b/id_ed25519', 'once an installation']],
    options: (yargs) =>
      yargs.positional('roster', { type: 'string', demandOption: true }).option('officer', officerOption),
    async run(session, { roster, officer: officerKeyFiles }) {
      const changes = await readRosterFile(roster);
      return changedResult(await initPersons(await session.context(), { changes, officerKeyFiles }));
    },
  }),
  defineCommand({
    path: ['person', 'list'],
    summary: 'persons, roles and keys as the signed acts say; ends with 3 when a row was not signed',
    examples: [['auditkeep person list', 'who may do what']],
    options: (yargs) => yargs,
    async run(session) {
      const ctx = await session.context();
      const { register, findings } = await ctx.db.withClient(readRegister);
      const persons = personsOf(register);
      const text = [
        ...persons.flatMap(({ email, name, roles, keys }) => [
          `${email}  ${name}`,
          ...roles.map(({ role, from, until }) => `  ${role.padEnd(16)} ${spanText(from, until)}`),
          ...keys.map(({ fingerprint, from, until }) => `  ${fingerprint} ${spanText(from, until)}`),
        ]),
        ...findings.map(({ kind, what }) => `finding: ${kind}: ${what}`),
      ];
      return {
        data: { persons, findings },
        text: text.length === 0 ? 'There is no register yet: found it with `auditkeep person init`.' : text.join('\n'),
        exitCode: findings.length > 0 ? EXIT.findings : EXIT.done,
      };
    },
  }),
  defineCommand({
    path: ['person', 'prove'],
    summary: 'prove that you hold a key, for whoever enters it into the register; needs no database',
    examples: [
      ['auditkeep person prove --email you@example.org --key ~/.ssh/id_ed25519', 'prints the lines of the roster'],
    ],
    options: (yargs) => yargs.option('email', emailOption),
    async run(session, { email }) {
      const { publicKey, proof } = await proveKey(email, session.config.key ?? '');
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
      yargs.positional('roster', { type: 'string', demandOption: true }).option('officer', officerOption),
    async run(session, { roster, officer: officerKeyFiles }) {
      const changes = await readRosterFile(roster);
      return changedResult(await changeRegister(await session.context(), { changes, officerKeyFiles }));
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
        .option('officer', officerOption),
    async run(session, { email, give, take, officer: officerKeyFiles }) {
      const changes: PersonChange[] = [];
      if (take !== undefined) changes.push({ kind: 'role-end', email, role: take });
      if (give !== undefined) changes.push({ kind: 'role', email, role: give });
      return changedResult(await changeRegister(await session.context(), { changes, officerKeyFiles }));
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
        .option('officer', officerOption),
    async run(session, { email, add, end, reason, officer: officerKeyFiles }) {
      const changes: PersonChange[] = [];
      if (add !== undefined) changes.push({ kind: 'key', email, ...(await readProofFile(add)) });
      if (end !== undefined) changes.push({ kind: 'key-end', email, fingerprint: end, reason });
      return changedResult(await changeRegister(await session.context(), { changes, officerKeyFiles }));
    },
  }),
];

function changedResult(changed: RegisterChanged): CommandResult {
  const { sequence, sha256, effectiveAt } = changed;
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
