/**
 * OpenSSH private keys: unencrypted ed25519 keys (openssh-key-v1, OpenSSH PROTOCOL.key) are read and written here, so that
 * nothing but Node is needed; every other key is left to ssh-keygen (see sshsig.ts).
 */
import { createPrivateKey, generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { AuditkeepError } from '../errors.ts';
import { parseSshPublicKey, readSshPublicKey, type SshPublicKey } from './ssh-public-key.ts';
import { decodeBase64, encodeStrings, encodeUint32, keyFormat, WireReader } from './ssh-wire.ts';

const BEGIN = '-----BEGIN OPENSSH PRIVATE KEY-----';
const END = '-----END OPENSSH PRIVATE KEY-----';
const MAGIC = Buffer.from('openssh-key-v1\0', 'latin1');
/** PKCS #8 of an ed25519 seed (RFC 8410 section 7) up to the seed. */
const PKCS8_ED25519 = Buffer.from('302e020100300506032b657004220420', 'hex');

/** A key file: usable here, or by ssh-keygen alone (encrypted, held by an agent or a FIDO token, another type). */
export type SshKeyFile =
  | { readonly kind: 'in-process'; readonly publicKey: SshPublicKey; readonly privateKey: KeyObject }
  | { readonly kind: 'ssh-keygen'; readonly publicKey: SshPublicKey; readonly path: string };

/**
 * Reads a private key file, or a .pub file whose private half an agent holds.
 * @throws INPUT_FILE when it cannot be read, KEY_FILE_MODE when others may read it, KEY_FORMAT
 */
export async function readSshKeyFile(path: string): Promise<SshKeyFile> {
  const text = await readText(path);
  if (!text.trimStart().startsWith('-----BEGIN')) {
    return { kind: 'ssh-keygen', publicKey: parseSshPublicKey(text), path };
  }
  await refuseSharedFile(path);
  const { publicKey, privateKey } = parseOpensshPrivateKey(text);
  return privateKey === null ? { kind: 'ssh-keygen', publicKey, path } : { kind: 'in-process', publicKey, privateKey };
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new AuditkeepError('INPUT_FILE', {
      message: `the key file ${path} cannot be read`,
      hint: 'give the path of your SSH private key with --key',
      cause,
    });
  }
}

async function refuseSharedFile(path: string): Promise<void> {
  const mode = (await stat(path)).mode & 0o777;
  if (process.platform !== 'win32' && (mode & 0o077) !== 0) {
    throw new AuditkeepError('KEY_FILE_MODE', {
      message: `others may read the private key ${path}: its mode is 0${mode.toString(8)}`,
      hint: `chmod 600 ${path}`,
    });
  }
}

/** Reads the text of a private key; privateKey is null where only ssh-keygen can use it. @throws KEY_FORMAT */
export function parseOpensshPrivateKey(text: string): {
  readonly publicKey: SshPublicKey;
  readonly privateKey: KeyObject | null;
} {
  const lines = text.trim().split(/\r?\n/);
  if (lines[0] !== BEGIN || lines.at(-1) !== END) throw keyFormat('it is not an OpenSSH private key');
  const reader = new WireReader(decodeBase64(lines.slice(1, -1).join('')));
  if (!reader.raw(MAGIC.length).equals(MAGIC)) throw keyFormat('it is not openssh-key-v1');
  const cipher = reader.text();
  reader.string(); // kdf name
  reader.string(); // kdf options
  if (reader.uint32() !== 1) throw keyFormat('it holds more than one key');
  const publicKey = readSshPublicKey(reader.string());
  const section = reader.string();
  reader.end();
  if (cipher !== 'none' || publicKey.type !== 'ssh-ed25519') return { publicKey, privateKey: null };
  return { publicKey, privateKey: readEd25519Section(section, publicKey) };
}

function readEd25519Section(section: Buffer, publicKey: SshPublicKey): KeyObject {
  const reader = new WireReader(section);
  const check = reader.uint32();
  if (reader.uint32() !== check) throw keyFormat('its check numbers differ');
  if (reader.text() !== 'ssh-ed25519') throw keyFormat('its two halves are of different types');
  const point = reader.string();
  const seedAndPoint = reader.string();
  if (seedAndPoint.length !== 64 || !seedAndPoint.subarray(32).equals(point)) throw keyFormat('its halves differ');
  const der = Buffer.concat([PKCS8_ED25519, seedAndPoint.subarray(0, 32)]);
  const privateKey = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  if (!ed25519Blob(privateKey).equals(publicKey.blob))
    throw keyFormat('the private key is not the one of its public key');
  return privateKey;
}

function ed25519Blob(key: KeyObject): Buffer {
  const { x } = key.export({ format: 'jwk' });
  if (x === undefined) throw keyFormat('it is no ed25519 key');
  return encodeStrings('ssh-ed25519', Buffer.from(x, 'base64url'));
}

/** Makes an ed25519 pair as OpenSSH text. Both end in a newline; the private one must be stored 0600. */
export function generateSshKeyPair(comment: string): { readonly privateKey: string; readonly publicKey: string } {
  const { privateKey } = generateKeyPairSync('ed25519');
  const blob = ed25519Blob(privateKey);
  const { d } = privateKey.export({ format: 'jwk' });
  const point = blob.subarray(-32);
  const check = randomBytes(4);
  const fields = encodeStrings(
    'ssh-ed25519',
    point,
    Buffer.concat([Buffer.from(d ?? '', 'base64url'), point]),
    comment,
  );
  const section = Buffer.concat([check, check, fields]);
  // PROTOCOL.key: padded with 1, 2, 3, ... to the cipher's block size, 8 for none.
  const padding = Buffer.from([1, 2, 3, 4, 5, 6, 7].slice(0, (8 - (section.length % 8)) % 8));
  const body = Buffer.concat([
    MAGIC,
    encodeStrings('none', 'none', ''),
    encodeUint32(1),
    encodeStrings(blob, Buffer.concat([section, padding])),
  ]);
  const wrapped = body.toString('base64').replace(/.{1,70}/g, '$&\n');
  return {
    privateKey: `${BEGIN}\n${wrapped}${END}\n`,
    publicKey: `ssh-ed25519 ${blob.toString('base64')} ${comment}\n`,
  };
}

/** Makes a pair and writes `path` (0600) and `path.pub`; an existing file is left alone. @throws INPUT_FILE */
export async function writeSshKeyPair(path: string, comment: string): Promise<SshPublicKey> {
  const pair = generateSshKeyPair(comment);
  try {
    await writeFile(path, pair.privateKey, { mode: 0o600, flag: 'wx' });
    await writeFile(`${path}.pub`, pair.publicKey, { mode: 0o644, flag: 'wx' });
  } catch (cause) {
    throw new AuditkeepError('INPUT_FILE', {
      message: 'the key pair cannot be written',
      hint: 'choose a new file name in a folder you may write to',
      cause,
    });
  }
  return parseSshPublicKey(pair.publicKey);
}
