/** What every level of verification begins with: the head of the chain and everything that was signed about it. */
import type { Context } from '../context.ts';
import type { SqlClient } from '../db/database.ts';
import { AuditkeepError } from '../errors.ts';
import { type ChainHead, currentSnapshot, readCheckpoints, readHead } from './chain-store.ts';
import { type OpenedHeads, openHeads } from './checkpoint-check.ts';
import { readCheckpointFiles } from './checkpoint-files.ts';
import { originOf } from './sign.ts';
import { hasSignerTraces, readLogPublicKey, readSignerState } from './signer-store.ts';
import { requireTransactionOrder } from './transaction-order.ts';
import { type Anchor, readAnchor } from './witness/anchor.ts';

/** How far the server's clock may be set back without a finding. */
const CLOCK_STEP_SECONDS = 60;

/** What verification needs of the context. */
export type Verifying = Pick<Context, 'db' | 'clock' | 'actor' | 'config' | 'log' | 'progress'>;

export interface VerifyRun {
  readonly head: ChainHead;
  readonly origin: string;
  readonly opened: OpenedHeads;
  readonly witnessed: Anchor;
  /** The home bears traces of a signer: something was signed, so something must be there. */
  readonly signed: boolean;
  /** The sealer has not come to its end for longer than it may. */
  readonly overdue: boolean;
}

/** Reads head and signed heads in the client's transaction. @throws CHAIN_SIGNER_STORE, CHAIN_TXID_WENT_BACK */
export async function openRun(ctx: Verifying, client: SqlClient, unsealedAfterSeconds: number): Promise<VerifyRun> {
  const head = await readHead(client);
  requireTransactionOrder(head, await currentSnapshot(client));
  const origin = originOf(ctx.config.origin, head.incarnation);
  const publicKey = await readLogPublicKey(ctx.config.home);
  const key = publicKey === null ? null : { name: origin, publicKey };
  const witnessed = await readAnchor(ctx.config, origin, key);
  const kept = await readCheckpoints(client);
  const opened = openHeads({
    key,
    cosigned: witnessed.heads,
    ownNote: (await readSignerState(ctx.config.home, origin)).note,
    stored: [...kept, ...(await readCheckpointFiles(ctx.config.home, { origin, incarnation: head.incarnation }, kept))],
  });
  const signed = await hasSignerTraces(ctx.config.home);
  // A sealer that will come to its end in the future is one whose time somebody set.
  const overdue = head.idleSeconds > unsealedAfterSeconds || head.idleSeconds < -CLOCK_STEP_SECONDS;
  return { head, origin, opened, witnessed, signed, overdue };
}

/** Nothing to verify where there should be something. */
export function nothingChecked(message: string, hint: string): AuditkeepError {
  return new AuditkeepError('CHAIN_NOTHING_CHECKED', { message, hint });
}
