/**
 * Checkpoints: a signed tree head as a C2SP tlog-checkpoint (https://c2sp.org/tlog-checkpoint), which is a C2SP
 * signed-note (https://c2sp.org/signed-note) under Ed25519. docs/spec/checkpoint-v1.md says how ours look.
 */
import { createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import { AuditkeepError } from '../../errors.ts';
import { DIGEST_BYTES, type Digest, sha256 } from './hash.ts';

/** Signature types of a signed note: plain Ed25519, and the timestamped cosignature of a witness (tlog-cosignature). */
const ED25519_TYPE = 0x01;
export const COSIGNATURE_TYPE = 0x04;
type SignatureType = typeof ED25519_TYPE | typeof COSIGNATURE_TYPE;
const KEY_ID_BYTES = 4;
const RAW_KEY_BYTES = 32;
/** What a DER SubjectPublicKeyInfo of Ed25519 begins with (RFC 8410); the raw key follows. */
const SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex');
/** No note of ours is longer; a reader of foreign bytes stops here. */
const MAX_NOTE_BYTES = 16_384;
const MAX_SIZE = 2n ** 63n - 1n;

export interface TreeHead {
  /** The log's name: what the note's first line says. */
  readonly origin: string;
  readonly size: bigint;
  readonly root: Digest;
}

export interface VerifierKey {
  /** The key's name in the signature line; ours equals the origin. */
  readonly name: string;
  readonly publicKey: KeyObject;
}

/** The text of a checkpoint without its signatures: what is signed. */
function checkpointText(head: TreeHead): string {
  return `${head.origin}\n${head.size}\n${head.root.toString('base64')}\n`;
}

/** The 4 bytes that name a key: SHA-256(name || 0x0A || signature type || raw public key), cut. */
export function keyId(key: VerifierKey, type: SignatureType = ED25519_TYPE): Buffer {
  const digest = sha256(Buffer.from(`${key.name}\n`, 'utf8'), Buffer.from([type]), rawKey(key.publicKey));
  return digest.subarray(0, KEY_ID_BYTES);
}

/** The key as one line that other tools read: `name+hex id+base64(type || raw key)` (signed-note "vkey"). */
export function formatVerifierKey(key: VerifierKey, type: SignatureType = ED25519_TYPE): string {
  const encoded = Buffer.concat([Buffer.from([type]), rawKey(key.publicKey)]).toString('base64');
  return `${key.name}+${keyId(key, type).toString('hex')}+${encoded}`;
}

/** Reads a vkey line of a type. @throws CHECKPOINT_KEY when it is malformed or its id is not that of its key. */
export function parseVerifierKey(line: string, type: SignatureType = ED25519_TYPE): VerifierKey {
  const match = /^([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})$/.exec(line);
  const [, name, id, encoded] = match ?? [];
  if (name === undefined || encoded === undefined) throw invalid('CHECKPOINT_KEY', 'the verifier key is malformed');
  const bytes = decodeBase64(encoded);
  if (bytes === null || bytes.length !== RAW_KEY_BYTES + 1 || bytes[0] !== type) {
    throw invalid('CHECKPOINT_KEY', `the verifier key is not an Ed25519 key of type ${type}`);
  }
  const spki = Buffer.concat([SPKI_PREFIX, bytes.subarray(1)]);
  const key = { name, publicKey: createPublicKey({ key: spki, format: 'der', type: 'spki' }) };
  if (keyId(key, type).toString('hex') !== id)
    throw invalid('CHECKPOINT_KEY', 'the id in the verifier key is not its own');
  return key;
}

/** Signs a tree head; the key's name is the origin. */
export function signTreeHead(head: TreeHead, privateKey: KeyObject): string {
  const text = checkpointText(head);
  const id = keyId({ name: head.origin, publicKey: createPublicKey(privateKey) });
  const signature = sign(null, Buffer.from(text, 'utf8'), privateKey);
  return `${text}\n\u2014 ${head.origin} ${Buffer.concat([id, signature]).toString('base64')}\n`;
}

/**
 * Reads and verifies a checkpoint of exactly one log under exactly one key. Further signatures (witnesses) may follow
 * or precede; extension lines are part of what is signed and are otherwise ignored. A tree of fewer leaves than
 * `smallest` is malformed: our logs never sign an empty one, other logs may.
 * @throws CHECKPOINT_FORMAT, CHECKPOINT_ORIGIN, CHECKPOINT_KEY (no signature by this key), CHECKPOINT_SIGNATURE
 */
export function openCheckpoint(note: string, key: VerifierKey, smallest = 1n): TreeHead {
  const { text, signatures } = splitNote(note);
  const [origin, size, root] = text.split('\n');
  if (origin !== key.name) throw invalid('CHECKPOINT_ORIGIN', 'the checkpoint is of another log');
  const id = keyId(key);
  const ours = signatures.filter((line) => line.name === key.name && line.id.equals(id));
  if (ours.length === 0) throw invalid('CHECKPOINT_KEY', 'the checkpoint bears no signature by the expected key');
  const signed = Buffer.from(text, 'utf8');
  if (!ours.every((line) => verify(null, signed, key.publicKey, line.signature))) {
    throw invalid('CHECKPOINT_SIGNATURE', 'the signature of the checkpoint does not verify');
  }
  return { origin, size: parseSize(size, smallest), root: parseRoot(root) };
}

export interface NoteSignature {
  readonly name: string;
  readonly id: Buffer;
  readonly signature: Buffer;
}

/**
 * Text and signatures are parted by the last empty line; every line ends in a newline, and nothing follows.
 * @throws CHECKPOINT_FORMAT
 */
export function splitNote(note: string): { text: string; signatures: NoteSignature[] } {
  if (note.length > MAX_NOTE_BYTES) throw malformed('is too long');
  if (!note.isWellFormed() || hasControlCharacter(note)) throw malformed('holds characters that a note may not');
  const split = note.lastIndexOf('\n\n');
  if (split < 0 || !note.endsWith('\n')) throw malformed('has no signature block');
  const text = note.slice(0, split + 1);
  const lines = note.slice(split + 2, -1).split('\n');
  if (text.split('\n').length < 4) throw malformed('has fewer than three lines');
  if (text.split('\n').slice(0, -1).includes('')) throw malformed('has an empty line');
  return { text, signatures: lines.map(parseSignature) };
}

function parseSignature(line: string): NoteSignature {
  const match = /^\u2014 ([^\s+]+) ([A-Za-z0-9+/]+={0,2})$/.exec(line);
  const [, name, encoded] = match ?? [];
  const bytes = encoded === undefined ? null : decodeBase64(encoded);
  if (name === undefined || bytes === null || bytes.length <= KEY_ID_BYTES) throw malformed('has a bad signature line');
  return { name, id: bytes.subarray(0, KEY_ID_BYTES), signature: bytes.subarray(KEY_ID_BYTES) };
}

/** A place in the chain is an int64. */
function parseSize(text: string | undefined, smallest: bigint): bigint {
  if (text === undefined || !/^(0|[1-9][0-9]{0,18})$/.test(text)) throw malformed('has a bad tree size');
  const size = BigInt(text);
  if (size < smallest || size > MAX_SIZE) throw malformed('has a bad tree size');
  return size;
}

function parseRoot(text: string | undefined): Digest {
  const root = text === undefined ? null : decodeBase64(text);
  if (root === null || root.length !== DIGEST_BYTES) throw malformed('has a bad root hash');
  return root;
}

/** Strict base64: padded, canonical, nothing else; null otherwise. */
export function decodeBase64(text: string): Buffer | null {
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : null;
}

function hasControlCharacter(note: string): boolean {
  return [...note].some((character) => character < ' ' && character !== '\n');
}

function rawKey(publicKey: KeyObject): Buffer {
  return publicKey.export({ format: 'der', type: 'spki' }).subarray(SPKI_PREFIX.length);
}

type CheckpointCode = 'CHECKPOINT_FORMAT' | 'CHECKPOINT_ORIGIN' | 'CHECKPOINT_KEY' | 'CHECKPOINT_SIGNATURE';

function malformed(what: string): AuditkeepError {
  return invalid('CHECKPOINT_FORMAT', `the checkpoint ${what}`);
}

function invalid(code: CheckpointCode, message: string): AuditkeepError {
  return new AuditkeepError(code, { message, hint: 'use the checkpoint and the key that the log itself published' });
}
