/** Two persons of the register sign one text: the acts on the chain itself (erasure, a new incarnation). */
import { readDatabaseTime } from '../audit/record/erase-store.ts';
import type { TwoPersonRecord } from '../audit/record/two-person-record.ts';
import type { SqlClient } from '../db/database.ts';
import { AuditkeepError } from '../errors.ts';
import { readSshKeyFile, type SshKeyFile } from '../keys/ssh-key.ts';
import { checkSshsig, type Namespace, signSshsig } from '../keys/sshsig.ts';
import { readRegister } from './read-register.ts';
import { hasRole, isWithin } from './register.ts';
import type { Role } from './roles.ts';

export interface TwoSigners {
  readonly installationId: string;
  /** The database's time, ISO 8601, at which keys and roles counted. */
  readonly time: string;
  readonly keys: readonly [requester: SshKeyFile, approver: SshKeyFile];
}

/**
 * Opens the keys of two different persons of the register, each with one of the roles now.
 * @throws DUTY_SEPARATION, PERSON_KEY_INVALID, ROLE_MISSING, REGISTER_INVALID, and those of readSshKeyFile
 */
export async function openTwoSigners(
  client: SqlClient,
  input: { readonly keyFiles: readonly string[]; readonly roles: readonly Role[] },
): Promise<TwoSigners> {
  const [first, second, ...more] = input.keyFiles;
  if (first === undefined || second === undefined || more.length > 0) throw notTwo();
  const keys = [await readSshKeyFile(first), await readSshKeyFile(second)] as const;
  const time = await readDatabaseTime(client);
  const { installationId, register, findings } = await readRegister(client);
  const open = findings.find((finding) => !finding.acknowledged);
  if (open !== undefined) {
    throw new AuditkeepError('REGISTER_INVALID', {
      message: `the register of persons does not hold: ${open.what}`,
      hint: 'see `auditkeep person list`; find out who changed the database; void acts can be acknowledged',
    });
  }
  const persons = keys.map(({ publicKey }) => {
    const key = register.keys.get(publicKey.fingerprint);
    if (key === undefined || !isWithin(key, time)) {
      throw new AuditkeepError('PERSON_KEY_INVALID', {
        message: `the key ${publicKey.fingerprint} is no valid key of a person of the register`,
        hint: 'sign with keys that `auditkeep person list` shows as valid',
      });
    }
    if (!input.roles.some((role) => hasRole(register, key.email, role, time))) {
      throw new AuditkeepError('ROLE_MISSING', {
        message: `the person of the key ${publicKey.fingerprint} has none of the roles ${input.roles.join(', ')}`,
        hint: 'see who has them with `auditkeep person list`',
      });
    }
    return key.email;
  });
  if (persons[0] === persons[1]) throw notTwo();
  return { installationId, time, keys };
}

/** Both sign. @throws SIGN_FAILED, also when a key or ssh-keygen made something that readers would refuse */
export async function signByTwo(signers: TwoSigners, namespace: Namespace, payload: string): Promise<TwoPersonRecord> {
  const bytes = Buffer.from(payload, 'utf8');
  const signatures: TwoPersonRecord['signatures'] = [];
  for (const key of signers.keys) {
    const signature = await signSshsig(key, namespace, bytes);
    const check = checkSshsig(signature, namespace, bytes);
    if (!check.valid || check.publicKey.fingerprint !== key.publicKey.fingerprint) {
      throw new AuditkeepError('SIGN_FAILED', {
        message: 'the signature that was made does not verify',
        hint: 'check the key with `ssh-keygen -Y sign`',
      });
    }
    signatures.push({ fingerprint: key.publicKey.fingerprint, signature });
  }
  return { payload, signatures };
}

function notTwo(): AuditkeepError {
  return new AuditkeepError('DUTY_SEPARATION', {
    message: 'two different persons have to sign',
    hint: 'give the key files of two persons',
  });
}
