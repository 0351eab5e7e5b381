/**
 * A detached CMS signature (RFC 5652) in the profile of CAdES and PAdES baseline (ETSI EN 319 122-1, 319 142-1): one signer, RSA
 * with SHA-256, the content's digest and the signer's certificate in the signed attributes, no time in them. Pure: but for the
 * signature itself every byte follows from the certificates and the digest, so that a reader makes it again and compares.
 */
import { createHash, type X509Certificate } from 'node:crypto';
import { type Certificates, issuerAndSerial, SHA256_WITH_RSA } from './certificate.ts';
import { algorithm, encode, integer, octetString, oid, sequence, setOf } from './der.ts';

const DATA = oid('1.2.840.113549.1.7.1');
const SIGNED_DATA = oid('1.2.840.113549.1.7.2');
const SHA256 = algorithm('2.16.840.1.101.3.4.2.1', 'absent');
const CONTENT_TYPE = '1.2.840.113549.1.9.3';
const MESSAGE_DIGEST = '1.2.840.113549.1.9.4';
const SIGNING_CERTIFICATE_V2 = '1.2.840.113549.1.9.16.2.47';
const ONE = integer(Buffer.from([1]));

/**
 * The text that is signed: the signed attributes as a SET OF (RFC 5652 section 5.4).
 * @param digest SHA-256 of the content
 */
export function signedAttributes(signer: X509Certificate, digest: Uint8Array): Buffer {
  return setOf(attributesOf(signer, digest));
}

/**
 * The whole signature, a ContentInfo.
 * @param certificates the signer's own first, then those up to its issuer
 * @param signature of signedAttributes, PKCS #1 v1.5
 */
export function encodeSignedData(certificates: Certificates, digest: Uint8Array, signature: Uint8Array): Buffer {
  const [signer] = certificates;
  const { issuer, serial } = issuerAndSerial(signer);
  const signerInfo = sequence(
    ONE,
    sequence(issuer, serial),
    SHA256,
    setOf(attributesOf(signer, digest), 0xa0),
    SHA256_WITH_RSA,
    octetString(signature),
  );
  const signedData = sequence(
    ONE,
    setOf([SHA256]),
    sequence(DATA),
    setOf(
      certificates.map(({ raw }) => raw),
      0xa0,
    ),
    setOf([signerInfo]),
  );
  return sequence(SIGNED_DATA, encode(0xa0, signedData));
}

function attributesOf(signer: X509Certificate, digest: Uint8Array): Buffer[] {
  const { issuer, serial } = issuerAndSerial(signer);
  const certificateHash = createHash('sha256').update(signer.raw).digest();
  // ESSCertIDv2 (RFC 5035): SHA-256 is the default and stays out; the issuer is a directoryName.
  const certificateId = sequence(octetString(certificateHash), sequence(sequence(encode(0xa4, issuer)), serial));
  const attribute = (type: string, value: Buffer) => sequence(oid(type), setOf([value]));
  return [
    attribute(CONTENT_TYPE, DATA),
    attribute(MESSAGE_DIGEST, octetString(digest)),
    attribute(SIGNING_CERTIFICATE_V2, sequence(sequence(certificateId))),
  ];
}
