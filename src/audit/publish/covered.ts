/** Up to which leaf somebody outside the database vouches for the chain. */
import type { Config } from '../../config.ts';
import type { SqlClient } from '../../db/database.ts';
import { readHead, readLastCheckpoint } from '../links/chain-store.ts';
import { readLogPublicKey, readSignerState } from '../signer/signer-store.ts';
import { type Anchor, readAnchor } from '../witness/anchor.ts';
import { readLogName } from './log-name.ts';

/**
 * Leaves below this lie in a checkpoint that counts: one with a quorum of cosignatures where witnesses are configured,
 * otherwise the signer's own. A home that never signed can judge no signature and takes what the database keeps; its
 * verifications say `anchored: false`.
 */
export function coveredSize(
  { witnesses, size }: Pick<Anchor, 'witnesses' | 'size'>,
  known: { readonly signer: boolean; readonly own: bigint | null; readonly stored: bigint | null },
): bigint {
  if (!known.signer) return known.stored ?? 0n;
  return (witnesses.length > 0 ? size : known.own) ?? 0n;
}

/** The same, read now. @throws CHAIN_SIGNER_STORE, CONFIG_INVALID */
export async function readCoveredSize(client: SqlClient, config: Config): Promise<bigint> {
  const { home } = config;
  const { origin } = await readLogName(config, await readHead(client));
  const publicKey = await readLogPublicKey(home);
  const anchor = await readAnchor(config, origin, publicKey === null ? null : { name: origin, publicKey });
  const state = await readSignerState(home, origin);
  return coveredSize(anchor, {
    signer: publicKey !== null,
    own: state.note === null ? null : state.frontier.size,
    stored: (await readLastCheckpoint(client))?.size ?? null,
  });
}
