/** The file that `person init` reads: who there is, with which roles and keys. YAML or JSON. */
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { AuditkeepError } from '../errors.ts';
import { parseSshPublicKey } from '../keys/ssh-public-key.ts';
import { yamlProblem } from '../yaml-problem.ts';
import { emailSchema, type PersonChange } from './act.ts';
import { proveKey } from './change.ts';
import { ROLES } from './roles.ts';

/** A public key with the proof that `person prove` printed on its holder's machine. */
const provedKeySchema = z.strictObject({ publicKey: z.string(), proof: z.string() });

const keySchema = z.union([
  provedKeySchema,
  /** A private key that is at hand here; its proof is made now. A relative path counts from the file. */
  z.strictObject({ keyFile: z.string().min(1) }),
]);

const rosterSchema = z.strictObject({
  persons: z
    .array(
      z.strictObject({
        email: emailSchema,
        name: z.string().trim().min(1),
        roles: z.array(z.enum(ROLES)).min(1),
        keys: z.array(keySchema).min(1),
      }),
    )
    .min(1),
});

/** A key and its proof as `person prove --json` prints them. @throws INPUT_FILE, INPUT_INVALID, KEY_FORMAT */
export async function readProofFile(path: string): Promise<{ public_key: string; proof: string }> {
  const parsed = provedKeySchema.safeParse(parseYaml(await readText(path), path));
  if (!parsed.success) {
    throw new AuditkeepError('INPUT_INVALID', {
      message: `${path} is not the proof of a key`,
      hint: 'make it with `auditkeep person prove --email EMAIL --key FILE --json`',
    });
  }
  return { public_key: parseSshPublicKey(parsed.data.publicKey).text, proof: parsed.data.proof };
}

/**
 * The changes that a roster file asks for; keys at hand are proved for the installation.
 * @throws INPUT_FILE, INPUT_INVALID with the place of what is wrong, and those of proveKey
 */
export async function readRosterFile(installationId: string, path: string): Promise<PersonChange[]> {
  const roster = parseRoster(parseYaml(await readText(path), path), path);
  const changes: PersonChange[] = [];
  for (const { email, name, roles, keys } of roster.persons) {
    changes.push({ kind: 'person', email, name });
    changes.push(...roles.map((role): PersonChange => ({ kind: 'role', email, role })));
    for (const key of keys) {
      const proved =
        'keyFile' in key
          ? await proveKey(installationId, email, resolve(dirname(path), key.keyFile))
          : { publicKey: parseSshPublicKey(key.publicKey).text, proof: key.proof };
      changes.push({ kind: 'key', email, public_key: proved.publicKey, proof: proved.proof });
    }
  }
  return changes;
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new AuditkeepError('INPUT_FILE', { message: `${path} cannot be read`, hint: 'check the path', cause });
  }
}

function parseYaml(text: string, path: string): unknown {
  try {
    return parse(text);
  } catch (error) {
    throw malformed(`${path} is not YAML: ${yamlProblem(error)}`);
  }
}

function parseRoster(document: unknown, path: string): z.infer<typeof rosterSchema> {
  const parsed = rosterSchema.safeParse(document);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const place = issue === undefined || issue.path.length === 0 ? 'its top' : issue.path.join('.');
  throw malformed(`the roster ${path} is malformed at ${place}: ${issue?.message ?? ''}`);
}

function malformed(message: string): AuditkeepError {
  return new AuditkeepError('INPUT_INVALID', { message, hint: 'see docs/guide/compliance.md for its form' });
}
