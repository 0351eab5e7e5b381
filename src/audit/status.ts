/** The chain on one screen: size, backlog, signatures. */
import type { Context } from '../context.ts';
import { inTransaction } from '../db/transaction.ts';
import { countCandidates, currentSnapshot, readHead } from './chain-store.ts';
import { formatVerifierKey } from './checkpoint.ts';
import { originOf } from './sign.ts';
import { readLogPublicKey, readSignerState } from './signer-store.ts';
import { NOTHING_SEEN } from './snapshot.ts';

export interface ChainStatus {
  readonly origin: string;
  readonly size: number;
  readonly chainHash: string;
  readonly incarnation: number;
  /** Committed events that are not linked yet. */
  readonly unsealed: number;
  /** True while a round was cut short. */
  readonly roundOpen: boolean;
  readonly idleSeconds: number;
  /** The size of the last checkpoint in the signer's store; null when this home never signed. */
  readonly signedSize: number | null;
  /** The log's public key as a signed-note vkey; null when this home never signed. */
  readonly verifierKey: string | null;
}

/** Reads the state of the chain; O(unsealed). @throws CHAIN_SIGNER_STORE */
export async function readChainStatus(ctx: Pick<Context, 'db' | 'config'>): Promise<ChainStatus> {
  const { head, unsealed } = await inTransaction(
    ctx.db,
    async (client) => {
      const found = await readHead(client);
      const target = await currentSnapshot(client);
      const query = { sealed: found.snapshot ?? NOTHING_SEEN, target, after: found.cursor };
      return { head: found, unsealed: await countCandidates(client, query) };
    },
    'repeatable read, read only',
  );
  const origin = originOf(ctx.config.origin, head.incarnation);
  const publicKey = await readLogPublicKey(ctx.config.home);
  const state = await readSignerState(ctx.config.home, origin);
  return {
    origin,
    size: Number(head.size),
    chainHash: head.chainHash.toString('hex'),
    incarnation: head.incarnation,
    unsealed,
    roundOpen: head.cursor !== null,
    idleSeconds: head.idleSeconds,
    signedSize: state.note === null ? null : Number(state.frontier.size),
    verifierKey: publicKey === null ? null : formatVerifierKey({ name: origin, publicKey }),
  };
}
