/** `import cloudtrail | ethereum | ndjson | register`: other systems' records into the schema. */
import type { Argv } from 'yargs';
import type { Context } from '../context.ts';
import { EXIT } from '../errors.ts';
import { importCloudtrail, importEthereum, importNdjson } from '../import/import.ts';
import { importRegister } from '../import/register-import.ts';
import { REGISTER_NAMES } from '../import/register-kinds.ts';
import { REASONS } from '../import/rejection.ts';
import type { ImportReport } from '../import/report.ts';
import type { ImportInput } from '../import/run.ts';
import { requirePath } from '../import/source-file.ts';
import { countOf } from '../plural.ts';
import { type AnyCommand, type CommandResult, defineCommand } from './command.ts';
import { dryRunOption, withDryRun } from './dry-run.ts';

/** Rejections that are listed for people; --json has up to 1,000. */
const LISTED_REJECTIONS = 20;

const pathsOption = { type: 'string', array: true, demandOption: true, describe: 'files or folders' } as const;

type Import = (ctx: Context, input: ImportInput) => Promise<ImportReport>;

const cloudtrailCommand = importCommand('cloudtrail', importCloudtrail, {
  summary: 'AWS CloudTrail files and folders (.json, .json.gz) as audit events',
  examples: [
    ['auditkeep import cloudtrail ./AWSLogs', 'every .json and .json.gz file below the folder'],
    ['auditkeep import cloudtrail trail.json.gz --dry-run', 'read and check it, change nothing'],
  ],
});

const ethereumCommand = importCommand('ethereum', importEthereum, {
  summary: 'Ethereum transactions as ethereum-etl exports them (NDJSON, CSV); addresses and amounts are encrypted',
  examples: [
    ['auditkeep import ethereum transactions.json', 'one export'],
    ['auditkeep import ethereum ./export', 'files of the folder whose name holds "transaction"'],
  ],
});

const ndjsonCommand = importCommand('ndjson', importNdjson, {
  summary: 'Audit events as NDJSON, one object a line named like the columns (docs/guide/import.md)',
  examples: [
    ['auditkeep import ndjson events.ndjson', 'importing twice adds nothing'],
    ['auditkeep import ndjson events.ndjson.gz --json', 'counts and rejected lines for a script'],
  ],
});

const registerCommand = defineCommand({
  path: ['import', 'register'],
  positionals: '<kind> <paths..>',
  summary:
    'rows of a compliance register as CSV or NDJSON: access requests, backups, incidents, ... (docs/guide/registers.md)',
  examples: [
    [
      'auditkeep import register backup_run backups.csv',
      'importing twice adds nothing; what differs is a new revision',
    ],
    ['auditkeep import register incident incidents.ndjson --dry-run', 'read and check it, change nothing'],
  ],
  options: (yargs: Argv) =>
    yargs
      .positional('kind', { choices: REGISTER_NAMES, demandOption: true, describe: 'the register' })
      .positional('paths', pathsOption)
      .option('dry-run', dryRunOption),
  async run(session, { kind, paths, 'dry-run': dryRun }) {
    await requirePaths(paths);
    return importResult(await importRegister(await session.context({ dryRun }), kind, { paths, dryRun }));
  },
});

/** Every import command, in the order of the help. */
export const importCommands: readonly AnyCommand[] = [
  cloudtrailCommand,
  ethereumCommand,
  ndjsonCommand,
  registerCommand,
];

function importCommand(
  kind: ImportReport['kind'],
  run: Import,
  words: { readonly summary: string; readonly examples: readonly (readonly [string, string])[] },
): AnyCommand {
  return defineCommand({
    path: ['import', kind],
    positionals: '<paths..>',
    ...words,
    options: (yargs: Argv) => yargs.positional('paths', pathsOption).option('dry-run', dryRunOption),
    async run(session, { paths, 'dry-run': dryRun }) {
      await requirePaths(paths);
      return importResult(await run(await session.context({ dryRun }), { paths, dryRun }));
    },
  });
}

/** Before a server is started for a path that is not there. */
async function requirePaths(paths: readonly string[]): Promise<void> {
  for (const path of paths) await requirePath(path);
}

function importResult(report: ImportReport): CommandResult {
  const failed = report.rejected > 0 || report.failedFiles > 0;
  const text = withDryRun(describe(report), report.dryRun);
  return { data: report, text, exitCode: failed ? EXIT.findings : EXIT.done };
}

function describe(report: ImportReport): string {
  const lines = [
    report.dryRun
      ? `${countOf(report.files, 'file')}: ${countOf(report.read, 'record')} read, ${report.rejected} rejected`
      : `${countOf(report.files, 'file')}: ${countOf(report.read, 'record')} read, ${report.imported} imported, ${report.duplicates} known already, ` +
        `${report.late} late, ${report.rejected} rejected`,
  ];
  if (report.skippedFiles > 0)
    lines.push(`${countOf(report.skippedFiles, 'file')} passed over: other names or symbolic links`);
  if (report.failedFiles > 0) lines.push(`${countOf(report.failedFiles, 'file')} could not be read to the end`);
  for (const { file, line, reason, field } of report.rejections.slice(0, LISTED_REJECTIONS)) {
    lines.push(
      `${file}${line === null ? '' : `:${line}`} ${reason}${field === null ? '' : ` ${field}`}: ${REASONS[reason]}`,
    );
  }
  const unlisted = report.rejected + report.failedFiles - Math.min(report.rejections.length, LISTED_REJECTIONS);
  if (unlisted > 0) lines.push(`and ${unlisted} more`);
  return lines.join('\n');
}
