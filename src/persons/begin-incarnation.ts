/**
 * Going on after the database was restored to an earlier state. States:
 *
 *   refused (the signer, or a witness, knows links that the chain does not have, or not any more)
 *     -- an open round of the sealer is finished; two key officers sign; number and record event, one transaction --> moved
 *   moved -- the record is linked, before anything else that waits --> linked
 *   linked -- the signer's state is set aside and the new origin's first checkpoint is signed --> going on
 *
 * A crash in between is harmless: the signer refuses everything until the same command has run again. After one between
 * the first two, `chain seal` links the record in its turn.
 */

import { readAgreedSize } from '../audit/agreed-size.ts';
import { appendLinks, type ChainHead, extendChainLinks, readHead } from '../audit/chain-store.ts';
import type { EventRow } from '../audit/event-source.ts';
import {
  eventByIdSource,
  INCARNATION_EVENT,
  incarnationText,
  moveIncarnation,
  readIncarnations,
} from '../audit/incarnation-record.ts';
import { encodeFrontier } from '../audit/merkle.ts';
import { readPublished } from '../audit/published.ts';
import { recordEvent } from '../audit/record.ts';
import { finishRound } from '../audit/seal.ts';
import { linkRows } from '../audit/seal-batch.ts';
import { signCheckpoint } from '../audit/sign.ts';
import {
  incarnationOf,
  originOf,
  readLogPublicKey,
  readSignerOrigin,
  readSignerState,
  setSignerStateAside,
  writeSignerState,
} from '../audit/signer-store.ts';
import { NOTHING_SEEN, parseSnapshot, type Snapshot } from '../audit/snapshot.ts';
import { readTuples } from '../audit/tuples.ts';
import type { Context } from '../context.ts';
import { withSessionLock } from '../db/advisory-lock.ts';
import type { SqlClient } from '../db/database.ts';
import { transact } from '../db/transaction.ts';
import { AuditkeepError } from '../errors.ts';
import { NAMESPACES } from '../keys/sshsig.ts';
import { openTwoSigners, signByTwo } from './two-signatures.ts';

export interface IncarnationPlan {
  readonly origin: string;
  /** Links that still are the ones that were signed. */
  readonly kept: number;
  /** Links that were signed, by the signer or, by its own account, a witness. */
  readonly abandoned: number;
  /** Links that were sealed after the restore, in the places of lost ones; they stay. */
  readonly resealed: number;
}

type Beginning = Pick<Context, 'db' | 'clock' | 'actor' | 'log' | 'config'>;

/**
 * What beginIncarnation would do; with the keys, after its checks of who signs.
 * @throws CHAIN_NOT_ROLLED_BACK, CHAIN_SIGNER_STORE, and those of openTwoSigners
 */
export async function planIncarnation(
  ctx: Beginning,
  { keyFiles }: { readonly keyFiles?: readonly string[] } = {},
): Promise<IncarnationPlan> {
  const { head, next, kept, abandoned } = await ctx.db.withClient((client) =>
    transact(client, () => readLoss(ctx.config, client), 'repeatable read, read only'),
  );
  if (keyFiles !== undefined) {
    await ctx.db.withClient((client) => openTwoSigners(client, { keyFiles, roles: ['key_officer'] }));
  }
  return {
    origin: originOf(ctx.config.origin, next),
    kept: Number(kept),
    abandoned: Number(abandoned),
    resealed: Number(head.size - kept),
  };
}

/**
 * Begins the next incarnation of a chain that was rolled back. Verification reports what was lost from then on.
 * @param keyFiles keys of two key officers
 * @throws CHAIN_NOT_ROLLED_BACK, CHAIN_SIGNER_STORE, those of openTwoSigners and signByTwo
 */
export async function beginIncarnation(
  ctx: Beginning,
  input: { readonly keyFiles: readonly string[] },
): Promise<{ readonly origin: string; readonly size: number }> {
  const { home } = ctx.config;
  const origin = await ctx.db.withClient((client) =>
    withSessionLock(client, 'signer', 'exclusive', () =>
      withSessionLock(client, 'sealer', 'exclusive', async () => {
        const moved = await readMoved(client, ctx.config);
        return moved ?? moveChain(ctx, client, input.keyFiles);
      }),
    ),
  );
  await ctx.db.withClient(async (client) => {
    const { frontier } = await readHead(client);
    await setSignerStateAside(home);
    await writeSignerState(home, { origin, frontier, note: '' });
  });
  const { size } = await signCheckpoint(ctx);
  ctx.log.warn({ origin, size: String(size) }, 'chain.incarnation');
  return { origin, size: Number(size) };
}

/** The origin that the chain goes on under when a crash came after it was moved and before the signer followed. */
async function readMoved(client: SqlClient, { home, origin: name }: Context['config']): Promise<string | null> {
  const head = await readHead(client);
  const signed = incarnationOf(name, (await readSignerOrigin(home)) ?? '');
  if (signed === null || signed >= head.incarnation) return null;
  const records = await readIncarnations(client, head);
  return records.at(-1) == null ? null : originOf(name, head.incarnation);
}

interface Loss {
  readonly head: ChainHead;
  /** The incarnation that the chain would go on as: above the database's and the signer's. */
  readonly next: number;
  readonly kept: bigint;
  readonly abandoned: bigint;
  readonly note: string;
}

/** What was signed and is no longer there. @throws CHAIN_NOT_ROLLED_BACK, CHAIN_SIGNER_STORE */
async function readLoss(config: Context['config'], client: SqlClient): Promise<Loss> {
  const { home, origin: name } = config;
  const head = await readHead(client);
  const origin = (await readSignerOrigin(home)) ?? originOf(name, head.incarnation);
  const incarnation = incarnationOf(name, origin);
  const publicKey = await readLogPublicKey(home);
  if (incarnation === null || incarnation < head.incarnation || publicKey === null) throw notRolledBack(head.size, 0n);
  const state = await readSignerState(home, origin);
  const published = await readPublished(config, origin);
  const kept = await readAgreedSize(client, head, { home, incarnation, state, key: { name: origin, publicKey } });
  if (incarnation === head.incarnation && kept >= published.size) throw notRolledBack(head.size, published.size);
  return { head, next: incarnation + 1, kept, abandoned: published.size, note: published.note ?? '' };
}

async function moveChain(ctx: Beginning, client: SqlClient, keyFiles: readonly string[]): Promise<string> {
  // Read before anything changes: a chain that was not rolled back is left alone.
  await readLoss(ctx.config, client);
  const signers = await openTwoSigners(client, { keyFiles, roles: ['key_officer'] });
  await finishRound(ctx.db, client);
  const { head, next, kept, abandoned, note } = await readLoss(ctx.config, client);
  const payload = incarnationText({
    installation_id: signers.installationId,
    incarnation: next,
    abandoned_note: note,
    abandoned_size: String(abandoned),
    kept_size: String(kept),
    time: signers.time,
  });
  const record = await signByTwo(signers, NAMESPACES.incarnation, payload);
  await extendChainLinks(client);
  const id = await transact(client, async () => {
    for (let from = head.incarnation; from < next; from += 1) await moveIncarnation(client, from);
    return recordEvent(ctx, client, {
      type: INCARNATION_EVENT,
      category: 'security',
      action: 'BEGIN',
      resourceType: 'audit_chain',
      details: { ...record },
    });
  });
  await transact(client, () => linkFirst(client, head, id), 'repeatable read');
  return originOf(ctx.config.origin, next);
}

/** Links the record before anything else that waits: only committed events are linked, so this is a step of its own. */
async function linkFirst(client: SqlClient, head: ChainHead, id: string): Promise<void> {
  const rows: EventRow[] = [];
  for await (const slab of readTuples(client, eventByIdSource(id))) rows.push(...slab);
  const [row] = rows;
  if (row === undefined) throw new Error('the record of the incarnation was not stored');
  const { links, end } = linkRows(head, rows);
  const snapshot = seeing(head.snapshot ?? NOTHING_SEEN, row.txid);
  await appendLinks(client, { from: head, links, frontier: encodeFrontier(end.frontier), snapshot, cursor: null });
}

/** The snapshot as it is, but seeing one more transaction: its event is linked already. */
function seeing({ text, xmax, running }: Snapshot, txid: bigint): Snapshot {
  if (txid < xmax) return parseSnapshot(text);
  const between = Array.from({ length: Number(txid - xmax) }, (_, at) => xmax + BigInt(at));
  const open = [...running, ...between];
  return parseSnapshot(`${open[0] ?? txid + 1n}:${txid + 1n}:${open.join(',')}`);
}

function notRolledBack(size: bigint, signed: bigint): AuditkeepError {
  return new AuditkeepError('CHAIN_NOT_ROLLED_BACK', {
    message: `the chain has ${size} links and holds everything that was signed (${signed}): it was not rolled back`,
    hint: 'a new incarnation only goes on after a restore, with the home of the worker that signs',
  });
}
