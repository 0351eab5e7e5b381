/** A register for tests: two officers and one person a role, each with an ed25519 key in a temporary folder. */

import { join } from 'node:path';
import type { Context } from '../../src/context.ts';
import { writeSshKeyPair } from '../../src/keys/ssh-key.ts';
import type { PersonChange } from '../../src/persons/act.ts';
import { initPersons, proveKey } from '../../src/persons/change.ts';
import type { Role } from '../../src/persons/roles.ts';
import { readInstallationId } from '../../src/persons/store.ts';

const PEOPLE: Readonly<Record<string, readonly Role[]>> = {
  officer1: ['key_officer'],
  officer2: ['key_officer'],
  officer3: ['key_officer'],
  preparer: ['preparer'],
  reviewer: ['reviewer'],
  approver: ['approver'],
  records: ['records_manager'],
  records2: ['records_manager'],
  counsel: ['legal'],
  counsel2: ['legal'],
  owner: ['policy_owner'],
  owner2: ['policy_owner'],
  // One person with every role: only separation of duties keeps them from doing all of it.
  everything: ['preparer', 'reviewer', 'approver', 'records_manager'],
  everything2: ['preparer', 'reviewer', 'approver'],
  everything3: ['preparer', 'reviewer', 'approver'],
};
export type PersonName = string;

export const emailOf = (name: PersonName) => `${name}@example.org`;

export interface Roster {
  keyFile(name: PersonName): string;
  /** A context in which this person acts and signs. */
  as<C extends Pick<Context, 'actor'>>(ctx: C, name: PersonName): C;
}

/** The changes that bring a person with roles and one key into the register. */
export async function changesFor(
  { db }: Pick<Context, 'db'>,
  name: PersonName,
  { roles, keyFile }: { readonly roles: readonly Role[]; readonly keyFile: string },
): Promise<PersonChange[]> {
  const email = emailOf(name);
  const { publicKey, proof } = await proveKey(await db.withClient(readInstallationId), email, keyFile);
  return [
    { kind: 'person', email, name: `Test ${name}` },
    ...roles.map((role): PersonChange => ({ kind: 'role', email, role })),
    { kind: 'key', email, public_key: publicKey, proof },
  ];
}

/** Keys for everybody in a folder; the register is not founded yet. */
export async function makeRoster(
  ctx: Pick<Context, 'db'>,
  folder: string,
): Promise<Roster & { readonly changes: readonly PersonChange[] }> {
  const keyFile = (name: PersonName) => join(folder, name);
  const changes: PersonChange[] = [];
  for (const [name, roles] of Object.entries(PEOPLE)) {
    await writeSshKeyPair(keyFile(name), name);
    changes.push(...(await changesFor(ctx, name, { roles, keyFile: keyFile(name) })));
  }
  return {
    keyFile,
    changes,
    as: (ctx, name) => ({ ...ctx, actor: { kind: 'person', email: emailOf(name), keyFile: keyFile(name) } }),
  };
}

/** Founds the register with everybody in it. */
export async function foundRegister(ctx: Pick<Context, 'db' | 'clock' | 'actor'>, folder: string): Promise<Roster> {
  const roster = await makeRoster(ctx, folder);
  await initPersons(ctx, {
    changes: roster.changes,
    officerKeyFiles: [roster.keyFile('officer1'), roster.keyFile('officer2')],
  });
  return roster;
}
