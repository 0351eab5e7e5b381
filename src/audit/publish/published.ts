/**
 * How large the log is known to have been, outside the database: by the signer's own store and by witnesses that claim a
 * larger tree. A chain that is shorter was restored, or failed over, to an earlier state.
 */
import type { Config } from '../../config.ts';
import type { SqlClient } from '../../db/database.ts';
import { AuditkeepError } from '../../errors.ts';
import type { ChainHead } from '../links/chain-store.ts';
import { isSignedIncarnation } from '../record/incarnation-record.ts';
import { incarnationOf, originOf, readSignerOrigin, readSignerState } from '../signer/signer-store.ts';
import { readWitnessMemory } from '../witness/signer-memory.ts';

/** The largest size that is known to have been signed. */
export interface Published {
  readonly size: bigint;
  /** The signer's last checkpoint; null when it never signed. It may be smaller than a witness's claim. */
  readonly note: string | null;
  /** Who says so, for people. */
  readonly by: string;
}

type Home = Pick<Config, 'home' | 'origin' | 'witnesses'>;

/**
 * What the signer's store says about one incarnation of the log. Only witnesses that are configured count: a claim is
 * not signed, and taking the witness out of the configuration is how people overrule it.
 * @throws CHAIN_SIGNER_STORE
 */
export async function readPublished({ home, witnesses }: Home, origin: string): Promise<Published> {
  const state = await readSignerState(home, origin);
  const memory = await readWitnessMemory(home, origin);
  let published: Published = { size: state.frontier.size, note: state.note, by: 'the signer' };
  for (const { vkey, url } of witnesses) {
    const { claimedSize = null, outcome } = memory.get(vkey) ?? {};
    if (outcome !== 'rolled-back' || claimedSize === null || claimedSize <= published.size) continue;
    published = { ...published, size: claimedSize, by: `the witness at ${url}` };
  }
  return published;
}

/**
 * Refuses to go on with a chain that is behind what was published: whatever is linked now would take the places of
 * events that were signed. A home that never signed knows nothing and refuses nothing.
 * @throws CHAIN_ROLLED_BACK, CHAIN_SIGNER_STORE
 */
export async function requireNotRolledBack(client: SqlClient, config: Home, head: HeadPlace): Promise<void> {
  const origin = await readSignerOrigin(config.home);
  if (origin === null) return;
  requireIncarnation(config.origin, origin, head);
  // The signer follows a chain that two officers moved on; until then it signs nothing, and their record may be linked.
  // A number that nobody signed changes nothing about what was signed.
  const moved = origin !== originOf(config.origin, head.incarnation);
  if (moved && (await isSignedIncarnation(client, head))) return;
  const { size, by } = await readPublished(config, origin);
  if (head.size >= size) return;
  throw rolledBack(`the chain has ${head.size} links, but ${size} were signed, says ${by}`, {
    size: String(head.size),
    signed: String(size),
  });
}

type HeadPlace = Pick<ChainHead, 'size' | 'incarnation'>;

/**
 * Refuses a chain of an earlier incarnation than the one that the signer signs for.
 * @throws CHAIN_ROLLED_BACK
 */
export function requireIncarnation(name: string, signerOrigin: string, { incarnation }: HeadPlace): void {
  const signed = incarnationOf(name, signerOrigin);
  if (signed === null || signed <= incarnation) return;
  throw rolledBack(`the chain is in incarnation ${incarnation}, but ${signed} was signed`);
}

function rolledBack(message: string, details: Readonly<Record<string, string>> = {}): AuditkeepError {
  return new AuditkeepError('CHAIN_ROLLED_BACK', {
    message,
    hint: 'the database was restored or failed over to an earlier state: recover it, or see auditkeep chain incarnation',
    details,
  });
}
