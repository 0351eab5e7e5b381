import { createHash, generateKeyPairSync, verify, X509Certificate } from 'node:crypto';
import { chmod, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { certificateSha256, parseCertificates, selfSign, writePem } from '../../src/keys/certificate.ts';
import { openSealKey, type SealKeyOptions } from '../../src/keys/seal-key.ts';
import { parseInstant, type UtcInstant } from '../../src/time/clock.ts';
import { temporaryHome } from '../support/context.ts';

const at = (iso: string): UtcInstant => parseInstant(iso) ?? expect.fail(`not an instant: ${iso}`);
const OWN: SealKeyOptions = { organization: 'Größe & Co', files: null, writes: true };
const now = at('2026-03-15T12:00:00.000Z');
const open = (home: string, options: Partial<Parameters<typeof openSealKey>[1]> = {}) =>
  openSealKey(home, { ...OWN, mayCreate: true, now, ...options });
const fileOf = (home: string) => join(home, 'keys', 'seal.pem');

let home: string;
beforeAll(async () => {
  home = await temporaryHome();
  await open(home);
});

test('a key is made once, for its owner alone, with a certificate that says whose seal it is', async () => {
  const [own] = (await open(home)).certificates;
  expect(own.subject).toBe('O=Größe & Co\nCN=Größe & Co (report seal)');
  expect([own.validFromDate, own.validToDate].map((date) => date.toISOString())).toEqual([
    '2026-03-15T00:00:00.000Z',
    '2036-03-14T12:00:00.000Z',
  ]);
  expect(own.verify(own.publicKey)).toBe(true);
  expect(own.ca).toBe(false);
  expect(own.publicKey.asymmetricKeyDetails?.modulusLength).toBe(3072);
  expect(certificateSha256(own)).toBe(own.fingerprint256.replaceAll(':', '').toLowerCase());
  expect(((await stat(fileOf(home))).mode & 0o7777).toString(8)).toBe('600');
  expect(await readdir(join(home, 'keys'))).toEqual(['seal.pem']);
  const signature = (await open(home)).sign(Buffer.from('text'));
  expect(verify('sha256', Buffer.from('text'), own.publicKey, signature)).toBe(true);
});

test('a certificate beyond 2049 has the longer form of time', () => {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const made = selfSign(privateKey, 'X', { from: '2049-12-31T23:59:59.000Z', to: '2050-01-01T00:00:00.000Z' });
  expect([made.validFrom, made.validTo]).toEqual(['Dec 31 23:59:59 2049 GMT', 'Jan  1 00:00:00 2050 GMT']);
});

test('processes that make the key at once agree on one', async () => {
  const shared = await temporaryHome();
  const keys = await Promise.all([open(shared), open(shared), open(shared)]);
  expect(new Set(keys.map(({ certificates: [own] }) => certificateSha256(own))).size).toBe(1);
  expect(await readdir(join(shared, 'keys'))).toEqual(['seal.pem']);
});

test('a lost key is not replaced, and a dry run leaves no file', async () => {
  const empty = await temporaryHome();
  await expect(open(empty, { mayCreate: false })).rejects.toMatchObject({ code: 'SEAL_KEY_MISSING' });
  const rehearsed = await open(empty, { writes: false });
  expect(rehearsed.sign(Buffer.from('x'))).toHaveLength(384);
  expect(await readdir(empty)).toEqual([]);
});

test('a key that others may read, in a data folder, or damaged is refused', async () => {
  const data = await temporaryHome();
  await writeFile(join(data, 'PG_VERSION'), '18\n');
  await expect(open(join(data, 'home'))).rejects.toMatchObject({ code: 'KEY_FILE_PLACE' });
  const other = await temporaryHome();
  await mkdir(join(other, 'keys'), { mode: 0o700 });
  const text = await readFile(fileOf(home), 'utf8');
  await writeFile(fileOf(other), text, { mode: 0o644 });
  await expect(open(other)).rejects.toMatchObject({ code: 'KEY_FILE_MODE' });
  await chmod(fileOf(other), 0o600);
  const ended = open(other, { now: at('2036-03-15T00:00:00.000Z') });
  await expect(ended).rejects.toMatchObject({ code: 'SEAL_KEY_INVALID' });
  await expect(ended).rejects.toThrow('it ends 2036-03-14');
  for (const damaged of ['', text.slice(0, 2000), text.replace('BEGIN PRIVATE', 'BEGIN SECRET')]) {
    await writeFile(fileOf(other), damaged);
    await expect(open(other)).rejects.toMatchObject({ code: 'SEAL_KEY_INVALID' });
  }
});

test('the operator’s own key and certificates are used, and refused when they do not fit', async () => {
  const folder = await temporaryHome();
  const made = (name: string, bits = 2048) => {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: bits });
    const validity = { from: '2026-01-01T00:00:00.000Z', to: '2027-01-01T00:00:00.000Z' };
    return { privateKey, certificate: selfSign(privateKey, name, validity) };
  };
  const [own, issuer] = [made('Own'), made('Issuer')];
  const put = async (name: string, text: string | Buffer) => {
    await writeFile(join(folder, name), text, { mode: 0o600 });
    return join(folder, name);
  };
  const pem = (options = {}) => own.privateKey.export({ format: 'pem', type: 'pkcs8', ...options }).toString();
  const key = await put('own.key', pem());
  const certificate = await put('own.pem', `an own line\n${writePem([own.certificate, issuer.certificate])}`);
  const given = await open(folder, { files: { key, certificate }, mayCreate: false });
  expect(given).toMatchObject({ made: false });
  expect(given.certificates.map(({ subject }) => subject)).toEqual([
    own.certificate.subject,
    issuer.certificate.subject,
  ]);
  expect(await readdir(folder)).not.toContain('keys');
  const passphrase = pem({ cipher: 'aes-256-cbc', passphrase: 'x' });
  const elliptic = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({
    format: 'pem',
    type: 'pkcs8',
  });
  const others: readonly (readonly [string, string])[] = [
    [await put('other.key', issuer.privateKey.export({ format: 'pem', type: 'pkcs8' })), certificate],
    [await put('locked.key', passphrase), certificate],
    [await put('ec.key', elliptic), certificate],
    [key, await put('none.pem', 'no certificate')],
    [key, join(folder, 'absent.pem')],
  ];
  for (const [otherKey, otherCertificate] of others) {
    const opened = open(folder, { files: { key: otherKey, certificate: otherCertificate } });
    await expect(opened, `${otherKey} ${otherCertificate}`).rejects.toMatchObject({ code: 'SEAL_KEY_INVALID' });
  }
  await chmod(key, 0o640);
  await expect(open(folder, { files: { key, certificate } })).rejects.toMatchObject({ code: 'KEY_FILE_MODE' });
});

test('what is no certificate of an RSA key of 2048 bits or more is none', () => {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 1024 });
  const validity = { from: '2026-01-01T00:00:00.000Z', to: '2027-01-01T00:00:00.000Z' };
  const weak = selfSign(privateKey, 'Weak', validity).toString();
  for (const text of ['', 'x', weak, weak.replace(/^MI/m, 'XX')]) expect(parseCertificates(text), text).toBeNull();
  const sound = new X509Certificate(
    selfSign(generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey, 'S', validity).raw,
  );
  expect(parseCertificates(sound.toString())?.map(certificateSha256)).toEqual([
    createHash('sha256').update(sound.raw).digest('hex'),
  ]);
  expect(parseCertificates(sound.toString().repeat(9))).toBeNull();
});
