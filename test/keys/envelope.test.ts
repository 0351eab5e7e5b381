import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { AuditkeepError } from '../../src/errors.ts';
import { type CellKeys, openCell, parseEnvelope, sealCell } from '../../src/keys/envelope.ts';
import type { CellContext } from '../../src/keys/keyring.ts';
import { referenceOpen, referenceSeal } from './envelope-reference.ts';

const vectorsShape = z.object({
  cases: z.array(
    z.object({
      name: z.string(),
      epochId: z.string(),
      epochKey: z.string(),
      subjectId: z.string().nullable(),
      subjectKey: z.string().nullable(),
      context: z.tuple([z.string(), z.string(), z.string(), z.enum(['internal', 'confidential', 'secret'])]),
      salt: z.string(),
      plaintext: z.string(),
      envelope: z.string(),
    }),
  ),
});
type Vector = z.infer<typeof vectorsShape>['cases'][number];

const vectors = vectorsShape.parse(JSON.parse(readFileSync('test/vectors/envelope-v1.json', 'utf8'))).cases;

function keysOf(vector: Vector): CellKeys {
  const subject =
    vector.subjectId === null || vector.subjectKey === null
      ? null
      : { id: vector.subjectId, key: Buffer.from(vector.subjectKey, 'hex') };
  return { epoch: { id: vector.epochId, key: Buffer.from(vector.epochKey, 'hex') }, subject };
}

function contextOf([table, column, rowId, dataClass]: Vector['context']): CellContext {
  return { table, column, rowId, dataClass };
}

/** Opens as the key ring does: a key that the ids do not name is unknown. */
function openWith(keys: CellKeys, context: CellContext, text: string): Uint8Array {
  const parsed = parseEnvelope(text);
  if (parsed.epochKeyId !== keys.epoch.id) throw unknown();
  if (parsed.subjectKeyId === null) return openCell({ epoch: keys.epoch, subject: null }, context, parsed);
  if (parsed.subjectKeyId !== keys.subject?.id) throw unknown();
  return openCell(keys, context, parsed);
}

const unknown = () => new AuditkeepError('KEY_UNKNOWN', { message: 'unknown', hint: 'none' });

function codeOf(fn: () => unknown): string {
  try {
    fn();
  } catch (error) {
    return error instanceof AuditkeepError ? error.code : `not coded: ${String(error)}`;
  }
  return 'opened';
}

describe.each(vectors)('vector: $name', (vector) => {
  const keys = keysOf(vector);
  const context = contextOf(vector.context);
  const plaintext = Buffer.from(vector.plaintext, 'hex');

  test('both implementations seal it to the same text and open it', () => {
    expect(sealCell(keys, context, plaintext, Buffer.from(vector.salt, 'hex'))).toBe(vector.envelope);
    expect(referenceSeal(vector, vector.context, plaintext, vector.salt)).toBe(vector.envelope);
    expect(Buffer.from(openWith(keys, context, vector.envelope))).toEqual(plaintext);
    expect(Buffer.from(referenceOpen(vector, vector.context, vector.envelope) ?? 'null')).toEqual(plaintext);
  });
});

const sample = vectors[1] as Vector;
const withSubject = vectors[3] as Vector;

describe.each([
  ['without a subject key', sample, 10],
  ['with a subject key', withSubject, 18],
])('every altered bit is caught, %s', (_name, vector, headerLength) => {
  const bytes = Buffer.from(vector.envelope.slice(4), 'base64url');

  /** docs/spec/envelope-v1.md section 8. */
  function expectedCode(bit: number): readonly string[] {
    const byte = bit >> 3;
    if (byte === 0) return ['TAMPERED'];
    if (byte === 1)
      return bit % 8 === 7 ? (headerLength === 10 ? ['KEY_UNKNOWN'] : ['CONTEXT_MISMATCH']) : ['TAMPERED'];
    if (byte < headerLength) return ['KEY_UNKNOWN'];
    if (byte < headerLength + 56) return ['CONTEXT_MISMATCH'];
    return ['TAMPERED'];
  }

  test('with the code that the specification names', () => {
    for (let bit = 0; bit < bytes.length * 8; bit += 1) {
      const altered = Buffer.from(bytes);
      altered[bit >> 3] = (altered[bit >> 3] ?? 0) ^ (0x80 >> (bit % 8));
      const text = `ak1.${altered.toString('base64url')}`;
      const code = codeOf(() => openWith(keysOf(vector), contextOf(vector.context), text));
      expect([bit, code]).toEqual([bit, expect.toBeOneOf([...expectedCode(bit)])]);
      expect(referenceOpen(vector, vector.context, text)).toBeNull();
    }
  });

  test('and so is every cut and every added byte', () => {
    for (let length = 0; length < bytes.length; length += 1) {
      const text = `ak1.${bytes.subarray(0, length).toString('base64url')}`;
      const code = codeOf(() => openWith(keysOf(vector), contextOf(vector.context), text));
      expect([length, code]).toEqual([length, 'TAMPERED']);
    }
    const longer = `ak1.${Buffer.concat([bytes, Buffer.of(0)]).toString('base64url')}`;
    expect(codeOf(() => openWith(keysOf(vector), contextOf(vector.context), longer))).toBe('TAMPERED');
  });
});

test.each([
  ['table', { table: 'security_confidential.users' }],
  ['column', { column: 'from_address_encrypted' }],
  ['row', { rowId: '6f1d2a30-5c1b-8e11-9d7a-0123456789ac' }],
  ['data class', { dataClass: 'internal' as const }],
])('a cell moved to another %s is a CONTEXT_MISMATCH', (_place, change) => {
  const moved = { ...contextOf(sample.context), ...change };
  expect(codeOf(() => openWith(keysOf(sample), moved, sample.envelope))).toBe('CONTEXT_MISMATCH');
});

test('a cell under an id that another key has is a CONTEXT_MISMATCH', () => {
  const keys: CellKeys = { epoch: { id: sample.epochId, key: Buffer.alloc(32, 9) }, subject: null };
  expect(codeOf(() => openWith(keys, contextOf(sample.context), sample.envelope))).toBe('CONTEXT_MISMATCH');
});

test.each([
  ['padding', (text: string) => `${text}=`],
  ['a line end', (text: string) => `${text}\n`],
  ['a space inside', (text: string) => `${text.slice(0, 40)} ${text.slice(40)}`],
  ['a foreign character', (text: string) => `${text.slice(0, 40)}!${text.slice(40)}`],
  ['the other alphabet', (text: string) => text.replace('-', '+')],
  ['unused bits set', setUnusedBits],
  ['another prefix', (text: string) => `ak2${text.slice(3)}`],
  ['no prefix', (text: string) => text.slice(4)],
  ['nothing', () => ''],
])('a text form with %s is TAMPERED', (_name, alter) => {
  const text = alter(sample.envelope);
  expect(text).not.toBe(sample.envelope);
  expect(codeOf(() => parseEnvelope(text))).toBe('TAMPERED');
  expect(referenceOpen(sample, sample.context, text)).toBeNull();
});

/** The sample has 101 bytes, so its last character carries 2 unused bits; the decoder ignores them. */
function setUnusedBits(text: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  const last = alphabet.indexOf(text.slice(-1));
  const altered = text.slice(0, -1) + alphabet[last | 1];
  expect(Buffer.from(altered.slice(4), 'base64url')).toEqual(Buffer.from(text.slice(4), 'base64url'));
  return altered;
}

test('a key of zeros, of another length, an odd id, a short salt and a lone surrogate are refused', () => {
  const context = contextOf(sample.context);
  const good = keysOf(sample);
  const seal = (keys: CellKeys, place = context, salt = Buffer.alloc(24, 1)) =>
    sealCell(keys, place, Buffer.of(1), salt);
  expect(() => seal({ ...good, epoch: { id: sample.epochId, key: Buffer.alloc(32) } })).toThrow('zeros');
  expect(() => seal({ ...good, subject: { id: sample.epochId, key: Buffer.alloc(32) } })).toThrow('zeros');
  expect(() => seal({ ...good, epoch: { id: sample.epochId, key: Buffer.alloc(31, 1) } })).toThrow('32 bytes');
  expect(() => seal({ ...good, epoch: { id: 'E0E1E2E3E4E5E6E7', key: Buffer.alloc(32, 1) } })).toThrow('hex');
  expect(() => seal(good, context, Buffer.alloc(23))).toThrow('24 bytes');
  expect(() => seal(good, { ...context, rowId: '\ud800' })).toThrow('surrogate');
});

test('any value in any place survives, and both implementations agree', () => {
  const text = fc.string({ unit: 'grapheme', maxLength: 40 });
  const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
  const notZero = bytes(32).filter((key) => key.some((byte) => byte !== 0));
  fc.assert(
    fc.property(
      fc.record({
        epochId: bytes(8),
        subjectId: bytes(8),
        epoch: notZero,
        subject: fc.option(notZero),
        salt: bytes(24),
      }),
      fc.record({ table: text, column: text, rowId: text }),
      fc.uint8Array({ maxLength: 200 }),
      (given, place, plaintext) => {
        const hex = (value: Uint8Array) => Buffer.from(value).toString('hex');
        const context: CellContext = { ...place, dataClass: 'secret' };
        const epoch = { id: hex(given.epochId), key: given.epoch };
        const subject = given.subject === null ? null : { id: hex(given.subjectId), key: given.subject };
        const sealed = sealCell({ epoch, subject }, context, plaintext, given.salt);
        const reference = referenceSeal(
          {
            epochId: epoch.id,
            epochKey: hex(given.epoch),
            subjectId: subject?.id ?? null,
            subjectKey: given.subject === null ? null : hex(given.subject),
          },
          [place.table, place.column, place.rowId, 'secret'],
          plaintext,
          hex(given.salt),
        );
        expect(sealed).toBe(reference);
        expect(openCell({ epoch, subject }, context, parseEnvelope(sealed))).toEqual(Buffer.from(plaintext));
      },
    ),
    { numRuns: 200 },
  );
});

test('two seals of one value differ: the salt is fresh', () => {
  const seal = () => sealCell(keysOf(sample), contextOf(sample.context), Buffer.from('1'));
  expect(new Set(Array.from({ length: 100 }, seal)).size).toBe(100);
});
