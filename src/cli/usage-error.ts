/** What a wrong command line is told: in our words where those of yargs do not say what to do. */
import { AuditkeepError } from '../errors.ts';
import { nearestName } from '../nearest-name.ts';

/** What could have been meant where something was not known. */
export interface Known {
  /** Long options, without dashes. */
  readonly options: readonly string[];
  /** Areas, or the verbs of the area that was named. */
  readonly words: readonly string[];
}

/** The error for what yargs said about a command line. */
export function usageError(message: string, argv: readonly string[], known: Known): AuditkeepError {
  const line = message.split('\n')[0] ?? '';
  if (line.startsWith('Not enough non-option arguments')) {
    return new AuditkeepError('USAGE', { message: 'an argument is missing', hint: 'the command with --help names it' });
  }
  const choice = /Argument: ([^,]+), Given: (.*), Choices: (.*)$/m.exec(message);
  if (line.startsWith('Invalid values') && choice !== null) {
    const [, name = '', given = '', choices = ''] = choice;
    return new AuditkeepError('USAGE', { message: `--${name} cannot be ${given}`, hint: `give one of ${choices}` });
  }
  const wrong = /^Unknown (?:argument|command)s?: ([^,]+)/.exec(line)?.[1];
  const meant = wrong === undefined ? null : guess(wrong, argv, known);
  const help = 'auditkeep --help shows what there is';
  return new AuditkeepError('USAGE', {
    message: lowerFirst(line),
    hint: meant === null ? help : `did you mean ${meant}?`,
  });
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
