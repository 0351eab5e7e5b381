/** The id that an imported blockchain transaction gets: the same at every import, and unlinkable without the secret. */
import { createHmac, createSecretKey } from 'node:crypto';
import { frame } from '../keys/frame.ts';
import type { NamedSecret } from '../keys/keyring.ts';

const LABEL = 'auditkeep/transaction-id/v1';

/**
 * A UUIDv8 (RFC 9562 section 5.8) from HMAC-SHA256 under the `import-id` secret of network and transaction hash. An
 * unkeyed hash would let anybody with the public chain find the row again.
 * @param network the network's id, as a UUID in lower case
 * @param hash the transaction's hash as the chain writes it; hex letters in either case give the same id
 */
export function transactionId(secret: NamedSecret, network: string, hash: string): string {
  const bytes = createHmac('sha256', createSecretKey(secret.key))
    .update(frame(LABEL, network.toLowerCase(), hash.toLowerCase()))
    .digest()
    .subarray(0, 16);
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x80;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
