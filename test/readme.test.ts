/** The README's commands work as pasted, and its table names exactly the commands that exist. */
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { COMMANDS } from '../src/cli/main.ts';
import { isExpected } from './support/shared-data.ts';

const run = promisify(execFile);
const root = join(import.meta.dirname, '..');
const data = join(root, '..', 'shared', 'data');
const readme = await readFile(join(root, 'README.md'), 'utf8');
let folder = '';

/** Each line of each sh block, without its comment. */
function shellLines(): string[] {
  const blocks = [...readme.matchAll(/```sh\n([\s\S]*?)```/g)].map((match) => match[1] ?? '');
  return blocks.flatMap((block) => block.split('\n')).flatMap((line) => line.replace(/\s+#.*$/, '').trim() || []);
}

function inShell(line: string) {
  const env: NodeJS.ProcessEnv = {
    ...process.env,
    AUDITKEEP_HOME: join(folder, 'home'),
    PATH: `${join(root, 'node_modules', '.bin')}:${process.env['PATH']}`,
  };
  delete env['DATABASE_URL'];
  return run('sh', ['-c', line], { cwd: root, env, maxBuffer: 64 * 1024 * 1024 });
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'auditkeep-readme-'));
});

afterAll(async () => {
  await inShell('node bin/auditkeep.js db down');
  await rm(folder, { recursive: true, force: true });
});

test('the two commands that do all the set-up are there and their scripts exist', async () => {
  const { scripts } = z
    .object({ scripts: z.record(z.string(), z.string()) })
    .parse(JSON.parse(await readFile(join(root, 'package.json'), 'utf8')));
  expect(shellLines()).toContain('npm ci && npm run demo');
  expect(shellLines()).toContain('npm ci && npm test');
  expect(Object.keys(scripts)).toEqual(expect.arrayContaining(['demo', 'test']));
});

test('the table names exactly the commands that exist', () => {
  const table = readme.slice(readme.indexOf('| who |'), readme.indexOf('Every command has `--help`'));
  const named = [...table.matchAll(/`([^`]+)`/g)].map((match) => match[1]).filter((name) => !name?.includes('.mjs'));
  const existing = [...COMMANDS.map((command) => command.path.join(' ')), 'completion'];
  expect(named.sort()).toEqual(existing.sort());
});

test('the demo runs on a fresh home, and every command after it works on what it left', {
  timeout: 400_000,
}, async () => {
  const out = join(folder, 'out');
  const source = isExpected(data) ? `--data ${data}` : '';
  await inShell(`npm run demo -- ${source} --out ${out}`);
  const files = await readdir(out);
  expect(files.filter((file) => file.endsWith('.pdf'))).toHaveLength(3);
  expect(files.filter((file) => file.endsWith('.zip.age'))).toHaveLength(1);
  const summary = z
    .object({
      tampered: z.object({ eventId: z.string(), found: z.object({ class: z.string(), eventId: z.string() }) }),
    })
    .parse(JSON.parse(await readFile(join(out, 'summary.json'), 'utf8')));
  expect(summary.tampered.found).toEqual({ class: 'modified', eventId: summary.tampered.eventId });
  // What was found in the tampered copy is no finding of the database that stays.
  const { stdout: chain } = await inShell('node bin/auditkeep.js chain status');
  expect(chain).toMatch(/^verified +full +.*: no findings$/m);
  const after = shellLines().filter((line) => line.startsWith('npx auditkeep') && !/ (migrate|worker)$/.test(line));
  expect(after.length).toBeGreaterThan(6);
  for (const line of after) {
    const { stdout } = await inShell(line.replace('npx auditkeep', 'node bin/auditkeep.js'));
    expect(stdout, line).not.toBe('');
  }
});
