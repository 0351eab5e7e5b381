/** X.509 certificates (RFC 5280): the self-signed one of an organisation's seal, and what a signature says of a certificate. */
import { createHash, createPublicKey, type KeyObject, randomBytes, sign, X509Certificate } from 'node:crypto';
import {
  algorithm,
  bitString,
  type Element,
  elementsOf,
  encode,
  integer,
  octetString,
  oid,
  sequence,
  setOf,
  TAG,
  time,
  utf8String,
} from './der.ts';

const OID = {
  commonName: '2.5.4.3',
  organization: '2.5.4.10',
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  basicConstraints: '2.5.29.19',
} as const;

/** sha256WithRSAEncryption (RFC 4055). */
export const SHA256_WITH_RSA = algorithm('1.2.840.113549.1.1.11', 'null');

/**
 * A self-signed certificate for signing documents: no authority, good for nothing else.
 * @param key an RSA private key
 * @param validity ISO 8601, UTC; both included
 */
export function selfSign(
  key: KeyObject,
  organization: string,
  validity: { readonly from: string; readonly to: string },
): X509Certificate {
  const publicKey = createPublicKey(key).export({ format: 'der', type: 'spki' });
  const name = nameOf(organization);
  const serial = randomBytes(16);
  serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40; // positive, and always of 16 bytes
  const body = sequence(
    encode(0xa0, integer(Buffer.from([2]))),
    integer(serial),
    SHA256_WITH_RSA,
    name,
    sequence(time(validity.from), time(validity.to)),
    name,
    publicKey,
    encode(0xa3, extensionsOf(publicKey)),
  );
  return new X509Certificate(sequence(body, SHA256_WITH_RSA, bitString(sign('sha256', body, key))));
}

function nameOf(organization: string): Buffer {
  const attribute = (type: string, value: string) => setOf([sequence(oid(type), utf8String(value))]);
  return sequence(
    attribute(OID.organization, organization),
    attribute(OID.commonName, `${organization} (report seal)`),
  );
}

function extensionsOf(publicKey: Buffer): Buffer {
  const critical = encode(TAG.boolean, Buffer.from([0xff]));
  const [, bits] = elementsOf(elementsOf(publicKey)[0]?.content ?? Buffer.alloc(0));
  // RFC 5280 section 4.2.1.2, method 1: SHA-1 names the key here and protects nothing.
  const keyId = createHash('sha1')
    .update(bits?.content.subarray(1) ?? '')
    .digest();
  // digitalSignature and nonRepudiation, the first two bits.
  const usage = encode(TAG.bitString, Buffer.from([6, 0b1100_0000]));
  return sequence(
    sequence(oid(OID.basicConstraints), critical, octetString(sequence())),
    sequence(oid(OID.keyUsage), critical, octetString(usage)),
    sequence(oid(OID.subjectKeyIdentifier), octetString(octetString(keyId))),
  );
}

/** Issuer and serial number as the certificate encodes them, by which a signature names it. */
export function issuerAndSerial(certificate: X509Certificate): { readonly issuer: Buffer; readonly serial: Buffer } {
  const [body] = elementsOf(elementsOf(certificate.raw)[0]?.content ?? Buffer.alloc(0));
  const fields = elementsOf(body?.content ?? Buffer.alloc(0));
  // The version stands before the serial number, tagged, unless it is 1.
  const [serial, , issuer] = fields[0]?.tag === 0xa0 ? fields.slice(1) : fields;
  return { issuer: wholeOf(issuer), serial: wholeOf(serial) };
}

function wholeOf(element: Element | undefined): Buffer {
  if (element === undefined) throw new RangeError('a certificate lacks a field');
  return element.whole;
}

/** SHA-256 of the certificate's DER form, lower-case hex: what people compare. */
export function certificateSha256(certificate: X509Certificate): string {
  return createHash('sha256').update(certificate.raw).digest('hex');
}

/** Certificates as PEM, in their order. */
export function writePem(certificates: readonly X509Certificate[]): string {
  return certificates.map((certificate) => certificate.toString()).join('');
}

/** A signer's certificate, then those up to its issuer. */
export type Certificates = readonly [X509Certificate, ...X509Certificate[]];

const MAX_CERTIFICATES = 8;

/**
 * The certificates of a PEM text, in their order; other text between them is skipped. Null where there is none, one is malformed, or
 * the first is not of an RSA key of 2048 to 8192 bits.
 */
export function parseCertificates(text: string): Certificates | null {
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  try {
    const [own, ...others] = blocks.slice(0, MAX_CERTIFICATES + 1).map((block) => new X509Certificate(block));
    if (own === undefined || others.length >= MAX_CERTIFICATES) return null;
    issuerAndSerial(own); // OpenSSL reads more than DER
    const bits = own.publicKey.asymmetricKeyDetails?.modulusLength ?? 0;
    return own.publicKey.asymmetricKeyType === 'rsa' && bits >= 2048 && bits <= 8192 ? [own, ...others] : null;
  } catch {
    return null;
  }
}
