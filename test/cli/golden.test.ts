/** Help and documents that are made from the code: `npm run golden` writes them again; read the diff. */
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { COMMANDS, main } from '../../src/cli/main.ts';
import { ERROR_CODES } from '../../src/errors.ts';

async function help(...words: readonly string[]): Promise<string> {
  const streams = { stdout: new PassThrough(), stderr: new PassThrough() };
  expect(await main([...words, '--help'], streams)).toBe(0);
  streams.stdout.end();
  return await text(streams.stdout);
}

const GLOBAL_OPTIONS = /\nGlobal options:\n(.+\n)+/;

describe('golden files', () => {
  it('hold the help of every command', async () => {
    const pages = [`$ auditkeep --help\n${await help()}`];
    for (const { path } of COMMANDS) {
      const page = (await help(...path)).replace(GLOBAL_OPTIONS, '');
      pages.push(`$ auditkeep ${path.join(' ')} --help\n${page}`);
    }
    await expect(pages.join('\n')).toMatchFileSnapshot('../golden/help.txt');
  });

  it('hold every error code', async () => {
    const rows = Object.entries(ERROR_CODES).map(([code, { exit, meaning }]) => `| ${code} | ${exit} | ${meaning} |`);
    const page = [
      '# Error codes',
      '',
      'Made from src/errors.ts by `npm run golden`. A code is never used for anything else.',
      '',
      'Exit codes: 0 done · 1 bug or unexpected failure · 2 usage or configuration · 3 verification failed or findings ·',
      '4 refused by policy · 5 dependency unavailable.',
      '',
      '| code | exit | meaning |',
      '| --- | --- | --- |',
      ...rows,
      '',
    ];
    await expect(page.join('\n')).toMatchFileSnapshot('../../docs/errors.md');
  });
});

describe('the list of commands', () => {
  it('has one of each, with examples that name it', () => {
    const paths = COMMANDS.map((command) => command.path.join(' '));
    expect(new Set(paths).size).toBe(paths.length);
    for (const command of COMMANDS) {
      expect(command.examples.length, command.path.join(' ')).toBeGreaterThan(0);
      for (const [line] of command.examples) expect(line).toContain(`auditkeep ${command.path.join(' ')}`);
    }
  });

  it('lists error codes in alphabetical order', () => {
    const codes = Object.keys(ERROR_CODES);
    expect(codes).toEqual([...codes].sort());
  });
});
