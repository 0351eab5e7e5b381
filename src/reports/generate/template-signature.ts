/**
 * Templates of one's own are SQL that reports rest on, so a policy owner signs them: a list of the folder's files with their hashes
 * (templates.json) and an SSH signature over it (templates.json.sig), checked before a report is made from the folder.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { canonicalJson } from '../../canonical-json.ts';
import type { Context } from '../../context.ts';
import type { SqlClient } from '../../db/database.ts';
import { AuditkeepError } from '../../errors.ts';
import { readSshKeyFile } from '../../keys/ssh-key.ts';
import { checkSshsig, NAMESPACES, signSshsig } from '../../keys/sshsig.ts';
import { type CheckedRegister, readRegister } from '../../persons/read-register.ts';
import { hasRole, isWithin } from '../../persons/register.ts';
import { beginAct } from '../../persons/store.ts';
import { checkWritableFolder } from '../../writable-folder.ts';
import { sha256Hex } from '../model/model.ts';
import { loadTemplates, TEMPLATES_FOLDER, type TemplateSet } from '../template/template.ts';

const LIST = 'templates.json';
const SIGNATURE = `${LIST}.sig`;

/** What is signed: the files that reports are made from, for one installation. Canonical; its SHA-256 is the folder's address. */
function listOf(set: TemplateSet, installationId: string): string {
  const files = [
    ...[...set.controls.values()].map(({ id, sha256 }) => ({ path: `controls/${id}.yaml`, sha256 })),
    ...[...set.frameworks.values()].map(({ id, sha256 }) => ({ path: `frameworks/${id}.yaml`, sha256 })),
  ];
  return canonicalJson({ format: 'auditkeep-templates/v1', installation_id: installationId, files });
}

export interface SignedTemplates {
  readonly folder: string;
  /** SHA-256 of the list. */
  readonly sha256: string;
  readonly files: number;
}

/**
 * Signs a folder as a policy owner and writes templates.json and its signature into it; a dry run writes nothing.
 * @throws USAGE without a person and key, TEMPLATE_INVALID, TEMPLATE_SQL, TEMPLATE_UNSIGNED where the signature would not count,
 * INPUT_FILE, and those of readSshKeyFile and signSshsig
 */
export async function signTemplates(
  ctx: Pick<Context, 'db' | 'actor'>,
  { folder, dryRun = false }: { readonly folder: string; readonly dryRun?: boolean },
): Promise<SignedTemplates> {
  const { actor } = ctx;
  if (actor.kind !== 'person' || actor.keyFile === null) {
    throw new AuditkeepError('USAGE', {
      message: 'templates are signed by a policy owner',
      hint: 'give --as EMAIL and --key FILE',
    });
  }
  const set = await loadTemplates(folder);
  const current = await ctx.db.withClient(readCurrent);
  const list = listOf(set, current.installationId);
  const key = await readSshKeyFile(actor.keyFile);
  const signature = await signSshsig(key, NAMESPACES.policy, Buffer.from(list, 'utf8'));
  const signer = checkList({ list, signature }, { list, current });
  if (signer !== actor.email.toLowerCase()) throw unsigned('the key is another person’s');
  await checkWritableFolder(folder);
  if (!dryRun) {
    await writeFile(join(folder, LIST), list);
    await writeFile(join(folder, SIGNATURE), signature);
  }
  return { folder, sha256: sha256Hex(list), files: set.controls.size + set.frameworks.size };
}

/**
 * The templates of a folder, where a policy owner signed exactly these files. Those that come with the product need no signature.
 * @throws TEMPLATE_UNSIGNED, TEMPLATE_INVALID, TEMPLATE_SQL
 */
export async function loadSignedTemplates(
  ctx: Pick<Context, 'db'>,
  folder: string = TEMPLATES_FOLDER,
): Promise<TemplateSet> {
  const set = await loadTemplates(folder);
  if (resolve(folder) === resolve(TEMPLATES_FOLDER)) return set;
  const current = await ctx.db.withClient(readCurrent);
  const read = (name: string) =>
    readFile(join(folder, name), 'utf8').catch((cause: unknown) => {
      throw unsigned(`${join(folder, name)} cannot be read`, cause);
    });
  const signed = { list: await read(LIST), signature: await read(SIGNATURE) };
  checkList(signed, { list: listOf(set, current.installationId), current });
  return set;
}

/** The register, and the database's time: key and role have to count now, since nothing shows when a file was signed. */
async function readCurrent(client: SqlClient): Promise<CheckedRegister & { readonly at: string }> {
  const { issued_at: at } = await beginAct(client);
  return { ...(await readRegister(client)), at };
}

interface Expected {
  readonly list: string;
  readonly current: Awaited<ReturnType<typeof readCurrent>>;
}

/** The e-mail of the policy owner who signed. @throws TEMPLATE_UNSIGNED */
function checkList(
  { list, signature }: { readonly list: string; readonly signature: string },
  { list: expected, current }: Expected,
): string {
  if (list !== expected) throw unsigned('what was signed is not what is in the folder, or is of another installation');
  const check = checkSshsig(signature, NAMESPACES.policy, Buffer.from(list, 'utf8'));
  if (!check.valid) throw unsigned('the signature does not verify');
  const { register, at } = current;
  const key = register.keys.get(check.publicKey.fingerprint);
  if (key === undefined || !isWithin(key, at)) throw unsigned('the signing key is nobody’s in the register');
  if (!hasRole(register, key.email, 'policy_owner', at)) throw unsigned('whoever signed is no policy owner');
  return key.email;
}

function unsigned(what: string, cause?: unknown): AuditkeepError {
  return new AuditkeepError('TEMPLATE_UNSIGNED', {
    message: `the templates are not signed by a policy owner: ${what}`,
    hint: 'let one sign the folder with `auditkeep template sign --folder F`',
    cause,
  });
}
