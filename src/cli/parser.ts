/**
 * Turns the list of commands into a strict yargs parser. Parsing never runs anything: it gives back what to run, so an
 * unknown option cannot reach a handler.
 */
import yargs, { type Argv } from 'yargs';
import { z } from 'zod';
import { AuditkeepError } from '../errors.ts';
import type { AnyCommand } from './command.ts';
import { usageError } from './usage-error.ts';

/** What each first word is about, for the overview. A word without an entry is a command of its own. */
const AREAS: Readonly<Record<string, string>> = {
  db: 'the embedded PostgreSQL',
  migrate: 'bring the database to this release',
  import: "other systems' records",
  partition: 'future partitions',
  archive: 'aged partitions',
  hold: 'legal holds',
  purge: 'destruction at the end of retention',
  decision: 'signed decisions of persons',
  policy: 'retention policies',
  chain: 'the sealed audit chain',
  witness: "a witness of other installations' chains",
  key: 'encryption keys',
  anonymize: 'old transactions',
  subject: 'requests of natural persons',
  report: 'compliance reports',
  waiver: 'accepted exceptions',
  attest: 'attestations of manual controls',
  template: 'report templates',
  person: 'persons, roles and signing keys',
  schedule: 'when jobs run',
  job: 'queued, running and dead jobs',
};

export type Parsed =
  | { readonly kind: 'run'; readonly command: AnyCommand; readonly args: Readonly<Record<string, unknown>> }
  /** Help, the version or a completion script. */
  | { readonly kind: 'print'; readonly text: string };

/** Columns of help where there are so many; longer lines are hard to read. */
const WIDEST_HELP = 100;

const COMPLETION_HELP = [
  'auditkeep completion',
  '',
  'print a completion script for the shell of $SHELL: bash or zsh',
  '',
  'Examples:',
  '  auditkeep completion >> ~/.bashrc',
  '  auditkeep completion >> ~/.zshrc',
].join('\n');

/**
 * Reads a command line. Help is broken at `columns`, those of the terminal.
 * @throws USAGE for anything that is not a command of the list with its options
 */
export async function parseCommandLine(
  commands: readonly AnyCommand[],
  argv: readonly string[],
  version: string,
  columns = WIDEST_HELP,
): Promise<Parsed> {
  // yargs prints the script whatever else is asked for.
  if (argv[0] === 'completion' && argv.some((part) => part === '--help' || part === '-h')) {
    return { kind: 'print', text: COMPLETION_HELP };
  }
  let chosen: Parsed | null = null;
  let printed = '';
  const parser = createParser(commands, argv, version, (command, args) => {
    chosen = { kind: 'run', command, args };
  }).wrap(Math.min(columns, WIDEST_HELP));
  await parser.parseAsync([...argv], {}, (_error, _args, output) => {
    printed = output;
  });
  if (chosen !== null && printed === '') return chosen;
  return { kind: 'print', text: printed };
}

type Choose = (command: AnyCommand, args: Readonly<Record<string, unknown>>) => void;

function createParser(commands: readonly AnyCommand[], argv: readonly string[], version: string, choose: Choose): Argv {
  const root = globalOptions(yargs())
    .scriptName('auditkeep')
    .usage('auditkeep <area> <verb> [options]')
    .parserConfiguration({ 'parse-positional-numbers': false, 'dot-notation': false, 'strip-aliased': true })
    .exitProcess(false)
    .locale('en')
    .version(version)
    .help()
    .strict()
    .completion('completion', 'print a shell completion script: auditkeep completion >> ~/.bashrc')
    .demandCommand(1, 'name a command')
    .fail((message, error) => {
      // Only a throw keeps a wrong command line from going on.
      if (error instanceof AuditkeepError) throw error;
      const known = {
        command: commandName(commands, argv),
        options: optionNames(commands, argv),
        words: nextWords(commands, argv),
      };
      throw usageError(message ?? String(error), argv, known);
    });
  return addLevel(root, commands, 0, choose);
}

function globalOptions(root: Argv): Argv {
  return root
    .option('json', { type: 'boolean', default: false, describe: 'print JSON to stdout', global: true })
    .option('quiet', { type: 'boolean', default: false, describe: 'no words on stderr' })
    .option('color', { type: 'boolean', default: true, describe: 'colour on a terminal (--no-color: none)' })
    .option('config', { type: 'string', requiresArg: true, describe: 'configuration file (default auditkeep.yaml)' })
    .option('database-url', { type: 'string', requiresArg: true, describe: 'PostgreSQL connection string' })
    .option('as', { type: 'string', requiresArg: true, describe: 'e-mail of the person acting' })
    .option('key', { type: 'string', requiresArg: true, describe: 'SSH key that signs a decision' })
    .group(['json', 'quiet', 'color', 'config', 'database-url', 'as', 'key', 'help', 'version'], 'Global options:');
}

/** Adds the commands whose paths agree up to `depth`: leaves as commands, common words as groups. */
function addLevel(parent: Argv, commands: readonly AnyCommand[], depth: number, choose: Choose): Argv {
  for (const word of new Set(commands.map((command) => command.path[depth] ?? ''))) {
    const below = commands.filter((command) => command.path[depth] === word);
    const leaf = below.find((command) => command.path.length === depth + 1);
    const deeper = below.filter((command) => command.path.length > depth + 1);
    const name = leaf?.positionals === undefined ? word : `${word} ${leaf.positionals}`;
    const summary = (deeper.length > 0 ? AREAS[word] : undefined) ?? leaf?.summary ?? word;
    parent.command(
      name,
      summary,
      (level: Argv) => {
        if (leaf !== undefined) addExamples(leaf, level);
        const optioned = leaf === undefined ? level : leafOptions(leaf, level, deeper.length > 0);
        if (deeper.length === 0) return optioned;
        const group = addLevel(optioned, deeper, depth + 1, choose);
        return leaf === undefined ? group.demandCommand(1, `name a verb: ${verbsOf(deeper, depth + 1)}`) : group;
      },
      (args) => {
        if (leaf === undefined) return;
        checkValues(args, optionsOf(parent).array);
        choose(leaf, args);
      },
    );
  }
  return parent;
}

/** The options of `migrate` are not those of `migrate status`, to which yargs would hand them on. */
function leafOptions(leaf: AnyCommand, level: Argv, hasDeeper: boolean): Argv {
  if (!hasDeeper) return leaf.options(level);
  const before = new Set(optionsOf(level).key);
  const optioned = leaf.options(level);
  const own = optionsOf(optioned).key.filter((name) => !before.has(name));
  // `global` is documented for lists and what is not global, which its types have for one option only.
  for (const name of own) optioned.option(name, { global: false });
  return optioned;
}

function addExamples(command: AnyCommand, level: Argv): void {
  for (const [line, what] of command.examples) level.example(line, what);
}

function verbsOf(commands: readonly AnyCommand[], depth: number): string {
  return [...new Set(commands.map((command) => command.path[depth] ?? ''))].join(', ');
}

/** yargs reads `--limit abc` as NaN and a repeated single option as a list; both are mistakes. */
function checkValues(args: Readonly<Record<string, unknown>>, lists: readonly string[]): void {
  for (const [name, value] of Object.entries(args)) {
    if (typeof value === 'number' && Number.isNaN(value)) throw wrongValue(`--${name} needs a number`);
    if (Array.isArray(value) && name !== '_' && !lists.includes(name)) {
      throw wrongValue(`--${name} is given more than once`);
    }
  }
}

const optionsShape = z.object({
  array: z.array(z.string()),
  key: z.record(z.string(), z.unknown()).transform((keys) => Object.keys(keys)),
});

/** The options of a level, and which of them are lists. yargs knows, but its types do not show it. */
function optionsOf(level: Argv): z.infer<typeof optionsShape> {
  if (!('getOptions' in level) || typeof level.getOptions !== 'function') return { array: [], key: [] };
  return optionsShape.parse(Reflect.apply(level.getOptions, level, []));
}

/** The words that may follow those of the command line that are known. */
function nextWords(commands: readonly AnyCommand[], argv: readonly string[]): string[] {
  const [area = ''] = argv;
  const inArea = commands.filter(({ path }) => path[0] === area);
  const words = inArea.length > 0 ? inArea.flatMap(({ path }) => path[1] ?? []) : commands.map(({ path }) => path[0]);
  return [...new Set(words)];
}

/** The command line as far as it names a command or an area: what `--help` may follow. */
function commandName(commands: readonly AnyCommand[], argv: readonly string[]): string {
  const words: string[] = [];
  for (const [at, word] of argv.entries()) {
    if (!commands.some(({ path }) => path[at] === word && words.every((known, before) => path[before] === known)))
      break;
    words.push(word);
  }
  return ['auditkeep', ...words].join(' ');
}

/** The options that the command of the command line takes. yargs has forgotten them when it fails. */
function optionNames(commands: readonly AnyCommand[], argv: readonly string[]): readonly string[] {
  const named = commands.filter(({ path }) => path.every((word, at) => argv[at] === word));
  const longest = named.sort((a, b) => b.path.length - a.path.length)[0];
  const level = globalOptions(yargs());
  return optionsOf(longest === undefined ? level : longest.options(level)).key;
}

function wrongValue(message: string): AuditkeepError {
  return new AuditkeepError('USAGE', { message, hint: 'the command with --help shows what it takes' });
}
