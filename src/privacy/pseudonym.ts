/** Keyed pseudonyms of addresses: `p1.<key id>.<43 base64url>`, 63 characters. */
import { createHmac, createSecretKey } from 'node:crypto';
import { frame } from '../keys/frame.ts';
import type { NamedSecret } from '../keys/keyring.ts';

const LABEL = 'auditkeep/pseudonym/v1';
const PSEUDONYM = /^p1\.[0-9a-f]{16}\.[A-Za-z0-9_-]{43}$/;

/**
 * The pseudonym of an address under the `pseudonym` secret: HMAC-SHA256 of its canonical form, so that checksum case
 * gives no second pseudonym. Without the secret it cannot be computed; an unkeyed hash is reversed by enumerating the
 * chain's addresses. Who holds the secret can still link it: it pseudonymizes, it does not anonymize.
 * @throws RangeError when the address is a pseudonym already
 */
export function pseudonymOf(secret: NamedSecret, address: string): string {
  if (isPseudonym(address)) throw new RangeError('a pseudonym of a pseudonym');
  const mac = createHmac('sha256', createSecretKey(secret.key))
    .update(frame(LABEL, canonicalAddress(address)))
    .digest('base64url');
  return `p1.${secret.keyId}.${mac}`;
}

/** Whether a text has the form of a pseudonym. */
export function isPseudonym(text: string): boolean {
  return PSEUDONYM.test(text);
}

/**
 * One spelling of an address: hex in lower case with 0x; bech32 (BIP 173) in lower case, which may also be written in
 * upper case throughout. Others as they are, since their case carries meaning.
 */
function canonicalAddress(address: string): string {
  if (/^[0-9a-f]{40}$/i.test(address)) return `0x${address.toLowerCase()}`;
  const caseless = /^0x[0-9a-f]+$/i.test(address) || /^[A-Z]{1,16}1[02-9AC-HJ-NP-Z]{6,}$/.test(address);
  return caseless ? address.toLowerCase() : address;
}
