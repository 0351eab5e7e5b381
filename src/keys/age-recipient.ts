/** What encrypts for the holder of an age key. */
import { Encrypter } from 'age-encryption';
import { AuditkeepError } from '../errors.ts';

/** An encrypter for one X25519 recipient, `age1...`. @throws INPUT_INVALID for anything else */
export function encrypterFor(ageRecipient: string): Encrypter {
  const encrypter = new Encrypter();
  try {
    if (!/^age1[0-9a-z]{58}$/.test(ageRecipient)) throw new Error('not an X25519 recipient');
    encrypter.addRecipient(ageRecipient);
  } catch (cause) {
    throw new AuditkeepError('INPUT_INVALID', {
      message: 'the recipient is not an age X25519 key',
      hint: 'the recipient makes one with `age-keygen` and sends the line that begins with age1',
      cause,
    });
  }
  return encrypter;
}
