/** Envelope v1 a second time, written from docs/spec/envelope-v1.md with other libraries; shares no code with src/. */
import { gcm } from '@noble/ciphers/aes.js';
import { hmac } from '@noble/hashes/hmac.js';
import { sha512 } from '@noble/hashes/sha2.js';
import { concatBytes, hexToBytes, utf8ToBytes } from '@noble/hashes/utils.js';

export interface ReferenceKeys {
  readonly epochId: string;
  readonly epochKey: string;
  readonly subjectId: string | null;
  readonly subjectKey: string | null;
}

/** table, column, row id, data class. */
export type ReferenceContext = readonly [string, string, string, string];

export function referenceSeal(
  keys: ReferenceKeys,
  context: ReferenceContext,
  plaintext: Uint8Array,
  saltHex: string,
): string {
  const header =
    keys.subjectId === null
      ? concatBytes(Uint8Array.of(1, 0), hexToBytes(keys.epochId))
      : concatBytes(Uint8Array.of(1, 1), hexToBytes(keys.epochId), hexToBytes(keys.subjectId));
  const salt = hexToBytes(saltHex);
  const derived = derive(keys, header, salt, context);
  const sealed = gcm(derived.subarray(0, 32), new Uint8Array(12), header).encrypt(plaintext);
  return `ak1.${encode(concatBytes(header, salt, derived.subarray(32), sealed))}`;
}

/** The plaintext, or null where the spec says that an error is due. */
export function referenceOpen(keys: ReferenceKeys, context: ReferenceContext, text: string): Uint8Array | null {
  if (!text.startsWith('ak1.')) return null;
  const bytes = decode(text.slice(4));
  if (bytes === null) return null;
  const [suite, flags] = bytes;
  if (suite !== 1 || (flags !== 0 && flags !== 1)) return null;
  const headerLength = flags === 1 ? 18 : 10;
  if (bytes.length < headerLength + 24 + 32 + 16) return null;
  const header = bytes.subarray(0, headerLength);
  const salt = bytes.subarray(headerLength, headerLength + 24);
  const commitment = bytes.subarray(headerLength + 24, headerLength + 56);
  const derived = derive(keys, header, salt, context);
  if (!commitment.every((byte, index) => byte === derived[32 + index])) return null;
  try {
    return gcm(derived.subarray(0, 32), new Uint8Array(12), header).decrypt(bytes.subarray(headerLength + 56));
  } catch {
    return null;
  }
}

function derive(keys: ReferenceKeys, header: Uint8Array, salt: Uint8Array, context: ReferenceContext): Uint8Array {
  const subject = keys.subjectKey === null ? new Uint8Array(32) : hexToBytes(keys.subjectKey);
  const place = concatBytes(...context.map((part) => prefixed(utf8ToBytes(part))));
  const info = concatBytes(
    prefixed(utf8ToBytes('auditkeep/envelope/v1')),
    prefixed(Uint8Array.of(1)),
    prefixed(header),
    prefixed(salt),
    prefixed(place),
  );
  return hmac(sha512, concatBytes(hexToBytes(keys.epochKey), subject), info);
}

function prefixed(bytes: Uint8Array): Uint8Array {
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, bytes.length, false);
  return concatBytes(length, bytes);
}

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

function encode(bytes: Uint8Array): string {
  let bits = '';
  for (const byte of bytes) bits += byte.toString(2).padStart(8, '0');
  return (bits.match(/.{1,6}/g) ?? []).map((group) => ALPHABET[Number.parseInt(group.padEnd(6, '0'), 2)]).join('');
}

function decode(text: string): Uint8Array | null {
  let bits = '';
  for (const character of text) {
    const value = ALPHABET.indexOf(character);
    if (value < 0) return null;
    bits += value.toString(2).padStart(6, '0');
  }
  const whole = Math.floor(bits.length / 8) * 8;
  if (bits.length - whole >= 6 || /1/.test(bits.slice(whole))) return null;
  return Uint8Array.from(bits.slice(0, whole).match(/.{8}/g) ?? [], (group) => Number.parseInt(group, 2));
}
