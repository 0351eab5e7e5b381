/** What a wrong command line is told: in our words where those of yargs do not say what to do. */
import { AuditkeepError } from '../errors.ts';
import { nearestName } from '../nearest-name.ts';

/** What could have been meant where something was not known. */
export interface Known {
  /** The command of the command line, as far as it is one: `auditkeep report generate`. */
  readonly command: string;
  /** Long options, without dashes. */
  readonly options: readonly string[];
  /** Areas, or the verbs of the area that was named. */
  readonly words: readonly string[];
}

/** The error for what yargs said about a command line. */
export function usageError(message: string, argv: readonly string[], known: Known): AuditkeepError {
  const line = message.split('\n')[0] ?? '';
  const help = `${known.command} --help shows what there is`;
  if (line.startsWith('Not enough non-option arguments')) {
    return new AuditkeepError('USAGE', { message: 'an argument is missing', hint: help });
  }
  const choice = /Argument: ([^,]+), Given: (.*), Choices: (.*)$/m.exec(message);
  if (line.startsWith('Invalid values') && choice !== null) {
    const [, name = '', given = '', choices = ''] = choice;
    return new AuditkeepError('USAGE', {
      message: `${asWritten(name, argv)} cannot be ${given}`,
      hint: `give one of ${choices}`,
    });
  }
  const wrong = /^Unknown (?:argument|command)s?: ([^,]+)/.exec(line)?.[1] ?? wrongOption(argv, known);
  if (wrong === undefined) return new AuditkeepError('USAGE', { message: inOurWords(line), hint: help });
  const meant = guess(wrong, argv, known);
  return new AuditkeepError('USAGE', {
    message: `unknown ${isOption(wrong, argv) ? 'option' : 'argument'}: ${asWritten(wrong, argv)}`,
    hint: meant === null ? help : `did you mean ${meant}?`,
  });
}

function inOurWords(line: string): string {
  const [, bare] = /^Not enough arguments following: (.+)$/.exec(line) ?? [];
  if (bare !== undefined) return `--${bare} needs a value`;
  const [, missing] = /^Missing required arguments?: (.+)$/.exec(line) ?? [];
  if (missing !== undefined)
    return `not given: ${missing
      .split(', ')
      .map((name) => `--${name}`)
      .join(', ')}`;
  return lowerFirst(line);
}

/** `auditkeep --jsn status`: yargs takes the word for the option's value and misses a command. */
function wrongOption(argv: readonly string[], { options }: Known): string | undefined {
  // Before the command stands at most a global option: those of a command that is not known yet would look wrong.
  const looked = argv[0]?.startsWith('-') === true ? argv.slice(0, 1) : argv;
  const names = looked.flatMap((part) => /^--(?:no-)?([^=]+)/.exec(part)?.[1] ?? []);
  return names.find((name) => !options.includes(name));
}

function isOption(name: string, argv: readonly string[]): boolean {
  return dashed(name, argv) !== undefined;
}

/** As it stands on the command line: an option with its dashes. */
function asWritten(name: string, argv: readonly string[]): string {
  return dashed(name, argv) ?? name;
}

function dashed(name: string, argv: readonly string[]): string | undefined {
  return [`--${name}`, `-${name}`].find((form) => argv.some((part) => part === form || part.startsWith(`${form}=`)));
}

/** Short options and words of values have nothing near. */
function guess(wrong: string, argv: readonly string[], { options, words }: Known): string | null {
  if (argv.some((part) => part === `--${wrong}` || part.startsWith(`--${wrong}=`))) {
    const option = nearestName(wrong, options);
    return option === null ? null : `--${option}`;
  }
  return wrong.length < 3 ? null : nearestName(wrong, words);
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}
