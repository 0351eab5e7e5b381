/**
 * The little of DER (ITU-T X.690) that a certificate and a CMS signature need: writing, and finding the parts of a certificate
 * that OpenSSL has parsed already. Pure. Nothing here reads what a stranger wrote: signatures are compared, not parsed.
 */

/** Tags of the values that we write; context-specific ones are 0xa0 + n. */
export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  utf8String: 0x0c,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** One value: tag, length in its shortest form (X.690 10.1), content. */
export function encode(tag: number, ...content: readonly Uint8Array[]): Buffer {
  const length = content.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat([Buffer.from([tag]), encodeLength(length), ...content]);
}

export const sequence = (...content: readonly Uint8Array[]): Buffer => encode(TAG.sequence, ...content);

/** SET OF: its values in the order of their encodings (X.690 11.6); `tag` for one that is tagged implicitly. */
export function setOf(content: readonly Uint8Array[], tag: number = TAG.set): Buffer {
  return encode(tag, ...content.toSorted((a, b) => Buffer.compare(a, b)));
}

/** A number that is not negative, of big-endian bytes. */
export function integer(bytes: Uint8Array): Buffer {
  const first = bytes.findIndex((byte) => byte !== 0);
  const digits = first < 0 ? Buffer.alloc(1) : bytes.subarray(first);
  const sign = (digits[0] ?? 0) >= 0x80 ? Buffer.alloc(1) : Buffer.alloc(0);
  return encode(TAG.integer, sign, digits);
}

export const octetString = (bytes: Uint8Array): Buffer => encode(TAG.octetString, bytes);

/** Whole octets. */
export const bitString = (bytes: Uint8Array): Buffer => encode(TAG.bitString, Buffer.alloc(1), bytes);

export const utf8String = (text: string): Buffer => encode(TAG.utf8String, Buffer.from(text, 'utf8'));

/** An object identifier of its dotted form. */
export function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  const bytes = [first * 40 + second, ...rest].flatMap((arc) => {
    const digits = [arc & 0x7f];
    for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128))
      digits.unshift((left & 0x7f) | 0x80);
    return digits;
  });
  return encode(TAG.oid, Buffer.from(bytes));
}

/** An algorithm and its parameters: NULL for RSA (RFC 4055 section 5), none for a hash (RFC 5754 section 2). */
export function algorithm(dotted: string, parameters: 'null' | 'absent'): Buffer {
  return sequence(oid(dotted), ...(parameters === 'null' ? [encode(TAG.null)] : []));
}

/** A time of whole seconds as certificates have it: UTCTime until 2049, then GeneralizedTime (RFC 5280 section 4.1.2.5). */
export function time(iso: string): Buffer {
  const digits = `${iso.slice(0, 19).replaceAll(/[-:T]/g, '')}Z`;
  const isShort = iso.slice(0, 4) < '2050';
  return encode(isShort ? TAG.utcTime : TAG.generalizedTime, Buffer.from(isShort ? digits.slice(2) : digits, 'latin1'));
}

/** A value in bytes: its tag, its content and all of it. */
export interface Element {
  readonly tag: number;
  readonly content: Buffer;
  readonly whole: Buffer;
}

/** The values that stand one after the other in bytes that are DER. @throws RangeError where they are not */
export function elementsOf(bytes: Buffer): Element[] {
  const elements: Element[] = [];
  for (let at = 0; at < bytes.length; ) {
    const { start, length } = readLength(bytes, at + 1);
    const end = start + length;
    if (end > bytes.length) throw new RangeError('a DER value ends beyond its bytes');
    elements.push({
      tag: bytes[at] ?? 0,
      content: bytes.subarray(start, end),
      whole: bytes.subarray(at, end),
    });
    at = end;
  }
  return elements;
}

function encodeLength(length: number): Buffer {
  if (length < 0x80) return Buffer.from([length]);
  const bytes: number[] = [];
  for (let left = length; left > 0; left = Math.floor(left / 256)) bytes.unshift(left % 256);
  return Buffer.from([0x80 | bytes.length, ...bytes]);
}

function readLength(bytes: Buffer, at: number): { readonly start: number; readonly length: number } {
  const first = bytes[at] ?? 0x80;
  if (first < 0x80) return { start: at + 1, length: first };
  const count = first & 0x7f;
  if (count === 0 || count > 4 || at + 1 + count > bytes.length) throw new RangeError('a DER length is malformed');
  return { start: at + 1 + count, length: bytes.readUIntBE(at + 1, count) };
}
