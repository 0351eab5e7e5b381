/** Every example in the help, and every command of the guides, is a command line that its command takes. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
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

/** The indented commands of the guides; what stands behind three spaces or a # explains them. */
function guideLines(): (readonly [guide: string, line: string])[] {
  const folder = join(import.meta.dirname, '..', '..', 'docs', 'guide');
  return readdirSync(folder).flatMap((guide) => {
    const text = readFileSync(join(folder, guide), 'utf8').replace(/ \\\n\s*/g, ' ');
    const found = [...text.matchAll(/^ {4}(auditkeep .*?)(?: {3,}.*| +#.*)?$/gm)];
    return found.map(([, line = '']) => [guide, line] as const);
  });
}

test.each(guideLines())('%s: %s', async (_, line) => {
  expect(await parseCommandLine(COMMANDS, wordsOf(line), '0')).toMatchObject({ kind: 'run' });
});

test('the guides are read', () => {
  expect(guideLines().length).toBeGreaterThan(40);
});

test('an example that no command takes is seen', async () => {
  await expect(parseCommandLine(COMMANDS, ['status', '--everything'], '0')).rejects.toMatchObject({ code: 'USAGE' });
});
