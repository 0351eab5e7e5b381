import { spawnSync } from 'node:child_process';
import { createHash, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { generateSshKeyPair, parseOpensshPrivateKey, readSshKeyFile, writeSshKeyPair } from '../../src/keys/ssh-key.ts';
import { parseSshPublicKey } from '../../src/keys/ssh-public-key.ts';
import { encodeStrings, encodeUint32 } from '../../src/keys/ssh-wire.ts';
import { checkSshsig, NAMESPACES, signSshsig } from '../../src/keys/sshsig.ts';

const NS = NAMESPACES.reportDecision;
const message = Buffer.from('{"meaning":"approve","über":"ünïcode"}', 'utf8');
const hasSshKeygen = spawnSync('ssh-keygen', ['-?']).error === undefined;

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'auditkeep-sshsig-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

function sshKeygen(args: readonly string[], input?: Uint8Array) {
  const result = spawnSync('ssh-keygen', args, { input, encoding: 'utf8' });
  return { status: result.status, stdout: result.stdout, stderr: result.stderr };
}

/** Changes one byte inside the armored body. */
function flip(armored: string, at: number): string {
  const body = Buffer.from(armored.split('\n').slice(1, -2).join(''), 'base64');
  body[at] = (body[at] ?? 0) ^ 1;
  return `-----BEGIN SSH SIGNATURE-----\n${body.toString('base64')}\n-----END SSH SIGNATURE-----\n`;
}

describe('in this process alone', () => {
  test('what is signed verifies and names its key', async () => {
    const path = join(folder, 'own');
    const publicKey = await writeSshKeyPair(path, 'own');
    const signature = await signSshsig(await readSshKeyFile(path), NS, message);
    const check = checkSshsig(signature, NS, message);
    expect(check).toMatchObject({ valid: true, publicKey: { fingerprint: publicKey.fingerprint } });
    expect(checkSshsig(signature, NAMESPACES.person, message)).toEqual({ valid: false, reason: 'namespace' });
    expect(checkSshsig(signature, NS, Buffer.from('other'))).toEqual({ valid: false, reason: 'signature' });
  });

  test('no byte of a signature can change', async () => {
    const path = join(folder, 'flip');
    await writeSshKeyPair(path, 'flip');
    const signature = await signSshsig(await readSshKeyFile(path), NS, message);
    const length = Buffer.from(signature.split('\n').slice(1, -2).join(''), 'base64').length;
    const accepted = Array.from({ length }, (_, at) => at).filter((at) => {
      const check = checkSshsig(flip(signature, at), NS, message);
      return check.valid;
    });
    expect(accepted).toEqual([]);
    expect(checkSshsig(signature.replace('-----END', 'AAAA\n-----END'), NS, message).valid).toBe(false);
  });

  test('a private key that others may read is refused', async () => {
    const path = join(folder, 'shared');
    await writeSshKeyPair(path, 'shared');
    await chmod(path, 0o644);
    await expect(readSshKeyFile(path)).rejects.toMatchObject({ code: 'KEY_FILE_MODE' });
    await chmod(path, 0o600);
    await expect(readSshKeyFile(path)).resolves.toMatchObject({ kind: 'in-process' });
  });

  test('files that are no key are refused with a code', async () => {
    await expect(readSshKeyFile(join(folder, 'absent'))).rejects.toMatchObject({ code: 'INPUT_FILE' });
    await writeFile(join(folder, 'text'), 'hello world\n', { mode: 0o600 });
    await expect(readSshKeyFile(join(folder, 'text'))).rejects.toMatchObject({ code: 'KEY_FORMAT' });
    const { privateKey } = generateSshKeyPair('cut');
    expect(() => parseOpensshPrivateKey(privateKey.replace(/\n[^\n]+\n-----END/, '\n-----END'))).toThrow(
      /cannot be read/,
    );
  });

  test('a FIDO signature counts only with the presence of the user', () => {
    const { privateKey, publicKey } = generateKeyPairSync('ed25519');
    const point = Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url');
    const type = 'sk-ssh-ed25519@openssh.com';
    const blob = encodeStrings(type, point, 'ssh:');
    const frame = Buffer.concat([
      Buffer.from('SSHSIG'),
      encodeStrings(NS, '', 'sha512', createHash('sha512').update(message).digest()),
    ]);
    const signatureWith = (flags: number) => {
      const tail = Buffer.concat([Buffer.from([flags]), encodeUint32(7)]);
      const hash = (bytes: Uint8Array | string) => createHash('sha256').update(bytes).digest();
      const signed = sign(null, Buffer.concat([hash('ssh:'), tail, hash(frame)]), privateKey);
      const inner = Buffer.concat([encodeStrings(type, signed), tail]);
      const outer = Buffer.concat([
        Buffer.from('SSHSIG'),
        encodeUint32(1),
        encodeStrings(blob, NS, '', 'sha512', inner),
      ]);
      return `-----BEGIN SSH SIGNATURE-----\n${outer.toString('base64')}\n-----END SSH SIGNATURE-----\n`;
    };
    expect(checkSshsig(signatureWith(1), NS, message).valid).toBe(true);
    expect(checkSshsig(signatureWith(0), NS, message)).toEqual({ valid: false, reason: 'signature' });
  });
});

describe.skipIf(!hasSshKeygen)('against ssh-keygen (OpenSSH must be installed)', () => {
  test('ssh-keygen reads our key files and verifies our signatures', async () => {
    const path = join(folder, 'ours');
    const publicKey = await writeSshKeyPair(path, 'ours');
    expect(sshKeygen(['-y', '-f', path]).stdout.trim()).toContain(publicKey.text);
    expect(sshKeygen(['-l', '-f', `${path}.pub`]).stdout).toContain(publicKey.fingerprint);
    const signature = join(folder, 'ours.sig');
    await writeFile(signature, await signSshsig(await readSshKeyFile(path), NS, message));
    const signers = join(folder, 'allowed_signers');
    await writeFile(signers, `ours@example.org namespaces="${NS}" ${publicKey.text}\n`);
    const verify = (namespace: string, input: Uint8Array) =>
      sshKeygen(['-Y', 'verify', '-f', signers, '-I', 'ours@example.org', '-n', namespace, '-s', signature], input)
        .status;
    expect(verify(NS, message)).toBe(0);
    expect(verify(NS, randomBytes(8))).not.toBe(0);
    expect(verify(NAMESPACES.person, message)).not.toBe(0);
  });

  test.each([
    ['ed25519', []],
    ['ecdsa', ['-b', '256']],
    ['ecdsa', ['-b', '384']],
    ['ecdsa', ['-b', '521']],
    ['rsa', ['-b', '2048']],
  ])('its %s %j signatures verify here', async (type, bits) => {
    const path = join(folder, `theirs-${type}-${bits.join('')}`);
    expect(sshKeygen(['-q', '-t', type, ...bits, '-N', '', '-C', 'theirs', '-f', path]).status).toBe(0);
    const publicKey = parseSshPublicKey(await readFile(`${path}.pub`, 'utf8'));
    const file = await readSshKeyFile(path);
    expect(file.kind).toBe(type === 'ed25519' ? 'in-process' : 'ssh-keygen');
    const theirs = sshKeygen(['-Y', 'sign', '-q', '-f', path, '-n', NS], message).stdout;
    for (const signature of [theirs, await signSshsig(file, NS, message)]) {
      expect(checkSshsig(signature, NS, message)).toMatchObject({
        valid: true,
        publicKey: { fingerprint: publicKey.fingerprint },
      });
      expect(checkSshsig(signature, NS, Buffer.from('other')).valid).toBe(false);
    }
  });

  test('an encrypted key is left to ssh-keygen, whose failure is told', async () => {
    const path = join(folder, 'encrypted');
    sshKeygen(['-q', '-t', 'ed25519', '-N', 'secret words', '-f', path]);
    const file = await readSshKeyFile(path);
    expect(file.kind).toBe('ssh-keygen');
    await rm(path); // no terminal to ask on: without its file ssh-keygen fails at once
    await expect(signSshsig(file, NS, message)).rejects.toMatchObject({ code: 'SIGN_FAILED' });
  });

  test('a short RSA key is refused', async () => {
    const path = join(folder, 'short');
    const made = sshKeygen(['-q', '-t', 'rsa', '-b', '1024', '-N', '', '-f', path]);
    expect(made.status).toBe(0);
    await expect(readSshKeyFile(`${path}.pub`)).rejects.toMatchObject({ code: 'KEY_FORMAT' });
  });

  test('a signature over SHA-256 is refused', () => {
    const path = join(folder, 'sha256');
    sshKeygen(['-q', '-t', 'ed25519', '-N', '', '-f', path]);
    const weaker = sshKeygen(['-Y', 'sign', '-q', '-O', 'hashalg=sha256', '-f', path, '-n', NS], message).stdout;
    expect(checkSshsig(weaker, NS, message)).toEqual({ valid: false, reason: 'hash' });
  });
});
