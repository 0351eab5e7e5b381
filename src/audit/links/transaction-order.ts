/** Transaction ids order the rounds of the sealer; a logical dump and restore begins them anew. Pure. */
import { AuditkeepError } from '../../errors.ts';
import type { ChainHead } from './chain-store.ts';
import type { Snapshot } from './snapshot.ts';

/**
 * Whether the server has forgotten transactions that the chain has sealed. Only the ends are compared: a restored dump whose
 * server has since run past the old end is not recognised here, and what waited meanwhile is named by verification
 * (`inserted`, `unsealed`). The system identifier would say more, but changes with every physical upgrade as well.
 */
export function wentBack(head: Pick<ChainHead, 'snapshot' | 'cursor'>, now: Snapshot): boolean {
  const known = head.cursor?.target ?? head.snapshot;
  return known !== null && now.xmax < known.xmax;
}

/** @throws CHAIN_TXID_WENT_BACK: what is committed from now on would never be a candidate, in silence */
export function requireTransactionOrder(head: Pick<ChainHead, 'snapshot' | 'cursor'>, now: Snapshot): void {
  if (!wentBack(head, now)) return;
  throw new AuditkeepError('CHAIN_TXID_WENT_BACK', {
    message: `the server is at transaction ${now.xmax}, but the chain has sealed up to ${(head.cursor?.target ?? head.snapshot)?.xmax}`,
    hint: 'a dump was restored: look at auditkeep chain seal --sweep --dry-run, then run it without --dry-run',
    details: { current: String(now.xmax) },
  });
}
