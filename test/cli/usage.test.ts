/** What every command does with an option that it does not know: nothing, in one line or one JSON document. */
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import { COMMANDS, main } from '../../src/cli/main.ts';

async function auditkeep(argv: readonly string[]) {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const exit = await main(argv, { stdout, stderr });
  stdout.end();
  stderr.end();
  return { exit, stdout: await text(stdout), stderr: await text(stderr) };
}

test.each(COMMANDS.map(({ path }) => path.join(' ')))('%s', async (command) => {
  const argv = [...command.split(' '), '--no-such-option'];
  const plain = await auditkeep(argv);
  expect({ exit: plain.exit, stdout: plain.stdout }).toEqual({ exit: 2, stdout: '' });
  expect(plain.stderr).toMatch(/^error USAGE: [^\n]+; [^\n]+\n$/);
  const json = await auditkeep([...argv, '--json']);
  expect({ exit: json.exit, stderr: json.stderr }).toEqual({ exit: 2, stderr: '' });
  expect(JSON.parse(json.stdout)).toMatchObject({ code: 'USAGE' });
});
