/** Checkpoints: the note a stranger must be able to read, and everything that must not open. */
import { createPrivateKey, createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import {
  formatVerifierKey,
  keyId,
  openCheckpoint,
  parseVerifierKey,
  signTreeHead,
  type TreeHead,
} from '../../src/audit/tree/checkpoint.ts';
import { sha256 } from '../../src/audit/tree/hash.ts';
import vectors from '../vectors/checkpoint-v1.json' with { type: 'json' };

const privateKey = createPrivateKey(vectors.privateKeyPem);
const key = { name: vectors.origin, publicKey: createPublicKey(privateKey) };
const head: TreeHead = {
  origin: vectors.origin,
  size: BigInt(vectors.size),
  root: Buffer.from(vectors.rootHex, 'hex'),
};

describe('the published vector', () => {
  it('is signed to the byte: Ed25519 is deterministic', () => {
    expect(signTreeHead(head, privateKey)).toBe(vectors.note);
    expect(formatVerifierKey(key)).toBe(vectors.verifierKey);
    expect(keyId(key).toString('hex')).toBe(vectors.keyIdHex);
  });

  it('opens under the key as it was published', () => {
    expect(openCheckpoint(vectors.note, parseVerifierKey(vectors.verifierKey))).toEqual(head);
  });
});

it('reads the key of the signed-note specification (https://c2sp.org/signed-note)', () => {
  const line = 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW';
  expect(formatVerifierKey(parseVerifierKey(line))).toBe(line);
});

describe('a note that is not exactly ours', () => {
  const note = vectors.note;
  const other = generateKeyPairSync('ed25519');
  const edited = (from: string | RegExp, to: string) => note.replace(from, to);
  it.each([
    ['of another origin', signTreeHead({ ...head, origin: 'other.example/log' }, privateKey), 'CHECKPOINT_ORIGIN'],
    ['signed by another key', signTreeHead(head, other.privateKey), 'CHECKPOINT_KEY'],
    ['with another size', edited(`\n${vectors.size}\n`, `\n${vectors.size + 1}\n`), 'CHECKPOINT_SIGNATURE'],
    [
      'with another root',
      edited(head.root.toString('base64'), sha256(head.root).toString('base64')),
      'CHECKPOINT_SIGNATURE',
    ],
    ['with bytes after it', `${note}x`, 'CHECKPOINT_FORMAT'],
    ['with an empty line after it', `${note}\n`, 'CHECKPOINT_FORMAT'],
    ['without its last newline', note.slice(0, -1), 'CHECKPOINT_FORMAT'],
    ['with carriage returns', note.replaceAll('\n', '\r\n'), 'CHECKPOINT_FORMAT'],
    ['without a signature', note.slice(0, note.indexOf('\n\n') + 1), 'CHECKPOINT_FORMAT'],
    ['with a signature that is not base64', edited(/ [A-Za-z0-9+/=]+\n$/, ' !!!!\n'), 'CHECKPOINT_FORMAT'],
    ['with a line too few', edited(`\n${vectors.size}`, ''), 'CHECKPOINT_FORMAT'],
    ['with another key id', edited(/ [A-Za-z0-9+/]{4}/g, ' AAAA'), 'CHECKPOINT_KEY'],
    ['that is empty', '', 'CHECKPOINT_FORMAT'],
    ['that is huge', 'x'.repeat(20_000), 'CHECKPOINT_FORMAT'],
  ])('%s is refused', (_, text, code) => {
    expect(() => openCheckpoint(text, key)).toThrow(expect.objectContaining({ code }));
  });

  it.each(['0', '9223372036854775808', '007', '-1', '1.0', '1e3', '', '99999999999999999999'])(
    'with the size %j is refused though signed',
    (text) => {
      const signed = resign(`${vectors.origin}\n${text}\n${head.root.toString('base64')}\n`);
      expect(() => openCheckpoint(signed, key)).toThrow(expect.objectContaining({ code: 'CHECKPOINT_FORMAT' }));
    },
  );

  it('with a root in base64 that is not canonical is refused though signed', () => {
    const root = head.root.toString('base64');
    const loose = root.replace(/(.)=$/, (_, last: string) => `${String.fromCharCode(last.charCodeAt(0) + 1)}=`);
    expect(Buffer.from(loose, 'base64')).toEqual(head.root);
    const signed = resign(`${vectors.origin}\n5\n${loose}\n`);
    expect(() => openCheckpoint(signed, key)).toThrow(expect.objectContaining({ code: 'CHECKPOINT_FORMAT' }));
  });

  it('with extension lines and a further signature still opens', () => {
    const extended = resign(`${vectors.origin}\n5\n${head.root.toString('base64')}\nextension line\n`);
    const witnessed = `${extended}\u2014 witness.example ${Buffer.alloc(76, 7).toString('base64')}\n`;
    expect(openCheckpoint(witnessed, key)).toEqual({ ...head, size: 5n });
  });
});

it.each(['name', 'a+00000000+AAAA', vectors.verifierKey.replace(/\+[0-9a-f]{8}\+/, '+00000000+')])(
  'refuses the verifier key %s',
  (line) => {
    expect(() => parseVerifierKey(line)).toThrow(expect.objectContaining({ code: 'CHECKPOINT_KEY' }));
  },
);

/** Signs any text as a note, by the specification rather than by the code under test. */
function resign(text: string): string {
  const signature = sign(null, Buffer.from(text), privateKey);
  return `${text}\n\u2014 ${vectors.origin} ${Buffer.concat([keyId(key), signature]).toString('base64')}\n`;
}
