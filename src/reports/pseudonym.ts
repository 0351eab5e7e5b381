/** Pseudonyms of a report: the same id has the same pseudonym within one report and another one in every other report. */
import { createHmac } from 'node:crypto';

/**
 * A keyed pseudonym, `P-` and 16 base32 characters (80 bits, so a clash among a million ids has a chance of 4e-13).
 * @param key the report-pseudonym secret, 32 bytes
 */
export function makePseudonymizer(key: Uint8Array, reportId: string): (value: string) => string {
  return (value) => {
    const digest = createHmac('sha256', key).update(`auditkeep-report-pseudonym/v1\n${reportId}\n${value}`).digest();
    return `P-${base32(digest.subarray(0, 10))}`;
  };
}

/** Crockford's alphabet without the look-alikes I, L, O and U. */
const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

function base32(bytes: Uint8Array): string {
  let bits = BigInt(`0x${Buffer.from(bytes).toString('hex')}`);
  let text = '';
  for (let i = 0; i < (bytes.length * 8) / 5; i += 1) {
    text = `${ALPHABET[Number(bits & 31n)]}${text}`;
    bits >>= 5n;
  }
  return text;
}
