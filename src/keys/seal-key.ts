/**
 * The key by which the organisation seals its reports, with its certificate: `<home>/keys/seal.pem`, made at first use, or the
 * two files that the operator names. RSA, since that is what PDF readers verify everywhere.
 */
import { createPrivateKey, generateKeyPair, type KeyObject, sign } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { AuditkeepError } from '../errors.ts';
import { isoOf, toInstant, type UtcInstant } from '../time/clock.ts';
import { type Certificates, parseCertificates, selfSign, writePem } from './certificate.ts';
import { checkPlace, removeLeftovers } from './providers/kek-folder.ts';
import { checkMode, createKeyFile, isCode, orWhenAbsent } from './providers/key-file.ts';

const MODULUS_BITS = 3072; // as strong as AES-128 (NIST SP 800-57, table 2)
const DAYS_VALID = 3652;
const DAY_MS = 86_400_000;

export interface SealKey {
  readonly certificates: Certificates;
  /** True for the product's own key, false for one that the operator gave. */
  readonly made: boolean;
  /** RSA with SHA-256, PKCS #1 v1.5. */
  sign(text: Uint8Array): Buffer;
}

export interface SealKeyOptions {
  /** Stands in the certificate that is made. */
  readonly organization: string;
  /** PEM files of the operator's own key and certificate (with those up to its issuer); null for the product's. */
  readonly files: { readonly key: string; readonly certificate: string } | null;
  /** False for a dry run: a key that would be made is kept in memory. */
  readonly writes: boolean;
}

/**
 * The seal key.
 * @param mayCreate false where the database knows a certificate that was made: its key must be there
 * @throws SEAL_KEY_MISSING, SEAL_KEY_INVALID, KEY_FILE_MODE, KEY_FILE_PLACE
 */
export async function openSealKey(
  home: string,
  options: SealKeyOptions & { readonly mayCreate: boolean; readonly now: UtcInstant },
): Promise<SealKey> {
  const { files, now } = options;
  if (files !== null) return readGiven(files, now);
  const path = join(home, 'keys', 'seal.pem');
  const found = await readPrivate(path).catch(orWhenAbsent(null));
  if (found !== null) {
    await removeLeftovers(dirname(path), basename(path));
    return parseKey(found, found, { path, made: true, now });
  }
  if (!options.mayCreate) throw missing(path);
  const text = await makeKey(options.organization, now);
  if (!options.writes) return parseKey(text, text, { path, made: true, now });
  await createKeyFile(path, text);
  return openSealKey(home, { ...options, mayCreate: false });
}

async function makeKey(organization: string, now: UtcInstant): Promise<string> {
  const { privateKey } = await promisify(generateKeyPair)('rsa', { modulusLength: MODULUS_BITS });
  const from = `${isoOf(now).slice(0, 10)}T00:00:00.000Z`;
  const certificate = selfSign(privateKey, organization, { from, to: isoOf(toInstant(now + DAYS_VALID * DAY_MS)) });
  return `${privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()}${writePem([certificate])}`;
}

async function readPrivate(path: string): Promise<string> {
  await checkPlace(dirname(path));
  await checkMode(dirname(path));
  await checkMode(path);
  return readFile(path, 'utf8');
}

async function readGiven(files: NonNullable<SealKeyOptions['files']>, now: UtcInstant): Promise<SealKey> {
  try {
    await checkPlace(dirname(files.key));
    await checkMode(files.key);
    const [key, certificate] = await Promise.all([readFile(files.key, 'utf8'), readFile(files.certificate, 'utf8')]);
    return parseKey(key, certificate, { path: files.key, made: false, now });
  } catch (cause) {
    if (cause instanceof AuditkeepError) throw cause;
    const absent = isCode(cause, 'ENOENT') ? 'is not there' : 'cannot be read';
    throw invalid(`the file of sealKey or sealCertificate ${absent}`, cause);
  }
}

function parseKey(
  keyText: string,
  certificateText: string,
  { path, made, now }: { readonly path: string; readonly made: boolean; readonly now: UtcInstant },
): SealKey {
  const certificates = parseCertificates(certificateText);
  if (certificates === null) throw invalid(`the certificate of the seal key ${path} is malformed or not of an RSA key`);
  const [own] = certificates;
  let key: KeyObject;
  try {
    key = createPrivateKey(keyText);
  } catch (cause) {
    throw invalid(`the seal key ${path} is malformed or has a passphrase`, cause);
  }
  if (!own.checkPrivateKey(key)) throw invalid(`the certificate of the seal key ${path} is of another key`);
  if (now < own.validFromDate.getTime() || now > own.validToDate.getTime()) {
    throw invalid(`the certificate of the seal key ${path} is not valid now: it ends ${own.validToDate.toISOString()}`);
  }
  return { certificates, made, sign: (text) => sign('sha256', text, key) };
}

function invalid(message: string, cause?: unknown): AuditkeepError {
  return new AuditkeepError('SEAL_KEY_INVALID', {
    message,
    hint: 'give an RSA key and its certificate as PEM files in sealKey and sealCertificate, or restore the one of this installation',
    cause,
  });
}

function missing(path: string): AuditkeepError {
  return new AuditkeepError('SEAL_KEY_MISSING', {
    message: `reports were sealed with a key that is not in ${path}`,
    hint: 'restore the file or use the home that has it (AUDITKEEP_HOME); for a new key, give one in sealKey and sealCertificate',
  });
}
