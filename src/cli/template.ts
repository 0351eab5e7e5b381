/** `auditkeep template list | validate` */

import { countOf } from '../plural.ts';
import { checkTemplates } from '../reports/check-templates.ts';
import { loadTemplates } from '../reports/template.ts';
import { type AnyCommand, defineCommand } from './command.ts';

const folderOption = {
  type: 'string',
  describe: 'templates folder; default: the one that comes with auditkeep',
} as const;

export const templateCommands: readonly AnyCommand[] = [
  defineCommand({
    path: ['template', 'list'],
    summary: 'list the frameworks and controls that reports are made from',
    examples: [
      ['auditkeep template list', 'frameworks and their controls'],
      ['auditkeep template list --json', 'as JSON, with the hash of each file'],
    ],
    options: (yargs) => yargs.options({ folder: folderOption }),
    async run(_session, args) {
      const set = await loadTemplates(args.folder);
      const frameworks = [...set.frameworks.values()].map(({ id, name, version, requirements, sha256 }) => ({
        id,
        name,
        version,
        requirements: requirements.length,
        controls: [...new Set(requirements.flatMap((requirement) => requirement.controls))].sort(),
        sha256,
      }));
      const controls = [...set.controls.values()].map(({ id, title, version, severity, mode, sha256 }) => {
        return { id, title, version, severity, mode, sha256 };
      });
      const text = [
        ...frameworks.map(
          (f) => `${f.id.padEnd(8)} ${countOf(f.requirements, 'requirement')}; ${f.controls.join(' ')}`,
        ),
        ...controls.map((c) => `${c.id.padEnd(8)} ${c.title}`),
      ].join('\n');
      return { data: { frameworks, controls }, text };
    },
  }),
  defineCommand({
    path: ['template', 'validate'],
    summary: 'check templates: shape, references, and each statement against the database',
    examples: [
      ['auditkeep template validate', 'the templates that come with auditkeep'],
      ['auditkeep template validate --folder mine --no-database', 'your own, without a database'],
    ],
    options: (yargs) =>
      yargs.options({
        folder: folderOption,
        database: { type: 'boolean', default: true, describe: 'ask the database for the plan of every statement' },
      }),
    async run(session, args) {
      const set = await loadTemplates(args.folder);
      if (args.database) await checkTemplates(await session.context(), set);
      const data = { controls: set.controls.size, frameworks: set.frameworks.size, database: args.database };
      const against = args.database ? ', every statement planned by the database' : '';
      return {
        data,
        text: `${countOf(data.controls, 'control')} and ${countOf(data.frameworks, 'framework')} hold${against}.`,
      };
    },
  }),
];
