/** Reads the register from the database and names what in it was not signed. */
import type { SqlClient } from '../db/database.ts';
import { type Register, type RegisterFinding, replayActs, type StoredAct } from './register.ts';
import { readActs, readInstallationId, readRegisterLines } from './store.ts';

export interface CheckedRegister {
  readonly installationId: string;
  readonly register: Register;
  /** The hash of the last act that holds. */
  readonly head: string | null;
  /** Empty when every row stems from an act that its officers signed. */
  readonly findings: readonly RegisterFinding[];
  /** The acts that hold. */
  readonly acts: readonly StoredAct[];
}

/** The register as signed, with findings for acts that do not verify and rows that no act accounts for. */
export async function readRegister(client: SqlClient): Promise<CheckedRegister> {
  const installationId = await readInstallationId(client);
  const stored = await readActs(client);
  const { register, findings, head, voided } = replayActs(installationId, stored);
  const expected = new Set(linesOf(register));
  const present = new Set(await readRegisterLines(client, voided));
  return {
    installationId,
    register,
    head,
    acts: stored.filter((act) => !voided.includes(act.sequence)),
    findings: [
      ...findings,
      ...[...present].filter((line) => !expected.has(line)).map((line) => finding('row-unsigned', line)),
      ...[...expected].filter((line) => !present.has(line)).map((line) => finding('row-missing', line)),
    ],
  };
}

function linesOf(register: Register): string[] {
  return [
    ...[...register.persons].map(([email, name]) => `person|${email}|${name}`),
    ...register.roles.map(({ email, role, from, until }) => `role|${email}|${role}|${from}|${until ?? '-'}`),
    ...[...register.keys.values()].map(
      ({ email, fingerprint, publicKey, from, until }) =>
        `key|${email}|${fingerprint}|${publicKey}|${from}|${until ?? '-'}`,
    ),
  ];
}

function finding(kind: RegisterFinding['kind'], line: string): RegisterFinding {
  const [table, , detail = ''] = line.split('|');
  // A person's detail is the name, which does not belong into findings.
  return { kind, what: table === 'person' ? 'a person' : `${table} ${detail}`, acknowledged: false };
}
