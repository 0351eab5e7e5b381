/** The command line in this process: what runs, what is printed where, and with which exit code it ends. */
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import type { Argv } from 'yargs';
import { z } from 'zod';
import { type CommandResult, defineCommand } from '../../src/cli/command.ts';
import { main } from '../../src/cli/main.ts';
import { wrapProse, wrapTable } from '../../src/cli/output.ts';
import { AuditkeepError, EXIT, type ExitCode } from '../../src/errors.ts';

const ran: unknown[] = [];
const LIST = { type: 'string', array: true } as const;

function withOptions(yargs: Argv): Argv {
  return yargs
    .option('limit', { type: 'number' })
    .option('name', { type: 'string', requiresArg: true })
    .option('mood', { choices: ['calm', 'keen'] })
    .option('only', { ...LIST, requiresArg: true });
}

function command(path: readonly [string, ...string[]], run: () => Promise<CommandResult>, positionals?: string) {
  return defineCommand<object>({
    path,
    ...(positionals === undefined ? {} : { positionals }),
    summary: 'a test',
    examples: [],
    options: (yargs) => (positionals === undefined ? withOptions(yargs) : withOptions(yargs).positional('ids', LIST)),
    async run(_session, args) {
      ran.push(args);
      return await run();
    },
  });
}

const commands = [
  command(['good', 'one'], () => Promise.resolve({ data: { big: 12345678901234567890n }, text: 'fine' })),
  command(['found'], () => Promise.resolve({ data: {}, text: '', exitCode: EXIT.findings })),
  command(['take'], () => Promise.resolve({ data: {}, text: '' }), '<ids..>'),
  command(['refused'], () =>
    Promise.reject(new AuditkeepError('DB_LOCKED', { message: 'two\nlines', hint: 'wait', details: { by: 7n } })),
  ),
  defineCommand<object>({
    path: ['must'],
    summary: 'a test',
    examples: [],
    options: (yargs) => yargs.option('need', { type: 'string', demandOption: true }),
    run: () => Promise.resolve({ data: {}, text: '' }),
  }),
  command(['bug'], () => Promise.reject(new TypeError('x is not a function'))),
];

async function cli(...argv: string[]): Promise<{ code: ExitCode; out: string; err: string }> {
  ran.length = 0;
  const streams = { stdout: new PassThrough(), stderr: new PassThrough() };
  const code = await main(argv, streams, commands);
  streams.stdout.end();
  streams.stderr.end();
  return { code, out: await text(streams.stdout), err: await text(streams.stderr) };
}

describe('the command line', () => {
  it('prints text, or JSON with big numbers as strings', async () => {
    expect(await cli('good', 'one')).toEqual({ code: 0, out: 'fine\n', err: '' });
    const { out } = await cli('good', 'one', '--json');
    expect(JSON.parse(out)).toEqual({ big: '12345678901234567890' });
    expect((await cli('found')).code).toBe(3);
  });

  it.each([
    [['good', 'one', '--wrong'], /unknown option: --wrong; auditkeep good one --help/],
    [['good', 'one', '-x'], /unknown option: -x/],
    [['good', 'one', 'more'], /unknown argument: more/],
    [['good'], /name a verb: one/],
    [['good', 'two'], /unknown argument: two|name a verb/],
    [['nothing'], /unknown argument: nothing/],
    [[], /name a command/],
    [['found', '--limit', 'many'], /--limit needs a number/],
    [['found', '--name'], /--name needs a value; auditkeep found --help/],
    [['found', '--as', 'a', '--as', 'b'], /--as is given more than once/],
    [['found', '--name', 'a', '--name', 'b'], /--name is given more than once/],
    [['take'], /an argument is missing/],
    [['found', '--mood', 'x'], /--mood cannot be "x"; give one of "calm", "keen"\n/],
  ])('runs nothing for %j', async (argv, message) => {
    const { code, out, err } = await cli(...argv);
    expect(ran).toEqual([]);
    expect({ code, out }).toEqual({ code: 2, out: '' });
    expect(err).toMatch(/^error USAGE: [^\n]+; [^\n]+\n$/);
    expect(err).toMatch(message);
  });

  it.each([
    [['good', 'one', '--limt', '3'], 'unknown option: --limt; did you mean --limit?'],
    [['good', 'one', '--limt=3'], 'unknown option: --limt; did you mean --limit?'],
    [['found', '--jsn'], 'unknown option: --jsn; did you mean --json?'],
    [['--jsn', 'found'], 'unknown option: --jsn; did you mean --json?'],
    [['must', '--nede', '1'], 'unknown option: --nede; did you mean --need?'],
    [['must'], 'not given: --need; auditkeep must --help shows what there is'],
    [['--quiet', 'good'], 'name a verb: one; auditkeep --help shows what there is'],
    [['good', 'onne'], 'unknown argument: onne; did you mean one?'],
    [['fuond'], 'unknown argument: fuond; did you mean found?'],
    [['found', '--zzzzzzzz'], 'unknown option: --zzzzzzzz; auditkeep found --help shows what there is'],
  ])('names what %j probably meant', async (argv, line) => {
    expect(await cli(...argv)).toEqual({ code: 2, out: '', err: `error USAGE: ${line}\n` });
  });

  it('explains completion instead of printing the script', async () => {
    const { code, out } = await cli('completion', '--help');
    expect({ code, lines: out.split('\n').length }).toEqual({ code: 0, lines: 8 });
    expect(out).toContain('auditkeep completion >> ~/.bashrc');
  });

  it('breaks help and prose at the width of a terminal, and leaves files and long words whole', async () => {
    const stdout = Object.assign(new PassThrough(), { columns: 60 });
    expect(await main(['good', 'one', '--help'], { stdout, stderr: new PassThrough() }, commands)).toBe(0);
    stdout.end();
    for (const line of (await text(stdout)).split('\n')) expect(line.length).toBeLessThanOrEqual(60);
    expect(wrapProse('  one two three\nfour', 10)).toBe('  one two\n    three\nfour');
    expect(wrapProse('at /a/long/path here', 8)).toBe('at\n  /a/long/path\n  here');
    expect(wrapProse('as long as it is', undefined)).toBe('as long as it is');
  });

  it.each([
    // Between cells where the next fits a line, and below the last cell that leaves room.
    ['id      state    attempt 1 of 4  now', 34, ['id      state    attempt 1 of 4', '  now']],
    ['id      state    attempt 1 of 4  now', 28, ['id      state', '  attempt 1 of 4  now']],
    [
      'abc  1  a text that is too long for the rest of its line',
      40,
      ['abc  1  a text that is too long for the', '        rest of its line'],
    ],
    ['  a   one        two words', 50, ['  a   one        two words']],
    // Nothing is gained by breaking before a word that fits no line.
    [
      'key         auditkeep.local/audit+81337990+AZGsE8PyHol+5uUw570o5',
      44,
      ['key         auditkeep.local/audit+81337990+AZGsE8PyHol+5uUw570o5'],
    ],
  ])('breaks the row %j of a table at %s columns', (row, columns, lines) => {
    expect(wrapTable(row, columns).split('\n')).toEqual(lines);
    expect(wrapTable(row, undefined)).toBe(row);
  });

  it('breaks a table on a terminal only', async () => {
    const wide = [command(['wide'], () => Promise.resolve({ data: {}, text: `a  ${'word '.repeat(20).trim()}` }))];
    for (const columns of [40, undefined]) {
      const stdout = Object.assign(new PassThrough(), columns === undefined ? {} : { columns });
      expect(await main(['wide'], { stdout, stderr: new PassThrough() }, wide)).toBe(0);
      stdout.end();
      const lines = (await text(stdout)).trimEnd().split('\n');
      expect(lines.length).toBe(columns === undefined ? 1 : 3);
      expect(Math.max(...lines.map((line) => line.length))).toBe(columns === undefined ? 102 : 37);
    }
  });

  it('keeps arguments as they were typed', async () => {
    await cli('take', '007', '1e3', '--only', '1', '--only', '02');
    expect(ran).toMatchObject([{ ids: ['007', '1e3'], only: ['1', '02'] }]);
  });

  it('prints an error as one line, or as JSON to stdout', async () => {
    expect(await cli('refused')).toEqual({ code: 5, out: '', err: 'error DB_LOCKED: two lines; wait\n' });
    const { code, out, err } = await cli('refused', '--json');
    expect({ code, err }).toEqual({ code: 5, err: '' });
    expect(JSON.parse(out)).toEqual({ code: 'DB_LOCKED', message: 'two\nlines', hint: 'wait', details: { by: '7' } });
    const usage = await cli('found', '--wrong', '--json');
    expect(z.object({ code: z.string() }).parse(JSON.parse(usage.out)).code).toBe('USAGE');
  });

  it('ends with 1 for a bug, without a stack', async () => {
    const { code, err } = await cli('bug');
    expect(code).toBe(1);
    expect(err).toMatch(/^error INTERNAL: x is not a function; [^\n]*AUDITKEEP_DEBUG=1[^\n]*\n$/);
  });
});
