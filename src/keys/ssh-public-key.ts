/**
 * OpenSSH public keys: reading them and checking raw signatures with node:crypto. Key blobs after RFC 4253 (rsa), 5656
 * (ecdsa), 8709 (ed25519) and OpenSSH PROTOCOL.u2f (sk keys: FIDO authenticators).
 */
import { createHash, createPublicKey, type KeyObject, verify } from 'node:crypto';
import { decodeBase64, encodeUint32, keyFormat, WireReader } from './ssh-wire.ts';

const CURVES = {
  nistp256: { jwk: 'P-256', hash: 'sha256', size: 32 },
  nistp384: { jwk: 'P-384', hash: 'sha384', size: 48 },
  nistp521: { jwk: 'P-521', hash: 'sha512', size: 66 },
} as const;
type Curve = keyof typeof CURVES;

/** Below this an RSA key is refused (NIST SP 800-57 part 1, table 2). */
const MIN_RSA_BITS = 2048;

type Algorithm =
  | { readonly kind: 'ed25519' }
  | { readonly kind: 'ecdsa'; readonly curve: Curve }
  | { readonly kind: 'rsa' }
  | { readonly kind: 'sk'; readonly inner: 'ed25519' | 'ecdsa'; readonly application: string };

export interface SshPublicKey {
  /** `ssh-ed25519` and the like. */
  readonly type: string;
  /** The canonical text, type and base64 without a comment. */
  readonly text: string;
  /** `SHA256:` and 43 characters, as `ssh-keygen -l` prints it. */
  readonly fingerprint: string;
  readonly blob: Buffer;
  readonly algorithm: Algorithm;
  readonly key: KeyObject;
}

/**
 * Reads a line of a .pub file; a comment after the key is dropped.
 * @throws KEY_FORMAT for anything but ed25519, ecdsa, rsa (2048 bits and more) and their FIDO forms
 */
export function parseSshPublicKey(line: string): SshPublicKey {
  const [type, base64] = line.trim().split(/\s+/);
  if (type === undefined || base64 === undefined) throw keyFormat('a public key has a type and a body');
  const key = readSshPublicKey(decodeBase64(base64));
  if (key.type !== type) throw keyFormat('the type before the key and the one in it differ');
  return key;
}

/** The same from the binary form that signatures carry. @throws KEY_FORMAT */
export function readSshPublicKey(blob: Buffer): SshPublicKey {
  const reader = new WireReader(blob);
  const type = reader.text();
  const { algorithm, jwk } = readBody(type, reader);
  reader.end();
  let key: KeyObject;
  try {
    key = createPublicKey({ key: jwk, format: 'jwk' });
  } catch (cause) {
    throw keyFormat('the numbers in it are not a key', cause);
  }
  const bits = key.asymmetricKeyDetails?.modulusLength;
  if (bits !== undefined && bits < MIN_RSA_BITS) throw keyFormat(`an RSA key of ${bits} bits is too short`);
  return {
    type,
    text: `${type} ${blob.toString('base64')}`,
    fingerprint: `SHA256:${createHash('sha256').update(blob).digest('base64').replace(/=+$/, '')}`,
    blob,
    algorithm,
    key,
  };
}

function readBody(type: string, reader: WireReader): { algorithm: Algorithm; jwk: Record<string, string> } {
  switch (type) {
    case 'ssh-ed25519':
      return { algorithm: { kind: 'ed25519' }, jwk: readEd25519(reader) };
    case 'ecdsa-sha2-nistp256':
    case 'ecdsa-sha2-nistp384':
    case 'ecdsa-sha2-nistp521': {
      const { curve, jwk } = readPoint(type.slice('ecdsa-sha2-'.length), reader);
      return { algorithm: { kind: 'ecdsa', curve }, jwk };
    }
    case 'ssh-rsa': {
      const exponent = reader.unsigned();
      const modulus = reader.unsigned();
      return {
        algorithm: { kind: 'rsa' },
        jwk: { kty: 'RSA', n: modulus.toString('base64url'), e: exponent.toString('base64url') },
      };
    }
    case 'sk-ssh-ed25519@openssh.com': {
      const jwk = readEd25519(reader);
      return { algorithm: { kind: 'sk', inner: 'ed25519', application: reader.text() }, jwk };
    }
    case 'sk-ecdsa-sha2-nistp256@openssh.com': {
      const { jwk } = readPoint('nistp256', reader);
      return { algorithm: { kind: 'sk', inner: 'ecdsa', application: reader.text() }, jwk };
    }
    default:
      throw keyFormat('its type is not supported');
  }
}

function readEd25519(reader: WireReader): Record<string, string> {
  const point = reader.string();
  if (point.length !== 32) throw keyFormat('an ed25519 key has 32 bytes');
  return { kty: 'OKP', crv: 'Ed25519', x: point.toString('base64url') };
}

function readPoint(expected: string, reader: WireReader): { curve: Curve; jwk: Record<string, string> } {
  const name = reader.text();
  if (name !== expected || !isCurve(name)) throw keyFormat('the curve is not the one of its type');
  const { jwk, size } = CURVES[name];
  const point = reader.string();
  // SEC 1: 0x04 and both coordinates; compressed points are not used by OpenSSH.
  if (point.length !== 1 + 2 * size || point[0] !== 4) throw keyFormat('the point is not uncompressed');
  const x = point.subarray(1, 1 + size).toString('base64url');
  const y = point.subarray(1 + size).toString('base64url');
  return { curve: name, jwk: { kty: 'EC', crv: jwk, x, y } };
}

function isCurve(name: string): name is Curve {
  return Object.hasOwn(CURVES, name);
}

/**
 * Whether an SSH signature blob (`string algorithm, string signature, ...`) is this key's over the data. Malformed
 * blobs are false. rsa with SHA-1 (`ssh-rsa`) is refused; a FIDO key must have confirmed the user's presence.
 */
export function isSignatureOf(publicKey: SshPublicKey, data: Uint8Array, blob: Buffer): boolean {
  try {
    return checkSignature(publicKey, data, new WireReader(blob));
  } catch {
    return false; // unreadable bytes are no signature
  }
}

function checkSignature(publicKey: SshPublicKey, data: Uint8Array, reader: WireReader): boolean {
  const { algorithm, key, type } = publicKey;
  const name = reader.text();
  const signature = reader.string();
  if (algorithm.kind === 'sk') {
    const flags = reader.raw(1);
    const counter = reader.uint32();
    reader.end();
    const present = ((flags[0] ?? 0) & 0x01) === 0x01;
    // PROTOCOL.u2f: the authenticator signs hash(application), flags, counter, hash(message).
    const signed = Buffer.concat([sha256(algorithm.application), flags, encodeUint32(counter), sha256(data)]);
    if (name !== type || !present) return false;
    return algorithm.inner === 'ed25519'
      ? verify(null, signed, key, signature)
      : verify('sha256', signed, { key, dsaEncoding: 'ieee-p1363' }, joinIntegers(signature, 32));
  }
  reader.end();
  switch (algorithm.kind) {
    case 'ed25519':
      return name === type && verify(null, data, key, signature);
    case 'ecdsa': {
      const { hash, size } = CURVES[algorithm.curve];
      return name === type && verify(hash, data, { key, dsaEncoding: 'ieee-p1363' }, joinIntegers(signature, size));
    }
    case 'rsa':
      if (name === 'rsa-sha2-512') return verify('sha512', data, key, signature);
      return name === 'rsa-sha2-256' && verify('sha256', data, key, signature);
  }
}

/** RFC 5656 section 3.1.2: two mpints, here as fixed-width r and s. */
function joinIntegers(blob: Buffer, size: number): Buffer {
  const reader = new WireReader(blob);
  const numbers = [reader.unsigned(), reader.unsigned()];
  reader.end();
  if (numbers.some((number) => number.length > size)) throw keyFormat('a number of the signature is too long');
  return Buffer.concat(numbers.flatMap((number) => [Buffer.alloc(size - number.length), number]));
}

function sha256(bytes: Uint8Array | string): Buffer {
  return createHash('sha256').update(bytes).digest();
}
