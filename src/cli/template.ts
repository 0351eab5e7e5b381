/** `auditkeep template list | validate | test | sign` */
import { EXIT } from '../errors.ts';
import { countOf } from '../plural.ts';
import { checkTemplates } from '../reports/evaluate/check-templates.ts';
import { loadFixtures } from '../reports/fixture/fixture.ts';
import { testTemplates } from '../reports/fixture/test-templates.ts';
import { signTemplates } from '../reports/generate/template-signature.ts';
import { coverageOf, coverageText } from '../reports/template/coverage.ts';
import { loadTemplates, TEMPLATES_FOLDER } from '../reports/template/template.ts';
import { withScratchDatabase } from '../schema/scratch-database.ts';
import { type AnyCommand, defineCommand } from './command.ts';
import { dryRunOption, withDryRun } from './dry-run.ts';

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
      ['auditkeep template list --coverage', 'every requirement: automated, partial or manual, and by which controls'],
    ],
    options: (yargs) =>
      yargs.options({
        folder: folderOption,
        coverage: { type: 'boolean', default: false, describe: 'the coverage matrix of every framework' },
      }),
    async run(_session, args) {
      const set = await loadTemplates(args.folder);
      if (args.coverage) {
        const matrix = coverageOf(set);
        return { data: { frameworks: matrix }, text: coverageText(matrix) };
      }
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
  defineCommand({
    path: ['template', 'test'],
    summary: 'run the fixtures of every control on a database that is made for it and removed',
    examples: [
      ['auditkeep template test', 'ends with 3 when a fixture changes another status than it declares'],
      ['auditkeep template test --folder mine --json', '{ cases, failed: [{ control, name, problems }] }'],
    ],
    options: (yargs) => yargs.options({ folder: folderOption }),
    async run(session, args) {
      const folder = args.folder ?? TEMPLATES_FOLDER;
      const set = await loadTemplates(folder);
      const fixtures = await loadFixtures(folder, set);
      session.say('making a database for the fixtures');
      const results = await withScratchDatabase((db) => testTemplates(db, set, fixtures));
      const failed = results.filter(({ problems }) => problems.length > 0);
      const text = [
        `${countOf(fixtures.cases.length, 'fixture')} of ${countOf(set.controls.size, 'control')}, ${failed.length} with problems`,
        ...failed.map(({ control, name, problems }) => `  ${control}: ${name}: ${problems.join('; ')}`),
      ].join('\n');
      return {
        data: { cases: fixtures.cases.length, failed },
        text,
        ...(failed.length > 0 && { exitCode: EXIT.findings }),
      };
    },
  }),
  defineCommand({
    path: ['template', 'sign'],
    summary: 'sign a templates folder of your own as a policy owner, so that reports can be made from it',
    examples: [
      [
        'auditkeep template sign --folder mine --as you@example.org --key ~/.ssh/id_ed25519',
        'writes mine/templates.json and its signature; sign again after every change',
      ],
    ],
    options: (yargs) =>
      yargs.options({
        folder: { type: 'string', demandOption: true, describe: 'templates folder' },
        'dry-run': dryRunOption,
      }),
    async run(session, { folder, 'dry-run': dryRun }) {
      const signed = await signTemplates(await session.context({ dryRun }), { folder, dryRun });
      const text = `${countOf(signed.files, 'template')} of ${folder}, sha256 of the list ${signed.sha256}`;
      return { data: signed, text: withDryRun(text, dryRun) };
    },
  }),
];
