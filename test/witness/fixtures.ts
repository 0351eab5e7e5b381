/** Logs and requests for the witness's tests, and a second implementation of the wire formats, written from C2SP alone. */
import { createHash, createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import { formatVerifierKey, signTreeHead } from '../../src/audit/tree/checkpoint.ts';
import { type Digest, sha256 } from '../../src/audit/tree/hash.ts';
import { consistencyProof, treeHash } from '../../src/audit/tree/merkle.ts';

const PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex');

/** An Ed25519 key of one repeated byte: the same in every run. */
export function fixedKey(byte: number): KeyObject {
  return createPrivateKey({ key: Buffer.concat([PKCS8, Buffer.alloc(32, byte)]), format: 'der', type: 'pkcs8' });
}

/** Leaf hashes; another salt is another history. */
export function leavesOf(count: number, salt = ''): Digest[] {
  return Array.from({ length: count }, (_, i) => sha256(Buffer.from(`leaf ${i} ${salt}`)));
}

/** A log with a key of its own that signs whatever it is told to. */
export class TestLog {
  readonly origin: string;
  readonly privateKey: KeyObject;

  constructor(origin = 'log.example/audit', keyByte = 7) {
    this.origin = origin;
    this.privateKey = fixedKey(keyByte);
  }

  get verifierKey(): string {
    return formatVerifierKey({ name: this.origin, publicKey: createPublicKey(this.privateKey) });
  }

  note(leaves: readonly Digest[]): string {
    return signTreeHead({ origin: this.origin, size: BigInt(leaves.length), root: treeHash(leaves) }, this.privateKey);
  }

  /** An honest request that grows the tree from a size. */
  request(leaves: readonly Digest[], oldSize: number): string {
    const proof = oldSize === 0 ? [] : consistencyProof(leaves, oldSize);
    return rawRequest(oldSize, proof, this.note(leaves));
  }
}

export function rawRequest(oldSize: number | string, proof: readonly Digest[], note: string): string {
  return [`old ${oldSize}`, ...proof.map((node) => node.toString('base64')), '', note].join('\n');
}

export interface Reply {
  readonly status: number;
  readonly type: string | null;
  readonly text: string;
}

export async function post(
  url: string,
  body: string | Uint8Array<ArrayBuffer>,
  path = '/add-checkpoint',
): Promise<Reply> {
  const response = await fetch(`${url}${path}`, { method: 'POST', body });
  return { status: response.status, type: response.headers.get('content-type'), text: await response.text() };
}

/**
 * Reads a cosignature line by tlog-cosignature's text: the time, or null. Shares no code with src/: split on spaces, raw
 * key out of the vkey, message built by hand.
 */
export function readCosignature(line: string, noteText: string, vkey: string): number | null {
  const [dash, name, blob, ...rest] = line.trimEnd().split(' ');
  if (dash !== '\u2014' || rest.length > 0 || blob === undefined || !line.endsWith('\n')) return null;
  const plus = vkey.split('+');
  const keyBytes = Buffer.from(plus.slice(2).join('+'), 'base64');
  if (name !== plus[0] || keyBytes[0] !== 4 || keyBytes.length !== 33) return null;
  const bytes = Buffer.from(blob, 'base64');
  const id = createHash('sha256').update(`${name}\n`).update(keyBytes).digest('hex').slice(0, 8);
  if (bytes.length !== 76 || bytes.toString('hex', 0, 4) !== id || id !== plus[1]) return null;
  const time = Number(BigInt(`0x${bytes.toString('hex', 4, 12)}`));
  const x = keyBytes.subarray(1).toString('base64url');
  const publicKey = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
  const message = `cosignature/v1\ntime ${time}\n${noteText}`;
  return verify(null, Buffer.from(message), publicKey, bytes.subarray(12)) ? time : null;
}

/** Writes a cosignature line by the specification's text; a wrong domain line or key gives a wrong one. */
export function writeCosignature(
  noteText: string,
  time: number,
  options: { name: string; privateKey: KeyObject; header?: string; type?: number },
): string {
  const { name, privateKey, header = 'cosignature/v1', type = 4 } = options;
  const x = createPublicKey(privateKey).export({ format: 'jwk' }).x ?? '';
  const id = createHash('sha256')
    .update(`${name}\n`)
    .update(Buffer.from([type]))
    .update(Buffer.from(x, 'base64url'));
  const seconds = Buffer.alloc(8);
  seconds.writeBigUInt64BE(BigInt(time));
  const signature = sign(null, Buffer.from(`${header}\ntime ${time}\n${noteText}`), privateKey);
  return `\u2014 ${name} ${Buffer.concat([id.digest().subarray(0, 4), seconds, signature]).toString('base64')}\n`;
}

/** The text of a note: everything that is signed. */
export function textOf(note: string): string {
  return note.slice(0, note.lastIndexOf('\n\n') + 1);
}
