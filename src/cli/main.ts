/** The command line: the list of commands, and one function that runs one of them and gives its exit code. */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { type Config, isDebugging, loadConfig } from '../config.ts';
import { EXIT, type ExitCode, exitCodeOf } from '../errors.ts';
import { anonymizeCommands } from './anonymize.ts';
import { archiveCommands } from './archive.ts';
import { chainCommands } from './chain.ts';
import { chainExportCommands } from './chain-export.ts';
import { chainIncarnationCommands } from './chain-incarnation.ts';
import type { AnyCommand, CommandResult, Session } from './command.ts';
import { dbCommands } from './db.ts';
import { decisionCommands } from './decision.ts';
import { demoCommands } from './demo.ts';
import { holdCommands } from './hold.ts';
import { importCommands } from './import.ts';
import { jobCommands } from './job.ts';
import { keyCommands } from './key.ts';
import { migrateCommands } from './migrate.ts';
import {
  columnsOf,
  ignoreBrokenPipes,
  printError,
  type Streams,
  toJsonText,
  wrapProse,
  wrapTable,
  write,
} from './output.ts';
import { parseCommandLine } from './parser.ts';
import { partitionCommands } from './partition.ts';
import { personCommands } from './person.ts';
import { policyCommands } from './policy.ts';
import { purgeCommands } from './purge.ts';
import { reportCommands } from './report.ts';
import { reportBundleCommands } from './report-bundle.ts';
import { reportDiffCommands } from './report-diff.ts';
import { reportWorkflowCommands } from './report-workflow.ts';
import { scheduleCommands } from './schedule.ts';
import { openSession } from './session.ts';
import { statementCommands } from './statement.ts';
import { statusCommands } from './status.ts';
import { subjectCommands } from './subject.ts';
import { templateCommands } from './template.ts';
import { witnessCommands } from './witness.ts';
import { workerCommands } from './worker.ts';

/** Every command, in the order of the help. Each area exports its own list. */
export const COMMANDS: readonly AnyCommand[] = [
  ...dbCommands,
  ...migrateCommands,
  ...demoCommands,
  ...importCommands,
  ...keyCommands,
  ...anonymizeCommands,
  ...subjectCommands,
  ...workerCommands,
  ...scheduleCommands,
  ...jobCommands,
  ...statusCommands,
  ...partitionCommands,
  ...archiveCommands,
  ...policyCommands,
  ...holdCommands,
  ...purgeCommands,
  ...chainCommands,
  ...chainExportCommands,
  ...chainIncarnationCommands,
  ...witnessCommands,
  ...reportCommands,
  ...reportWorkflowCommands,
  ...reportBundleCommands,
  ...reportDiffCommands,
  ...statementCommands,
  ...decisionCommands,
  ...personCommands,
  ...templateCommands,
];

const globalArgs = z.object({
  json: z.boolean(),
  quiet: z.boolean(),
  color: z.boolean(),
  config: z.string().optional(),
  'database-url': z.string().optional(),
  as: z.string().optional(),
  key: z.string().optional(),
});
type GlobalArgs = z.infer<typeof globalArgs>;

/**
 * Runs one command line and gives the process's exit code. Never throws; whatever was opened is closed.
 * `commands` and `streams` are given by tests.
 */
export async function main(
  argv: readonly string[],
  streams: Streams = process,
  commands: readonly AnyCommand[] = COMMANDS,
): Promise<ExitCode> {
  ignoreBrokenPipes(streams);
  try {
    const parsed = await parseCommandLine(commands, argv, await readVersion(), columnsOf(streams.stdout));
    if (parsed.kind === 'print') {
      await write(streams.stdout, `${parsed.text}\n`);
      return EXIT.done;
    }
    const global = globalArgs.parse(parsed.args);
    const config = await loadConfig({ flags: flagsOf(global), file: global.config });
    const result = await runCommand(parsed.command, parsed.args, config, global, streams);
    const text = global.json ? toJsonText(result.data) : textOf(result, streams);
    if (text !== '') await write(streams.stdout, text.endsWith('\n') ? text : `${text}\n`);
    return result.exitCode ?? EXIT.done;
  } catch (error) {
    // The flag is looked up by hand: the command line itself may be what is wrong.
    await printError(error, streams, { json: argv.includes('--json'), debug: isDebugging() });
    return exitCodeOf(error);
  }
}

function textOf({ text, isProse }: CommandResult, { stdout }: Streams): string {
  return (isProse === true ? wrapProse : wrapTable)(text, columnsOf(stdout));
}

async function runCommand(
  command: AnyCommand,
  args: Readonly<Record<string, unknown>>,
  config: Config,
  global: GlobalArgs,
  streams: Streams,
): Promise<CommandResult> {
  const { session, close } = openSession(config, streams, global);
  // The arguments were checked by the parser that the command's own options() built.
  const run = command.run as (session: Session, args: unknown) => Promise<CommandResult>;
  try {
    return await run(session, args);
  } finally {
    await close();
  }
}

function flagsOf(global: GlobalArgs) {
  return { databaseUrl: global['database-url'], as: global.as, key: global.key };
}

async function readVersion(): Promise<string> {
  const text = await readFile(new URL('../../package.json', import.meta.url), 'utf8');
  return z.object({ version: z.string() }).parse(JSON.parse(text)).version;
}
