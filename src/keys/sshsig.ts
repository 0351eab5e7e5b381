/**
 * SSH signatures over messages (OpenSSH PROTOCOL.sshsig): what `ssh-keygen -Y sign` makes and `-Y verify` checks. Always
 * SHA-512; the namespace says what is meant, so that a signature made for one purpose is none for another.
 */
import { spawn } from 'node:child_process';
import { createHash, sign } from 'node:crypto';
import { AuditkeepError } from '../errors.ts';
import type { SshKeyFile } from './ssh-key.ts';
import { isSignatureOf, readSshPublicKey, type SshPublicKey } from './ssh-public-key.ts';
import { decodeBase64, encodeStrings, encodeUint32, WireReader } from './ssh-wire.ts';

const MAGIC = Buffer.from('SSHSIG', 'latin1');
const VERSION = 1;
const HASH = 'sha512';
const BEGIN = '-----BEGIN SSH SIGNATURE-----';
const END = '-----END SSH SIGNATURE-----';
/** Time for a passphrase or the touch of a token. */
const SIGN_TIMEOUT_MS = 120_000;

/** One namespace a meaning; a new version of a payload gets a new name. */
export const NAMESPACES = {
  reportDecision: 'report-decision@auditkeep.v1',
  person: 'person@auditkeep.v1',
  erasure: 'erasure@auditkeep.v1',
  incarnation: 'incarnation@auditkeep.v1',
  planApproval: 'plan-approval@auditkeep.v1',
  hold: 'hold@auditkeep.v1',
  policy: 'policy@auditkeep.v1',
  restore: 'restore@auditkeep.v1',
  waiver: 'waiver@auditkeep.v1',
  attestation: 'attestation@auditkeep.v1',
} as const;
export type Namespace = (typeof NAMESPACES)[keyof typeof NAMESPACES];

export type SshsigCheck =
  | { readonly valid: true; readonly publicKey: SshPublicKey }
  | { readonly valid: false; readonly reason: 'malformed' | 'namespace' | 'hash' | 'signature' };

/**
 * Checks an armored signature over a message. Says which key made it, not whether that key may: the caller compares.
 * Never throws.
 */
export function checkSshsig(armored: string, namespace: Namespace, message: Uint8Array): SshsigCheck {
  let fields: ReturnType<typeof readSshsig>;
  try {
    fields = readSshsig(armored);
  } catch {
    return { valid: false, reason: 'malformed' };
  }
  if (fields.namespace !== namespace) return { valid: false, reason: 'namespace' };
  if (fields.hash !== HASH) return { valid: false, reason: 'hash' };
  const signed = signedBytes(namespace, fields.reserved, message);
  if (!isSignatureOf(fields.publicKey, signed, fields.signature)) return { valid: false, reason: 'signature' };
  return { valid: true, publicKey: fields.publicKey };
}

function readSshsig(armored: string) {
  const lines = armored.trim().split(/\r?\n/);
  if (lines[0] !== BEGIN || lines.at(-1) !== END) throw new Error('not armored');
  const reader = new WireReader(decodeBase64(lines.slice(1, -1).join('')));
  if (!reader.raw(MAGIC.length).equals(MAGIC) || reader.uint32() !== VERSION) throw new Error('not SSHSIG version 1');
  const fields = {
    publicKey: readSshPublicKey(reader.string()),
    namespace: reader.text(),
    reserved: reader.string(),
    hash: reader.text(),
    signature: reader.string(),
  };
  reader.end();
  return fields;
}

/** PROTOCOL.sshsig section 3: what the key signs is a frame around the message's hash. */
function signedBytes(namespace: string, reserved: Uint8Array, message: Uint8Array): Buffer {
  const digest = createHash(HASH).update(message).digest();
  return Buffer.concat([MAGIC, encodeStrings(namespace, reserved, HASH, digest)]);
}

/**
 * Signs a message; a key that cannot be used here is used by `ssh-keygen -Y sign`, which may ask for a passphrase or a
 * touch on the terminal.
 * @throws SIGN_FAILED when ssh-keygen is missing, fails or takes over two minutes
 */
export function signSshsig(key: SshKeyFile, namespace: Namespace, message: Uint8Array): Promise<string> {
  if (key.kind === 'ssh-keygen') return signWithSshKeygen(key.path, namespace, message);
  const signature = sign(null, signedBytes(namespace, Buffer.alloc(0), message), key.privateKey);
  const blob = Buffer.concat([
    MAGIC,
    encodeUint32(VERSION),
    encodeStrings(key.publicKey.blob, namespace, '', HASH, encodeStrings('ssh-ed25519', signature)),
  ]);
  return Promise.resolve(`${BEGIN}\n${blob.toString('base64').replace(/.{1,70}/g, '$&\n')}${END}\n`);
}

function signWithSshKeygen(path: string, namespace: string, message: Uint8Array): Promise<string> {
  return new Promise((resolve, reject) => {
    // No shell; stderr goes to the terminal, where ssh-keygen asks for a touch.
    const child = spawn('ssh-keygen', ['-Y', 'sign', '-q', '-f', path, '-n', namespace], {
      stdio: ['pipe', 'pipe', 'inherit'],
      timeout: SIGN_TIMEOUT_MS,
    });
    const output: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => output.push(chunk));
    child.stdin.on('error', () => undefined); // it ended before reading; its exit code tells why
    child.on('error', (cause) => reject(signFailed('ssh-keygen cannot be run', cause)));
    child.on('close', (code) => {
      if (code === 0) resolve(Buffer.concat(output).toString('utf8'));
      else reject(signFailed(`ssh-keygen ended with ${code ?? 'a time-out'}`));
    });
    child.stdin.end(message);
  });
}

function signFailed(what: string, cause?: unknown): AuditkeepError {
  return new AuditkeepError('SIGN_FAILED', {
    message: `the signature could not be made: ${what}`,
    hint: 'check the key, its passphrase or token with `ssh-keygen -Y sign`, or use an unencrypted ed25519 key',
    cause,
  });
}
