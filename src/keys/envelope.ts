/**
 * Envelope v1: one encrypted cell. The format is docs/spec/envelope-v1.md and final; its vectors are
 * test/vectors/envelope-v1.json. Pure but for the random salt; which key an id names is the key ring's affair.
 */
import { Buffer } from 'node:buffer';
import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createSecretKey,
  type KeyObject,
  randomBytes,
  timingSafeEqual,
} from 'node:crypto';
import { AuditkeepError } from '../errors.ts';
import { frame } from './frame.ts';
import type { CellContext } from './keyring.ts';

const PREFIX = 'ak1.';
const LABEL = 'auditkeep/envelope/v1';
/** HMAC-SHA512 as key derivation and commitment, AES-256-GCM as cipher. */
const SUITE = 0x01;
const FLAG_SUBJECT = 0x01;
const KEY_ID_BYTES = 8;
const KEY_BYTES = 32;
const SALT_BYTES = 24;
const COMMITMENT_BYTES = 32;
const TAG_BYTES = 16;
/** Safe because the cell key is used for one encryption only (spec, section 5). */
const ZERO_NONCE = Buffer.alloc(12);
const NO_SUBJECT = Buffer.alloc(KEY_BYTES);

/** A key and the id that envelopes carry for it. */
export interface EnvelopeKey {
  /** 16 hex digits. */
  readonly id: string;
  /** 32 bytes, not all zero. */
  readonly key: Uint8Array;
}

/** What encrypts a cell: an epoch key and, for personal data, the subject's key. */
export interface CellKeys {
  readonly epoch: EnvelopeKey;
  readonly subject: EnvelopeKey | null;
}

/** An envelope taken apart; nothing in it is authenticated yet. */
export interface ParsedEnvelope {
  readonly epochKeyId: string;
  readonly subjectKeyId: string | null;
  readonly header: Buffer;
  readonly salt: Buffer;
  readonly commitment: Buffer;
  readonly ciphertext: Buffer;
  readonly tag: Buffer;
}

/**
 * Encrypts a cell and gives its envelope text.
 * @param salt 24 bytes, fresh and random for every cell: under one key and context a repeated salt repeats the key
 *   stream. Given by tests only.
 */
export function sealCell(
  keys: CellKeys,
  context: CellContext,
  plaintext: Uint8Array,
  salt: Uint8Array = randomBytes(SALT_BYTES),
): string {
  if (salt.length !== SALT_BYTES) throw new RangeError(`a salt has ${SALT_BYTES} bytes`);
  const header = headerOf(keys);
  const derived = deriveCell(keys, header, salt, context);
  const cipher = createCipheriv('aes-256-gcm', cellKeyOf(derived), ZERO_NONCE);
  cipher.setAAD(header);
  const body = cipher.update(plaintext);
  cipher.final();
  const commitment = derived.subarray(KEY_BYTES);
  return PREFIX + Buffer.concat([header, salt, commitment, body, cipher.getAuthTag()]).toString('base64url');
}

/**
 * Takes an envelope text apart.
 * @throws TAMPERED when it is no envelope v1 in its one canonical text form.
 */
export function parseEnvelope(text: string): ParsedEnvelope {
  if (!text.startsWith(PREFIX)) throw tampered('it does not begin with ak1.');
  const encoded = text.slice(PREFIX.length);
  const bytes = Buffer.from(encoded, 'base64url');
  // Node's decoder skips foreign characters and accepts padding and stray bits: only the round trip proves the text.
  if (bytes.toString('base64url') !== encoded) throw tampered('its base64url is not canonical');
  const flags = bytes[1];
  if (bytes[0] !== SUITE) throw tampered('its suite is unknown');
  if (flags !== 0 && flags !== FLAG_SUBJECT) throw tampered('its flags are unknown');
  const headerLength = 2 + KEY_ID_BYTES + (flags === FLAG_SUBJECT ? KEY_ID_BYTES : 0);
  const bodyStart = headerLength + SALT_BYTES + COMMITMENT_BYTES;
  if (bytes.length < bodyStart + TAG_BYTES) throw tampered('it is too short');
  const tagStart = bytes.length - TAG_BYTES;
  return {
    epochKeyId: bytes.toString('hex', 2, 2 + KEY_ID_BYTES),
    subjectKeyId: flags === FLAG_SUBJECT ? bytes.toString('hex', 2 + KEY_ID_BYTES, headerLength) : null,
    header: bytes.subarray(0, headerLength),
    salt: bytes.subarray(headerLength, headerLength + SALT_BYTES),
    commitment: bytes.subarray(headerLength + SALT_BYTES, bodyStart),
    ciphertext: bytes.subarray(bodyStart, tagStart),
    tag: bytes.subarray(tagStart),
  };
}

/**
 * Decrypts a parsed envelope with the keys that it names.
 * @throws CONTEXT_MISMATCH when the cell belongs elsewhere or its header, salt or commitment was altered; TAMPERED when
 *   its ciphertext or tag was.
 */
export function openCell(keys: CellKeys, context: CellContext, envelope: ParsedEnvelope): Uint8Array {
  const derived = deriveCell(keys, envelope.header, envelope.salt, context);
  if (!timingSafeEqual(derived.subarray(KEY_BYTES), envelope.commitment)) {
    throw new AuditkeepError('CONTEXT_MISMATCH', {
      message: `the encrypted cell does not belong to ${context.table}.${context.column} of this row`,
      hint: 'it was moved from another cell, or its header was altered; restore it from a backup',
      details: { table: context.table, column: context.column, keyId: envelope.epochKeyId },
    });
  }
  const decipher = createDecipheriv('aes-256-gcm', cellKeyOf(derived), ZERO_NONCE);
  decipher.setAAD(envelope.header);
  decipher.setAuthTag(envelope.tag);
  const plaintext = decipher.update(envelope.ciphertext);
  try {
    decipher.final();
  } catch (cause) {
    throw tampered('its tag does not match', cause);
  }
  return plaintext;
}

function headerOf({ epoch, subject }: CellKeys): Buffer {
  const flags = subject === null ? 0 : FLAG_SUBJECT;
  const header = Buffer.from([SUITE, flags, ...keyIdBytes(epoch.id), ...(subject ? keyIdBytes(subject.id) : [])]);
  return header;
}

function keyIdBytes(id: string): Buffer {
  if (!/^[0-9a-f]{16}$/.test(id)) throw new RangeError('a key id is 16 lower-case hex digits');
  return Buffer.from(id, 'hex');
}

/** Cell key (first 32 bytes) and commitment (last 32). */
function deriveCell(keys: CellKeys, header: Uint8Array, salt: Uint8Array, context: CellContext): Buffer {
  const place = frame(context.table, context.column, context.rowId, context.dataClass);
  return createHmac('sha512', derivationKey(keys))
    .update(frame(LABEL, Buffer.of(SUITE), header, salt, place))
    .digest();
}

/** Node takes three times as long for a key given as bytes as for a key object, so all of them become key objects. */
const cellKeyOf = (derived: Buffer): KeyObject => createSecretKey(derived.subarray(0, KEY_BYTES));

/** Of epoch keys without a subject, which encrypt cell after cell. */
const derivationKeys = new WeakMap<EnvelopeKey, KeyObject>();

function derivationKey({ epoch, subject }: CellKeys): KeyObject {
  if (subject !== null) return createSecretKey(Buffer.concat([realKey(epoch), realKey(subject)]));
  const known = derivationKeys.get(epoch) ?? createSecretKey(Buffer.concat([realKey(epoch), NO_SUBJECT]));
  derivationKeys.set(epoch, known);
  return known;
}

/** 32 zero bytes stand for "no subject"; as a real key they would make the two cases alike. */
function realKey({ key }: EnvelopeKey): Uint8Array {
  if (key.length !== KEY_BYTES) throw new RangeError(`a key has ${KEY_BYTES} bytes`);
  if (key.every((byte) => byte === 0)) throw new RangeError('a key of zeros is refused');
  return key;
}

function tampered(why: string, cause?: unknown): AuditkeepError {
  return new AuditkeepError('TAMPERED', {
    message: `the encrypted cell was altered: ${why}`,
    hint: 'restore it from a backup; it cannot be decrypted',
    cause,
  });
}
