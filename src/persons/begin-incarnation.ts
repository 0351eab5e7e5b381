/**
 * Going on after the database was restored to an earlier state. States:
 *
 *   refused (the signer, or a witness, knows links that the chain does not have, or not any more)
 *     -- an open round of the sealer is finished; two key officers sign; number and record event, one transaction --> moved
 *   moved -- the record is linked, before anything else that waits; where a dump was restored, with the sweep --> linked
 *   linked -- the signer's state is set aside and the new origin's first checkpoint is signed --> going on
 *
 * A crash in between is harmless: the signer refuses everything until the same command has run again, and it goes on from
 * the state that it finds. Where the number was moved by somebody without a signed record, it is set to the one after the
 * last signed one, which the two officers sign here: no number that was written in becomes the log's.
 */

import { readTuples } from '../audit/copy/tuples.ts';
import type { EventRow } from '../audit/event/event-source.ts';
import {
  appendLinks,
  type ChainHead,
  currentSnapshot,
  extendChainLinks,
  readHead,
} from '../audit/links/chain-store.ts';
import { NOTHING_SEEN, parseSnapshot, type Snapshot } from '../audit/links/snapshot.ts';
import { wentBack } from '../audit/links/transaction-order.ts';
import { readAgreedSize } from '../audit/publish/agreed-size.ts';
import { readPublished } from '../audit/publish/published.ts';
import { signCheckpoint } from '../audit/publish/sign.ts';
import {
  eventByIdSource,
  INCARNATION_EVENT,
  incarnationText,
  isSignedIncarnation,
  readSignedNumber,
  readUnlinkedRecord,
  setIncarnation,
} from '../audit/record/incarnation-record.ts';
import { recordEvent } from '../audit/record/record.ts';
import { finishRound } from '../audit/seal/seal.ts';
import { linkRows } from '../audit/seal/seal-batch.ts';
import { sweepUnlinked } from '../audit/seal/sweep.ts';
import {
  incarnationOf,
  originOf,
  readLogPublicKey,
  readSignerOrigin,
  readSignerState,
  setSignerStateAside,
  writeSignerState,
} from '../audit/signer/signer-store.ts';
import { encodeFrontier } from '../audit/tree/merkle.ts';
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
        const begun = (await isMoved(client, ctx.config)) ? null : await moveChain(ctx, client, input.keyFiles);
        await linkRecord(ctx, client);
        return begun ?? originOf(ctx.config.origin, (await readHead(client)).incarnation);
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

/** Whether a crash came after the chain was moved, with its record stored, and before the signer followed. */
async function isMoved(client: SqlClient, config: Context['config']): Promise<boolean> {
  const head = await readHead(client);
  if (!(await isAheadOfSigner(config, head))) return false;
  return isSignedIncarnation(client, head);
}

/** Whether the chain's number lies beyond that of the signer. @throws CHAIN_SIGNER_STORE */
async function isAheadOfSigner({ home, origin: name }: Context['config'], head: ChainHead): Promise<boolean> {
  const signed = incarnationOf(name, (await readSignerOrigin(home)) ?? '');
  return signed !== null && signed < head.incarnation;
}

interface Loss {
  readonly head: ChainHead;
  /** The incarnation that the chain would go on as: the one after the last that was signed, whatever the database says. */
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
  if (incarnation === null || publicKey === null) throw notRolledBack(head.size, 0n);
  const state = await readSignerState(home, origin);
  const published = await readPublished(config, origin);
  const kept = await readAgreedSize(client, head, { home, incarnation, state, key: { name: origin, publicKey } });
  if (incarnation === head.incarnation && kept >= published.size) throw notRolledBack(head.size, published.size);
  // After a crash the same number goes on.
  const moved = incarnation < head.incarnation && (await isSignedIncarnation(client, head));
  return {
    head,
    next: moved ? head.incarnation : Math.max(incarnation, await readSignedNumber(client)) + 1,
    kept,
    abandoned: published.size,
    note: published.note ?? '',
  };
}

async function moveChain(ctx: Beginning, client: SqlClient, keyFiles: readonly string[]): Promise<string> {
  // Read before anything changes: a chain that was not rolled back is left alone.
  await readLoss(ctx.config, client);
  const signers = await openTwoSigners(client, { keyFiles, roles: ['key_officer'] });
  // Where ids have gone back the sweep ends the round.
  if (!(await hasGoneBack(client))) await finishRound(ctx.db, client);
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
  await transact(client, async () => {
    if (head.incarnation !== next) await setIncarnation(client, head.incarnation, next);
    await recordEvent(ctx, client, {
      type: INCARNATION_EVENT,
      category: 'security',
      action: 'BEGIN',
      resourceType: 'audit_chain',
      details: { ...record },
    });
  });
  return originOf(ctx.config.origin, next);
}

async function hasGoneBack(client: SqlClient): Promise<boolean> {
  return wentBack(await readHead(client), await currentSnapshot(client));
}

/**
 * Links the record; nothing where it is linked. A step of its own, since only committed events are linked. Where ids have
 * gone back no snapshot of the head can be kept, so that everything that waits is swept with it, in one order.
 */
async function linkRecord(ctx: Beginning, client: SqlClient): Promise<void> {
  if (await hasGoneBack(client)) {
    await sweepUnlinked(ctx, client);
    return;
  }
  // A sealer may have been at work since the chain was moved.
  await finishRound(ctx.db, client);
  await transact(client, () => linkFirst(client), 'repeatable read');
}

/** Links the record before anything else that waits. */
async function linkFirst(client: SqlClient): Promise<void> {
  const head = await readHead(client);
  const id = await readUnlinkedRecord(client, head);
  if (id === null) return;
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
