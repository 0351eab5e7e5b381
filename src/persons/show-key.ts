/** Shows that whoever acts holds a key of the person they name, where the act itself is not signed. */
import { randomBytes } from 'node:crypto';
import type { Context } from '../context.ts';
import { AuditkeepError } from '../errors.ts';
import { readSshKeyFile } from '../keys/ssh-key.ts';
import { checkSshsig, NAMESPACES, signSshsig } from '../keys/sshsig.ts';
import { readRegister } from './read-register.ts';
import type { Register } from './register.ts';

/**
 * The fingerprint of the key, when it is a valid one of the person and signs now, and the register that says so.
 * @throws PERSON_KEY_INVALID, and those of readSshKeyFile and signSshsig
 */
export async function showKey(
  ctx: Pick<Context, 'db'>,
  email: string,
  keyFile: string,
): Promise<{ readonly fingerprint: string; readonly register: Register }> {
  const key = await readSshKeyFile(keyFile);
  const { fingerprint } = key.publicKey;
  const { register } = await ctx.db.withClient(readRegister);
  const registered = register.keys.get(fingerprint);
  const challenge = randomBytes(32);
  const check = checkSshsig(await signSshsig(key, NAMESPACES.person, challenge), NAMESPACES.person, challenge);
  const shown = check.valid && check.publicKey.fingerprint === fingerprint;
  if (shown && registered?.email === email && registered.until === null) return { fingerprint, register };
  throw new AuditkeepError('PERSON_KEY_INVALID', {
    message: 'the key is not a valid key of the person who acts',
    hint: 'use a key that `auditkeep person list` shows as valid for you',
  });
}
