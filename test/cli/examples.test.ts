/** Every example in the help is a command line that its own command takes. */
import { expect, test } from 'vitest';
import { COMMANDS } from '../../src/cli/main.ts';
import { parseCommandLine } from '../../src/cli/parser.ts';

/** The words behind `auditkeep` as a shell would split them, up to a pipe, a redirection or the end of a `$(...)`. */
function wordsOf(line: string): string[] {
  const [, inner] = /\$\(auditkeep ([^)]*)\)/.exec(line) ?? [];
  const [command = ''] = (inner ?? line.replace(/^auditkeep /, '')).split(/ [|>] /);
  return [...command.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map(([, a, b, c]) => a ?? b ?? c ?? '');
}

const lines = COMMANDS.flatMap(({ path, examples }) => examples.map(([line]) => [line, path.join(' ')] as const));

test.each(lines)('%s', async (line, path) => {
  const parsed = await parseCommandLine(COMMANDS, wordsOf(line), '0');
  expect(parsed).toMatchObject({ kind: 'run', command: { path: path.split(' ') } });
});

test('an example that no command takes is seen', async () => {
  await expect(parseCommandLine(COMMANDS, ['status', '--everything'], '0')).rejects.toMatchObject({ code: 'USAGE' });
});
