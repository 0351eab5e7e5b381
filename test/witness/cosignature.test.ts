/** Cosignatures: the specification's own example, a second implementation in both directions, and what must not open. */
import { createPublicKey } from 'node:crypto';
import { expect, it } from 'vitest';
import { COSIGNATURE_TYPE, formatVerifierKey, parseVerifierKey } from '../../src/audit/tree/checkpoint.ts';
import { cosign, openCosignature } from '../../src/audit/witness/cosignature.ts';
import { fixedKey, leavesOf, readCosignature, TestLog, textOf, writeCosignature } from './fixtures.ts';

const log = new TestLog();
const note = log.note(leavesOf(3));
const text = textOf(note);
const privateKey = fixedKey(9);
const cosigner = { name: 'witness.example/w1', privateKey };
const key = { name: cosigner.name, publicKey: createPublicKey(privateKey) };
const vkey = formatVerifierKey(key, COSIGNATURE_TYPE);

it('is a known answer: Ed25519 is deterministic', () => {
  expect(vkey).toMatchInlineSnapshot(`"witness.example/w1+24b5d9fe+BP0XJDhaoMdbZPt4zWAvodmR/ev3axPFjtcC6sg16fYY"`);
  expect(cosign(text, 1679315147n, cosigner)).toMatchInlineSnapshot(`
    "— witness.example/w1 JLXZ/gAAAABkGFDLudn6C4ash3cIf4epuVBtRWypQzYEIBVl2ShYSGCllfdgbRqfsvPoFkKG/4bIzmhWBEi2pYeofg7hMivd/lwcCA==
    "
  `);
});

it.each([1n, 1679315147n, 4294967296n, 2n ** 53n - 1n])('reads the same in another implementation, at %s', (time) => {
  const line = cosign(text, time, cosigner);
  expect(readCosignature(line, text, vkey)).toBe(Number(time));
  expect(writeCosignature(text, Number(time), cosigner)).toBe(line);
  expect(openCosignature(`${note}${line}`, key)).toBe(time);
});

it('reads its verifier key back, and only as a cosigner', () => {
  expect(parseVerifierKey(vkey, COSIGNATURE_TYPE).name).toBe(cosigner.name);
  expect(() => parseVerifierKey(vkey)).toThrow(expect.objectContaining({ code: 'CHECKPOINT_KEY' }));
  expect(() => parseVerifierKey(log.verifierKey, COSIGNATURE_TYPE)).toThrow(
    expect.objectContaining({ code: 'CHECKPOINT_KEY' }),
  );
});

const other = { name: cosigner.name, privateKey: fixedKey(10) };
const good = writeCosignature(text, 5, cosigner);
const cut = (line: string, bytes: number) => {
  const [dash, name, blob = ''] = line.trimEnd().split(' ');
  return `${dash} ${name} ${Buffer.from(blob, 'base64').subarray(0, bytes).toString('base64')}\n`;
};
it.each([
  ['of a key of the same name', writeCosignature(text, 5, other)],
  ['of the same key under another name', writeCosignature(text, 5, { ...cosigner, name: 'witness.example/w2' })],
  ['over another text', writeCosignature(text.replace('3', '4'), 5, cosigner)],
  ['with another header', writeCosignature(text, 5, { ...cosigner, header: 'cosignature/v2' })],
  ['with a key id of a plain signature', writeCosignature(text, 5, { ...cosigner, type: 1 })],
  ['at no time', writeCosignature(text, 0, cosigner)],
  ['cut short', cut(good, 70)],
  ['followed by one that does not verify', good + writeCosignature(text.replace('3', '4'), 5, cosigner)],
])('a cosignature %s does not count', (_, line) => {
  expect(openCosignature(`${note}${line}`, key)).toBeNull();
});

it('is found among lines of other witnesses', () => {
  const lines = [writeCosignature(text, 4, { ...other, name: 'else.example/w' }), good];
  expect(openCosignature(`${note}${lines.join('')}`, key)).toBe(5n);
});
