/** Pseudonyms of a report: the same id has the same pseudonym within one report and another one in every other report. */
import { createHmac, createSecretKey } from 'node:crypto';

/**
 * A keyed pseudonym, `P-` and 16 base32 characters (80 bits, so a clash among a million ids has a chance of 4e-13).
 * @param key the report-pseudonym secret, 32 bytes
 */
export function makePseudonymizer(key: Uint8Array, reportId: string): (value: string) => string {
  const secret = createSecretKey(key); // a key given as bytes takes three times as long, and there may be a million values
  return (value) => {
    const digest = createHmac('sha256', secret).update(`auditkeep-report-pseudonym/v1\n${reportId}\n${value}`).digest();
    return `P-${base32(digest.subarray(0, 10))}`;
  };
}

/** Crockford's alphabet without the look-alikes I, L, O and U. */
const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

/** Five bits a character, from the first bit on; the number of bits is a multiple of five. */
function base32(bytes: Uint8Array): string {
  let text = '';
  let bits = 0;
  let held = 0;
  for (const byte of bytes) {
    bits = (bits << 8) | byte;
    held += 8;
    for (; held >= 5; held -= 5) text += ALPHABET[(bits >> (held - 5)) & 31];
    bits &= 31;
  }
  return text;
}
