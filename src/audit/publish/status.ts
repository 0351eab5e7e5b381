/** The chain on one screen: size, backlog, signatures. */
import type { Config } from '../../config.ts';
import type { Context } from '../../context.ts';
import type { SqlClient } from '../../db/database.ts';
import { inTransaction } from '../../db/transaction.ts';
import { countCandidates, currentSnapshot, readHead, readSignedAt } from '../links/chain-store.ts';
import { NOTHING_SEEN } from '../links/snapshot.ts';
import { type LastRuns, readLastRuns } from '../signer/last-runs.ts';
import { readLogPublicKey, readSignerState } from '../signer/signer-store.ts';
import { formatVerifierKey } from '../tree/checkpoint.ts';
import { type AnchorSummary, readAnchor, summarizeAnchor } from '../witness/anchor.ts';
import { readLogName } from './log-name.ts';

export interface ChainStatus extends AnchorSummary {
  readonly origin: string;
  readonly size: number;
  readonly chainHash: string;
  readonly incarnation: number;
  /** Committed events that are not linked yet. */
  readonly unsealed: number;
  /** True while a round was cut short. */
  readonly roundOpen: boolean;
  readonly idleSeconds: number;
  /** How long the oldest waiting event may have been waiting at most: since the sealer last came to its end; 0 for none. */
  readonly sealLagSeconds: number;
  /** The size of the last checkpoint in the signer's store; null when this home never signed. */
  readonly signedSize: number | null;
  /** When the database kept the last checkpoint of this log, by its clock; null for none. */
  readonly signedAt: string | null;
  /** Sealed events that the signer has not signed yet. */
  readonly unsigned: number;
  /** Witnesses that have cosigned the last checkpoint of the signer; `witnessQuorum` are needed. */
  readonly cosigned: number;
  /** The last run of each level that this home verified; a level that never ran is absent. */
  readonly lastVerified: LastRuns;
  /** The log's public key as a signed-note vkey; null when this home never signed. */
  readonly verifierKey: string | null;
}

/** Reads the state of the chain; O(unsealed). @throws CHAIN_SIGNER_STORE */
export async function readChainStatus(ctx: Pick<Context, 'db' | 'config'>): Promise<ChainStatus> {
  const { head, origin, unsealed, signedAt } = await inTransaction(
    ctx.db,
    async (client) => {
      const found = await readHead(client);
      const target = await currentSnapshot(client);
      const { cursor: after, sweptUntil } = found;
      const query = { sealed: found.snapshot ?? NOTHING_SEEN, target, after, sweptUntil };
      const log = await readLogName(ctx.config, found);
      const signed = await readSignedAt(client, log.origin);
      return { head: found, origin: log.origin, unsealed: await countCandidates(client, query), signedAt: signed };
    },
    'repeatable read, read only',
  );
  const { key, signedSize, anchor } = await readSigned(ctx.config, origin);
  return {
    origin,
    size: Number(head.size),
    chainHash: head.chainHash.toString('hex'),
    incarnation: head.incarnation,
    unsealed,
    roundOpen: head.cursor !== null,
    idleSeconds: head.idleSeconds,
    sealLagSeconds: unsealed > 0 || head.cursor !== null ? Math.max(0, head.idleSeconds) : 0,
    signedSize: signedSize === null ? null : Number(signedSize),
    signedAt,
    unsigned: Math.max(0, Number(head.size - (signedSize ?? 0n))),
    cosigned: anchor.witnesses.filter(({ cosignedSize }) => cosignedSize === Number(signedSize ?? -1n)).length,
    lastVerified: await readLastRuns(ctx.config.home, origin),
    verifierKey: key === null ? null : formatVerifierKey(key),
    ...anchor,
  };
}

/** How far the chain is anchored, without counting anything. @throws CHAIN_SIGNER_STORE, CONFIG_INVALID */
export async function readAnchorSummary(client: SqlClient, config: Config): Promise<AnchorSummary> {
  const { origin } = await readLogName(config, await readHead(client));
  return (await readSigned(config, origin)).anchor;
}

async function readSigned(config: Config, origin: string) {
  const publicKey = await readLogPublicKey(config.home);
  const key = publicKey === null ? null : { name: origin, publicKey };
  const state = await readSignerState(config.home, origin);
  const signedSize = state.note === null ? null : state.frontier.size;
  const anchor = summarizeAnchor(await readAnchor(config, origin, key), signedSize);
  return { key, signedSize, anchor };
}
