/**
 * Timestamped cosignatures of a witness, version 1 (https://c2sp.org/tlog-cosignature, Ed25519): a signature line below
 * a checkpoint that says when the witness saw it as the largest consistent tree of the log.
 */
import { createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import { COSIGNATURE_TYPE, keyId, type NoteSignature, splitNote, type VerifierKey } from '../tree/checkpoint.ts';

const TIME_BYTES = 8;
const SIGNATURE_BYTES = 64;
/** The specification's own bound. */
const LATEST_TIME = 2n ** 63n - 1n;

/** The private side of a witness: the name in its signature lines and its Ed25519 key. */
export interface Cosigner {
  readonly name: string;
  readonly privateKey: KeyObject;
}

/** Signs the text of a checkpoint at a time in seconds since 1970; gives the signature line with its newline. */
export function cosign(text: string, time: bigint, { name, privateKey }: Cosigner): string {
  const id = keyId({ name, publicKey: createPublicKey(privateKey) }, COSIGNATURE_TYPE);
  const seconds = Buffer.alloc(TIME_BYTES);
  seconds.writeBigUInt64BE(time);
  const signature = sign(null, cosignedMessage(text, time), privateKey);
  return `\u2014 ${name} ${Buffer.concat([id, seconds, signature]).toString('base64')}\n`;
}

/**
 * When the witness cosigned, in seconds since 1970; null when none of the note's lines is a valid cosignature by this
 * key. Lines of other keys are ignored, as the specification demands; one invalid line of this key spoils the note.
 * @throws CHECKPOINT_FORMAT when it is no note
 */
export function openCosignature(note: string, key: VerifierKey): bigint | null {
  const { text, signatures } = splitNote(note);
  const id = keyId(key, COSIGNATURE_TYPE);
  const times = signatures
    .filter((line) => line.name === key.name && line.id.equals(id))
    .map((line) => cosignedAt(text, line, key));
  return times.includes(null) ? null : (times[0] ?? null);
}

function cosignedAt(text: string, line: NoteSignature, key: VerifierKey): bigint | null {
  if (line.signature.length !== TIME_BYTES + SIGNATURE_BYTES) return null;
  const time = line.signature.readBigUInt64BE();
  // A witness must not leave the time out (tlog-witness): a zero would say nothing about when.
  if (time === 0n || time > LATEST_TIME) return null;
  const signature = line.signature.subarray(TIME_BYTES);
  return verify(null, cosignedMessage(text, time), key.publicKey, signature) ? time : null;
}

function cosignedMessage(text: string, time: bigint): Buffer {
  return Buffer.from(`cosignature/v1\ntime ${time}\n${text}`, 'utf8');
}
