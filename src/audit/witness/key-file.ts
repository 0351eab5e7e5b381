/**
 * A witness's private key: one line `PRIVATE+KEY+<name>+<key id>+<base64(0x04 || seed)>`, the form that signed-note
 * tools use for signing keys, in a file that only its owner may read.
 */
import { createPrivateKey, createPublicKey, randomBytes } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { AuditkeepError } from '../../errors.ts';
import { checkWritableFolder, exists } from '../../writable-folder.ts';
import { createFile } from '../signer/durable-file.ts';
import { COSIGNATURE_TYPE, decodeBase64, formatVerifierKey, keyId } from '../tree/checkpoint.ts';
import type { Cosigner } from './cosignature.ts';

const SEED_BYTES = 32;
/** What a PKCS#8 of an Ed25519 private key begins with (RFC 8410); the seed follows. */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');
const NAME = /^[^\s+\p{Cc}]{1,255}$/u;

/**
 * Makes a key of a name and writes it, never over an existing file. Durable when it resolves.
 * @throws WITNESS_KEY when the name has spaces or a plus sign, or the file exists or cannot be written
 */
export async function createWitnessKey(file: string, name: string): Promise<Cosigner> {
  if (!NAME.test(name)) throw badKey(`a witness cannot have the name ${JSON.stringify(name)}`, undefined);
  const seed = randomBytes(SEED_BYTES);
  const cosigner = { name, privateKey: privateKeyOf(seed) };
  const encoded = Buffer.concat([Buffer.from([COSIGNATURE_TYPE]), seed]).toString('base64');
  const id = keyId({ name, publicKey: createPublicKey(cosigner.privateKey) }, COSIGNATURE_TYPE).toString('hex');
  const created = await createFile(file, `PRIVATE+KEY+${name}+${id}+${encoded}\n`).catch((cause: unknown) => {
    throw badKey(`${file} cannot be written`, cause);
  });
  if (!created) throw badKey(`${file} exists already`, undefined);
  return cosigner;
}

/** The checks of createWitnessKey, without making anything. @throws WITNESS_KEY, INPUT_FILE */
export async function checkNewWitnessKey(file: string, name: string): Promise<void> {
  if (!NAME.test(name)) throw badKey(`a witness cannot have the name ${JSON.stringify(name)}`, undefined);
  if (await exists(file)) throw badKey(`${file} exists already`, undefined);
  await checkWritableFolder(dirname(file));
}

/** Reads a key. @throws WITNESS_KEY when it is missing, malformed or readable by others */
export async function readWitnessKey(file: string): Promise<Cosigner> {
  let text: string;
  try {
    if (((await stat(file)).mode & 0o077) !== 0) throw badKey(`${file} may be read or written by others`, undefined);
    text = await readFile(file, 'utf8');
  } catch (cause) {
    throw cause instanceof AuditkeepError ? cause : badKey(`${file} cannot be read`, cause);
  }
  const [, name, id, encoded] = /^PRIVATE\+KEY\+([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)\n?$/.exec(text) ?? [];
  const bytes = decodeBase64(encoded ?? '');
  if (name === undefined || bytes?.length !== SEED_BYTES + 1 || bytes[0] !== COSIGNATURE_TYPE) {
    throw badKey(`${file} is not the key of a witness`, undefined);
  }
  const privateKey = privateKeyOf(bytes.subarray(1));
  if (keyId({ name, publicKey: createPublicKey(privateKey) }, COSIGNATURE_TYPE).toString('hex') !== id) {
    throw badKey(`the id in ${file} is not that of its key`, undefined);
  }
  return { name, privateKey };
}

/** What the logs that ask this witness are configured with. */
export function witnessVerifierKey({ name, privateKey }: Cosigner): string {
  return formatVerifierKey({ name, publicKey: createPublicKey(privateKey) }, COSIGNATURE_TYPE);
}

function privateKeyOf(seed: Buffer) {
  return createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, seed]), format: 'der', type: 'pkcs8' });
}

function badKey(message: string, cause: unknown): AuditkeepError {
  return new AuditkeepError('WITNESS_KEY', {
    message,
    hint: 'make one with auditkeep witness init --key FILE --name NAME, and keep it at mode 0600',
    cause,
  });
}
