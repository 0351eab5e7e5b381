import { generateKeyPairSync } from 'node:crypto';
import { expect, test } from 'vitest';
import { parseSshPublicKey } from '../../src/keys/ssh-public-key.ts';
import { encodeStrings } from '../../src/keys/ssh-wire.ts';

test('one RSA key has one fingerprint: further zeros before its numbers are refused', () => {
  const { n, e } = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({ format: 'jwk' });
  const [modulus, exponent] = [n, e].map((text) => Buffer.from(text ?? '', 'base64url'));
  const line = (zeros: number) =>
    `ssh-rsa ${encodeStrings('ssh-rsa', exponent ?? '', Buffer.concat([Buffer.alloc(zeros), modulus ?? Buffer.alloc(0)])).toString('base64')}`;
  expect(parseSshPublicKey(line(1)).type).toBe('ssh-rsa');
  for (const zeros of [2, 3]) expect(() => parseSshPublicKey(line(zeros))).toThrow(/leading zeros/);
});
