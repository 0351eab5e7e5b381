/** `auditkeep subject export`: what is held about one person, for them. */
import { EXIT } from '../errors.ts';
import { countOf } from '../plural.ts';
import { exportSubject } from '../privacy/subject-export.ts';
import type { SubjectExport } from '../privacy/subject-manifest.ts';
import { type AnyCommand, defineCommand } from './command.ts';
import { dryRunOption, NOTHING_CHANGED } from './dry-run.ts';

/** Every command about natural persons whose data is held. */
export const subjectCommands: readonly AnyCommand[] = [
  defineCommand({
    path: ['subject', 'export'],
    positionals: '<person>',
    summary:
      'what is held about a person (GDPR 15, 20), and to whom it was disclosed in six years (45 CFR 164.528), as files',
    examples: [
      [
        'auditkeep subject export ann@example.org --out ann --recipient age1... --received 2026-03-01 --as rm@example.org --key ~/.ssh/id_ed25519',
        'encrypted for her',
      ],
      [
        'auditkeep subject export ann@example.org --out ann --dry-run --as rm@example.org --key ~/.ssh/id_ed25519',
        'count only',
      ],
    ],
    options: (yargs) =>
      yargs
        .positional('person', {
          type: 'string',
          demandOption: true,
          describe: 'account id, e-mail address or user name',
        })
        .option('out', { type: 'string', demandOption: true, requiresArg: true, describe: 'a new folder' })
        .option('recipient', { type: 'string', requiresArg: true, describe: 'age1...: every file is encrypted for it' })
        .option('received', {
          type: 'string',
          requiresArg: true,
          describe: 'day on which the person asked: the request is recorded as answered',
        })
        .option('dry-run', dryRunOption),
    async run(session, { person, out, recipient, received, 'dry-run': dryRun }) {
      const result = await exportSubject(await session.context(), {
        person,
        outDir: dryRun ? null : out,
        ageRecipient: recipient ?? null,
        receivedAt: received ?? null,
      });
      const exitCode = damagedCells(result) > 0 ? EXIT.findings : EXIT.done;
      return { data: result, text: textOf(result, out, dryRun), exitCode };
    },
  }),
];

/** Envelopes that should open and do not: what they hold is missing. Those whose key was destroyed were erased. */
function damagedCells({ tables }: SubjectExport): number {
  const damaged = tables
    .flatMap(({ unreadable }) => Object.entries(unreadable))
    .filter(([code]) => code !== 'KEY_DESTROYED');
  return damaged.reduce((sum, [, count]) => sum + count, 0);
}

function textOf(result: SubjectExport, folder: string, dryRun: boolean): string {
  const found = result.tables.filter(({ rows }) => rows > 0);
  const damaged = damagedCells(result);
  return [
    ...found.map(({ table, rows, origins }) => {
      const places = Object.entries(origins).filter(([origin]) => origin !== 'table');
      const where = places.map(([origin, count]) => `${count} ${origin}`).join(', ');
      return `${table.padEnd(42)} ${String(rows).padStart(9)}${where === '' ? '' : `  (${where})`}`;
    }),
    `${countOf(result.disclosures, 'disclosure')} in six years`,
    `${result.account ? 'an account' : 'no account'}; nothing found in ${countOf(result.tables.length - found.length, 'table')} of ${result.tables.length}`,
    ...(damaged === 0 ? [] : [`${countOf(damaged, 'envelope')} could not be opened: the export is not complete`]),
    dryRun
      ? NOTHING_CHANGED
      : `wrote ${folder} (manifest.json, sha256 ${result.manifest?.sha256 ?? ''}); look through it before you hand it over`,
  ].join('\n');
}
