import { createCipheriv, createDecipheriv, createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { gcm } from '@noble/ciphers/aes.js';
import { hmac } from '@noble/hashes/hmac.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { isExpected } from '../support/shared-data.ts';

const FOLDER = '../shared/data/wycheproof';
const hex = (text: string) => Buffer.from(text, 'hex');
const result = z.enum(['valid', 'invalid', 'acceptable']);

const aeadShape = z.object({
  testGroups: z.array(
    z.object({
      ivSize: z.number(),
      keySize: z.number(),
      tagSize: z.number(),
      tests: z.array(
        z.object({
          tcId: z.number(),
          key: z.string(),
          iv: z.string(),
          aad: z.string(),
          msg: z.string(),
          ct: z.string(),
          tag: z.string(),
          result,
        }),
      ),
    }),
  ),
});

const macShape = z.object({
  testGroups: z.array(
    z.object({
      tagSize: z.number(),
      tests: z.array(z.object({ tcId: z.number(), key: z.string(), msg: z.string(), tag: z.string(), result })),
    }),
  ),
});

function read<T>(shape: z.ZodType<T>, file: string): T {
  return shape.parse(JSON.parse(readFileSync(`${FOLDER}/${file}`, 'utf8')));
}

function nodeGcmOpen(key: Buffer, iv: Buffer, aad: Buffer, ciphertext: Buffer, tag: Buffer): Buffer | null {
  const decipher = createDecipheriv('aes-256-gcm', key, iv, { authTagLength: 16 });
  decipher.setAAD(aad);
  decipher.setAuthTag(tag);
  const plaintext = decipher.update(ciphertext);
  try {
    decipher.final();
    return plaintext;
  } catch {
    return null;
  }
}

function nobleGcmOpen(key: Buffer, iv: Buffer, aad: Buffer, sealed: Buffer): Uint8Array | null {
  try {
    return gcm(key, iv, aad).decrypt(sealed);
  } catch {
    return null;
  }
}

describe.skipIf(!isExpected(FOLDER))('wycheproof vectors (../shared/data/wycheproof) on the primitives used', () => {
  test('AES-256-GCM, 96-bit nonce, 128-bit tag: both libraries', () => {
    const groups = read(aeadShape, 'aes_gcm_test.json').testGroups.filter(
      (group) => group.keySize === 256 && group.ivSize === 96 && group.tagSize === 128,
    );
    const counts = { valid: 0, invalid: 0, acceptable: 0 };
    for (const vector of groups.flatMap((group) => group.tests)) {
      const [key, iv, aad, message] = [hex(vector.key), hex(vector.iv), hex(vector.aad), hex(vector.msg)];
      const [ciphertext, tag] = [hex(vector.ct), hex(vector.tag)];
      const opened = nodeGcmOpen(key, iv, aad, ciphertext, tag);
      const openedToo = nobleGcmOpen(key, iv, aad, Buffer.concat([ciphertext, tag]));
      counts[vector.result] += 1;
      if (vector.result !== 'valid') {
        expect([vector.tcId, opened, openedToo]).toEqual([vector.tcId, null, null]);
        continue;
      }
      expect([vector.tcId, opened]).toEqual([vector.tcId, message]);
      expect([vector.tcId, openedToo && Buffer.from(openedToo)]).toEqual([vector.tcId, message]);
      const cipher = createCipheriv('aes-256-gcm', key, iv);
      cipher.setAAD(aad);
      expect(Buffer.concat([cipher.update(message), cipher.final(), cipher.getAuthTag()])).toEqual(
        Buffer.concat([ciphertext, tag]),
      );
    }
    expect(counts.valid).toBeGreaterThan(30);
    expect(counts.invalid).toBeGreaterThan(10);
  });

  test('HMAC-SHA256: both libraries', () => {
    let invalid = 0;
    let valid = 0;
    for (const group of read(macShape, 'hmac_sha256_test.json').testGroups) {
      for (const vector of group.tests) {
        const length = group.tagSize / 8;
        const mac = createHmac('sha256', hex(vector.key)).update(hex(vector.msg)).digest().subarray(0, length);
        const macToo = Buffer.from(hmac(sha256, hex(vector.key), hex(vector.msg)).subarray(0, length));
        expect(macToo).toEqual(mac);
        expect([vector.tcId, mac.equals(hex(vector.tag))]).toEqual([vector.tcId, vector.result === 'valid']);
        if (vector.result === 'valid') valid += 1;
        else invalid += 1;
      }
    }
    expect(valid).toBeGreaterThan(50);
    expect(invalid).toBeGreaterThan(50);
  });
});

// RFC 4231 section 4.3: HMAC-SHA512, which the wycheproof selection lacks.
test('HMAC-SHA512', () => {
  const mac = createHmac('sha512', 'Jefe').update('what do ya want for nothing?').digest('hex');
  expect(mac).toBe(
    '164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737',
  );
});

// RFC 3394 section 4.6: wrap 256 bits with a 256-bit KEK.
test('AES key wrap', () => {
  const kek = hex('000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F');
  const cipher = createCipheriv('id-aes256-wrap', kek, Buffer.alloc(8, 0xa6));
  const wrapped = cipher.update(hex('00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F'));
  expect(Buffer.concat([wrapped, cipher.final()]).toString('hex').toUpperCase()).toBe(
    '28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21',
  );
});
