import { chmod, link, mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { fileKekProvider } from '../../src/keys/providers/file.ts';
import { createKekFile, readKekFile } from '../../src/keys/providers/kek-file.ts';
import { temporaryHome } from '../support/context.ts';

const fileOf = (home: string) => join(home, 'keys', 'kek-1.json');
const payload = Buffer.alloc(64, 5);

test('a key file is made with mode 0600 in a folder with 0700 and holds a key that wraps and unwraps', async () => {
  const home = await temporaryHome();
  const provider = fileKekProvider(home);
  const kek = await provider.create();
  expect(((await stat(fileOf(home))).mode & 0o7777).toString(8)).toBe('600');
  expect(((await stat(join(home, 'keys'))).mode & 0o7777).toString(8)).toBe('700');
  expect(await readdir(join(home, 'keys'))).toEqual(['kek-1.json']);
  const wrapped = await provider.wrap(kek, payload);
  expect(wrapped).toHaveLength(72);
  expect(await fileKekProvider(home).unwrap(kek, wrapped)).toEqual(payload);
  expect(await provider.create()).toEqual(kek);
  expect(await provider.health(kek)).toEqual({ kind: 'ready' });
});

test('processes that make the file at once agree on one key', async () => {
  const home = await temporaryHome();
  const made = await Promise.all(Array.from({ length: 10 }, () => createKekFile(home, 1)));
  expect(new Set(made.map((file) => file.key.toString('hex'))).size).toBe(1);
  expect(await readdir(join(home, 'keys'))).toEqual(['kek-1.json']);
});

test('what a killed creation left of a key is deleted when the key is used, and not before there is one', async () => {
  const home = await temporaryHome();
  const { id } = await createKekFile(home, 1);
  const left = ['kek-1.json.00aa11bb22cc.tmp', 'kek-1.json.ffffffffffff.tmp'];
  await link(fileOf(home), join(home, 'keys', left[0] ?? ''));
  await writeFile(join(home, 'keys', left[1] ?? ''), '', { mode: 0o600 });
  // Of a generation that is being made, and of somebody else: neither is ours to delete.
  const kept = ['kek-2.json.00aa11bb22cc.tmp', 'kek-1.json.bak'];
  for (const name of kept) await writeFile(join(home, 'keys', name), '', { mode: 0o600 });
  await fileKekProvider(home).wrap({ id, generation: 1 }, payload);
  expect((await readdir(join(home, 'keys'))).sort()).toEqual(['kek-1.json', ...kept].sort());
  expect((await stat(fileOf(home))).nlink).toBe(1);
});

test('a key is neither made nor read inside a PostgreSQL data folder, whose copies would carry it', async () => {
  const data = await temporaryHome();
  const home = join(data, 'some', 'home');
  await createKekFile(home, 1);
  await writeFile(join(data, 'PG_VERSION'), '18\n');
  await expect(readKekFile(home, 1)).rejects.toMatchObject({ code: 'KEY_FILE_PLACE' });
  await expect(fileKekProvider(home).create()).rejects.toMatchObject({ code: 'KEY_FILE_PLACE' });
  const other = join(data, 'other');
  await expect(fileKekProvider(other).create()).rejects.toMatchObject({ code: 'KEY_FILE_PLACE' });
  expect(await readdir(data)).toEqual(['PG_VERSION', 'some']);
  const linked = join(await temporaryHome(), 'linked');
  await symlink(home, linked);
  await expect(readKekFile(linked, 1)).rejects.toMatchObject({ code: 'KEY_FILE_PLACE' });
});

test('every altered byte of a wrap is TAMPERED', async () => {
  const provider = fileKekProvider(await temporaryHome());
  const kek = await provider.create();
  const wrapped = await provider.wrap(kek, payload);
  for (let index = 0; index < wrapped.length; index += 1) {
    const altered = Buffer.from(wrapped);
    altered[index] = (altered[index] ?? 0) ^ 0x40;
    await expect(provider.unwrap(kek, altered)).rejects.toMatchObject({ code: 'TAMPERED' });
  }
});

test.skipIf(process.platform === 'win32').each([
  ['the file', 0o644, fileOf],
  ['the file', 0o620, fileOf],
  ['the file', 0o604, fileOf],
  ['the folder', 0o755, (home: string) => join(home, 'keys')],
])('%s with mode %o is refused', async (_what, mode, pathOf) => {
  const home = await temporaryHome();
  const { id } = await createKekFile(home, 1);
  await chmod(pathOf(home), mode);
  const kek = { id, generation: 1 };
  await expect(fileKekProvider(home).wrap(kek, payload)).rejects.toMatchObject({ code: 'KEY_FILE_MODE' });
  await expect(fileKekProvider(home).create()).rejects.toMatchObject({ code: 'KEY_FILE_MODE' });
  expect(await fileKekProvider(home).health(kek)).toMatchObject({ kind: 'unusable', code: 'KEY_FILE_MODE' });
});

test.skipIf(process.platform === 'win32')('a file whose mode is opened up later is seen by health', async () => {
  const home = await temporaryHome();
  const provider = fileKekProvider(home);
  const kek = await provider.create();
  await provider.wrap(kek, payload);
  await chmod(fileOf(home), 0o640);
  expect(await provider.health(kek)).toMatchObject({ kind: 'unusable', code: 'KEY_FILE_MODE' });
});

test('a missing file and another key’s file are KEY_MISSING', async () => {
  const home = await temporaryHome();
  const kek = { id: '0011223344556677', generation: 1 };
  await expect(fileKekProvider(home).wrap(kek, payload)).rejects.toMatchObject({ code: 'KEY_MISSING' });
  await createKekFile(home, 1);
  await expect(fileKekProvider(home).wrap(kek, payload)).rejects.toMatchObject({ code: 'KEY_MISSING' });
  expect(await fileKekProvider(home).health(kek)).toMatchObject({ kind: 'unusable', code: 'KEY_MISSING' });
});

const good = { version: 1, kekId: '0011223344556677', generation: 1, key: Buffer.alloc(32, 1).toString('base64url') };

test.each([
  ['no JSON', 'key'],
  ['an empty file', ''],
  ['an unknown version', JSON.stringify({ ...good, version: 2 })],
  ['a short key', JSON.stringify({ ...good, key: Buffer.alloc(31, 1).toString('base64url') })],
  ['a key of zeros', JSON.stringify({ ...good, key: Buffer.alloc(32).toString('base64url') })],
  ['a key that is not canonical', JSON.stringify({ ...good, key: good.key.replace(/.$/, 'F') })],
  ['another generation', JSON.stringify({ ...good, generation: 2 })],
  ['an unknown field', JSON.stringify({ ...good, note: 'x' })],
  ['a malformed id', JSON.stringify({ ...good, kekId: 'XX' })],
])('a key file with %s is KEY_FILE_INVALID and stays as it is', async (_what, content) => {
  const home = await temporaryHome();
  await mkdir(join(home, 'keys'), { mode: 0o700 });
  await writeFile(fileOf(home), JSON.stringify(good), { mode: 0o600 });
  await expect(readKekFile(home, 1)).resolves.toMatchObject({ id: good.kekId });
  await writeFile(fileOf(home), content);
  await expect(readKekFile(home, 1)).rejects.toMatchObject({ code: 'KEY_FILE_INVALID' });
  await expect(fileKekProvider(home).create()).rejects.toMatchObject({ code: 'KEY_FILE_INVALID' });
  expect(await readFile(fileOf(home), 'utf8')).toBe(content);
});
