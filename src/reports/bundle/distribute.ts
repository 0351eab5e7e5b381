/** Giving a bundle to a recipient, encrypted for their age key and logged; and opening what was received. */
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Decrypter } from 'age-encryption';
import { recordEvent } from '../../audit/record/record.ts';
import type { Context } from '../../context.ts';
import { inTransaction } from '../../db/transaction.ts';
import { AuditkeepError } from '../../errors.ts';
import { encrypterFor } from '../../keys/age-recipient.ts';
import { certificateSha256, parseCertificates } from '../../keys/certificate.ts';
import { translateRefusals } from '../../persons/refusal.ts';
import { checkWritableFolder } from '../../writable-folder.ts';
import { MAX_BUNDLE_BYTES, sha256Of, unpackBundle } from '../parts/bundle-format.ts';
import type { BundleVariant } from '../parts/bundle-identities.ts';
import { insertDistribution } from '../workflow/store-workflow.ts';
import { makeBundle } from './bundle.ts';
import { dropRefused, finishPart, settleLeftovers, writePart } from './distribution-file.ts';
import { showGiver } from './giver.ts';
import { type BundleCheck, verifyBundle } from './verify-bundle.ts';

const AGE_HEADER = Buffer.from('age-encryption.org/v1\n', 'latin1');
const AGE_ARMOR = '-----BEGIN AGE ENCRYPTED FILE-----';

export interface DistributeInput {
  readonly reportId: string;
  /** Who receives it: a name or address, as the log shall have it. */
  readonly recipient: string;
  /** Their X25519 key, `age1...`. */
  readonly ageRecipient: string;
  readonly purpose: string;
  /** Whether it says who the pseudonyms are; redacted unless given. */
  readonly variant?: BundleVariant;
  readonly outDir: string;
  /** Makes every check on a rehearsed database and writes no file. */
  readonly dryRun?: boolean;
}

export interface Distributed {
  readonly distributionId: string;
  readonly path: string;
  /** Of the encrypted file, and of the bundle in it. */
  readonly sha256: string;
  readonly bundleSha256: string;
}

/**
 * Writes `report-ID-NN.zip.age` for one recipient and logs it: recipient, purpose, variant, hashes, time and by whom. The file has its
 * name only once the entry is committed (distribution-file.ts); parts that an earlier run left in the folder are settled
 * first.
 * @throws USAGE without an acting person and key, PERSON_KEY_INVALID, INPUT_INVALID for a malformed recipient, REPORT_NOT_APPROVED, ROLE_MISSING,
 * PERSON_UNKNOWN, and those of makeBundle
 */
export async function distributeReport(
  ctx: Pick<Context, 'db' | 'keys' | 'clock' | 'actor'>,
  input: DistributeInput,
): Promise<Distributed> {
  const variant = input.variant ?? 'redacted';
  const { email, keyFingerprint } = await showGiver(ctx, variant);
  const bundle = await makeBundle(ctx, input.reportId, variant);
  const encrypted = Buffer.from(await encrypterFor(input.ageRecipient).encrypt(bundle.zip));
  const sha256 = sha256Of(encrypted);
  const name = `report-${bundle.reportId}-${sha256.slice(0, 8)}.zip.age`;
  const path = join(input.outDir, name);
  const isRehearsal = input.dryRun === true;
  if (isRehearsal) {
    await checkWritableFolder(input.outDir);
  } else {
    await settleLeftovers(ctx, input.outDir);
    await writePart(path, encrypted);
  }
  try {
    const logged = await translateRefusals(() =>
      inTransaction(ctx.db, async (client) => {
        const distributionId = await insertDistribution(client, {
          reportId: bundle.reportId,
          recipient: input.recipient.trim(),
          ageRecipient: input.ageRecipient,
          purpose: input.purpose.trim(),
          variant,
          bundleSha256: bundle.sha256,
          sha256,
          by: email,
        });
        await recordEvent(ctx, client, {
          type: 'report.distributed',
          category: 'data_access',
          action: 'DISTRIBUTE',
          resourceType: 'compliance_report',
          resourceId: bundle.reportId,
          details: {
            distributionId,
            variant,
            keyFingerprint,
            sha256,
            bundleSha256: bundle.sha256,
            bytes: encrypted.length,
          },
        });
        return { distributionId, path, sha256, bundleSha256: bundle.sha256 };
      }),
    );
    if (!isRehearsal) await finishPart(path);
    return logged;
  } catch (error) {
    if (!isRehearsal) await dropRefused(path, error); // what is not in the log was not distributed
    throw error;
  }
}

/**
 * Reads a bundle file, decrypting it when it is an age file.
 * @param identityFile an age identity file (`AGE-SECRET-KEY-1...`), or null for a plain zip
 * @throws INPUT_FILE, BUNDLE_IDENTITY when no identity opens it, BUNDLE_INVALID when the encrypted file is damaged
 */
async function readBundleFile(file: string, identityFile: string | null): Promise<Buffer> {
  const bytes = await readInput(file, 'the bundle', 2 * MAX_BUNDLE_BYTES);
  if (bytes.subarray(0, AGE_ARMOR.length).toString('latin1') === AGE_ARMOR) {
    throw new AuditkeepError('BUNDLE_INVALID', {
      message: 'the file is an armored age file',
      hint: 'remove the armor with `age -d`, or open the binary file',
    });
  }
  if (!bytes.subarray(0, AGE_HEADER.length).equals(AGE_HEADER)) return bytes;
  const decrypter = new Decrypter();
  const identities = identityFile === null ? [] : await readIdentities(identityFile);
  for (const identity of identities) decrypter.addIdentity(identity);
  if (identities.length === 0) throw noIdentity('the bundle is encrypted');
  try {
    return Buffer.from(await decrypter.decrypt(bytes));
  } catch (cause) {
    // The library tells by words alone whether no identity fits or the content is damaged.
    if (cause instanceof Error && /no identity matched/i.test(cause.message)) {
      throw noIdentity('the bundle was encrypted for another recipient', cause);
    }
    throw new AuditkeepError('BUNDLE_INVALID', {
      message: 'the encrypted file is damaged: it does not decrypt',
      hint: 'ask its sender for it again; compare the sha256 of what was sent',
      cause,
    });
  }
}

async function readIdentities(path: string): Promise<string[]> {
  const lines = (await readInput(path, 'the identity file')).toString('utf8').split('\n');
  const identities = lines.map((line) => line.trim()).filter((line) => line.startsWith('AGE-SECRET-KEY-1'));
  if (identities.length === 0) throw noIdentity('the identity file holds no age identity');
  return identities;
}

function noIdentity(message: string, cause?: unknown): AuditkeepError {
  return new AuditkeepError('BUNDLE_IDENTITY', {
    message,
    hint: 'give the age identity file of its recipient with --identity',
    cause,
  });
}

async function readInput(path: string, what: string, maxBytes = 1024 * 1024): Promise<Buffer> {
  try {
    const { size } = await stat(path);
    if (size > maxBytes) {
      throw new AuditkeepError('INPUT_INVALID', {
        message: `${what} has ${size} bytes, which is too many`,
        hint: 'check that it is the file that was sent',
      });
    }
    return await readFile(path);
  } catch (cause) {
    if (cause instanceof AuditkeepError) throw cause;
    throw new AuditkeepError('INPUT_FILE', { message: `${what} cannot be read`, hint: 'check the path', cause });
  }
}

export interface OpenInput {
  readonly file: string;
  /** Age identity file; null for a bundle that is not encrypted. */
  readonly identityFile: string | null;
  /** allowed_signers file that came another way; null uses the one inside. */
  readonly signersFile: string | null;
  /** Certificate of the seal that came another way: its SHA-256, with colons or without, or a PEM file. */
  readonly sealCertificate?: string | null;
}

/** Checks a bundle file offline and writes nothing. @throws as readBundleFile and verifyBundle */
export async function checkBundleFile(input: OpenInput): Promise<BundleCheck> {
  return checkZip(await readBundleFile(input.file, input.identityFile), input);
}

async function checkZip(zip: Buffer, { signersFile, sealCertificate = null }: OpenInput): Promise<BundleCheck> {
  const given = sealCertificate === null ? null : await readSealFingerprint(sealCertificate);
  return verifyBundle(zip, await readSigners(signersFile), { sealCertificate: given });
}

/** SHA-256 of the certificate, lower-case hex. */
async function readSealFingerprint(given: string): Promise<string> {
  const digits = given.replaceAll(':', '').toLowerCase();
  if (/^[0-9a-f]{64}$/.test(digits)) return digits;
  const text = (await readInput(given, 'the certificate of the seal', 64 * 1024)).toString('utf8');
  // A bundle holds its own certificate as text: the wrong file would vouch for itself.
  const certificates = text.includes('\0') ? null : parseCertificates(text);
  if (certificates !== null) return certificateSha256(certificates[0]);
  throw new AuditkeepError('INPUT_INVALID', {
    message: 'the certificate of the seal is neither a SHA-256 nor a PEM file with the certificate of an RSA key',
    hint: 'give its fingerprint, as `openssl x509 -noout -fingerprint -sha256` prints it, or the file',
  });
}

async function readSigners(path: string | null): Promise<string | null> {
  return path === null ? null : (await readInput(path, 'the list of signers')).toString('utf8');
}

/**
 * Decrypts, checks and unpacks a bundle into a new or empty folder. Nothing is written unless everything holds.
 * @throws BUNDLE_INVALID with every part that is wrong in `details`, and those of checkBundleFile
 */
export async function openBundle(input: OpenInput & { readonly outDir: string }): Promise<BundleCheck> {
  const zip = await readBundleFile(input.file, input.identityFile);
  const check = await checkZip(zip, input);
  const [first] = check.findings;
  if (first !== undefined) {
    throw new AuditkeepError('BUNDLE_INVALID', {
      message: `the bundle does not hold: ${first.part} ${first.what}`,
      hint: 'see all findings with `auditkeep report verify`; nothing was unpacked',
      details: { findings: check.findings },
    });
  }
  await refuseUsedFolder(input.outDir);
  // Part names were checked against the grammar of bundles, so that none leaves the folder.
  for (const [name, bytes] of unpackBundle(zip)) {
    const path = join(input.outDir, name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, bytes, { mode: 0o600, flag: 'wx' });
  }
  return check;
}

async function refuseUsedFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  if ((await readdir(folder)).length === 0) return;
  throw new AuditkeepError('INPUT_INVALID', {
    message: 'the output folder is not empty',
    hint: 'name a new folder with --out',
  });
}
