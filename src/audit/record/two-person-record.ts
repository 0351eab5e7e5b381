/**
 * A text that two persons signed, kept in the details of an audit event, so that the event's leaf commits to text and
 * signatures alike. Pure.
 */
import { z } from 'zod';
import { checkSshsig, type Namespace } from '../../keys/sshsig.ts';

export const twoPersonRecordSchema = z.object({
  /** RFC 8785 JSON. */
  payload: z.string().max(16_384),
  signatures: z.array(z.object({ fingerprint: z.string(), signature: z.string().max(16_384) })).length(2),
});
export type TwoPersonRecord = z.infer<typeof twoPersonRecordSchema>;

/**
 * Whether two different persons signed the payload under this namespace.
 * @param personOf the person that a key belongs to, or null
 */
export function isSignedByTwo(
  record: TwoPersonRecord,
  namespace: Namespace,
  personOf: (fingerprint: string) => string | null,
): boolean {
  const persons = record.signatures.map(({ fingerprint, signature }) => {
    const check = checkSshsig(signature, namespace, Buffer.from(record.payload, 'utf8'));
    return check.valid && check.publicKey.fingerprint === fingerprint ? personOf(fingerprint) : null;
  });
  return !persons.includes(null) && new Set(persons).size === 2;
}
