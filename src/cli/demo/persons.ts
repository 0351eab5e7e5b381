/** Three persons for the demo, with SSH keys made at run time and kept beside the other keys. */
import { access, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Context } from '../../context.ts';
import { inTransaction } from '../../db/transaction.ts';
import { writeSshKeyPair } from '../../keys/ssh-key.ts';
import type { PersonChange } from '../../persons/act.ts';
import { initPersons, proveKey } from '../../persons/change.ts';
import { readRegister } from '../../persons/read-register.ts';
import type { Role } from '../../persons/roles.ts';

export interface DemoPerson {
  readonly email: string;
  readonly keyFile: string;
}

export interface DemoPersons {
  readonly preparer: DemoPerson;
  readonly reviewer: DemoPerson;
  readonly approver: DemoPerson;
}

const ROLES_OF: Readonly<Record<keyof DemoPersons, readonly Role[]>> = {
  preparer: ['preparer', 'records_manager'],
  reviewer: ['reviewer', 'key_officer'],
  approver: ['approver', 'key_officer'],
};

/**
 * The demo's persons; founds the register on the first run. Null when the database has a register of its own, whose
 * keys the demo does not have.
 * @throws those of writeSshKeyPair and initPersons
 */
export async function demoPersons(
  ctx: Pick<Context, 'db' | 'clock' | 'actor' | 'config'>,
): Promise<DemoPersons | null> {
  const folder = join(ctx.config.home, 'demo-persons');
  const person = (part: keyof DemoPersons): DemoPerson => ({
    email: `${part}@demo.example`,
    keyFile: join(folder, part),
  });
  const persons = { preparer: person('preparer'), reviewer: person('reviewer'), approver: person('approver') };
  const { register, installationId } = await inTransaction(ctx.db, readRegister, 'repeatable read, read only');
  if (register.persons.size > 0) {
    return register.persons.has(persons.preparer.email) && (await exists(persons.preparer.keyFile)) ? persons : null;
  }
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const parts = ['preparer', 'reviewer', 'approver'] as const;
  const changes = await Promise.all(parts.map((part) => changesFor(installationId, part, persons[part])));
  await initPersons(ctx, {
    changes: changes.flat(),
    officerKeyFiles: [persons.reviewer.keyFile, persons.approver.keyFile],
  });
  return persons;
}

async function changesFor(
  installationId: string,
  part: keyof DemoPersons,
  { email, keyFile }: DemoPerson,
): Promise<PersonChange[]> {
  if (!(await exists(keyFile))) await writeSshKeyPair(keyFile, email);
  const { publicKey, proof } = await proveKey(installationId, email, keyFile);
  return [
    { kind: 'person', email, name: `Demo ${part}` },
    ...ROLES_OF[part].map((role): PersonChange => ({ kind: 'role', email, role })),
    { kind: 'key', email, public_key: publicKey, proof },
  ];
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
