/**
 * The signer trusts nobody, least of all the database: before it signs it extends the tree that it signed last, kept in
 * its own store, by the new leaves and requires the outcome to be the head that it is shown. A database restored to
 * yesterday, or one whose links were rewritten, gets no signature.
 */
import { createPublicKey } from 'node:crypto';
import type { Context } from '../../context.ts';
import { withFreeLock } from '../../db/advisory-lock.ts';
import type { SqlClient } from '../../db/database.ts';
import { sqlStateOf } from '../../db/errors.ts';
import { inTransaction, transact } from '../../db/transaction.ts';
import { AuditkeepError } from '../../errors.ts';
import { readTuples } from '../copy/tuples.ts';
import {
  type ChainHead,
  currentSnapshot,
  publishCheckpoint,
  readHead,
  readLastCheckpoint,
} from '../links/chain-store.ts';
import { leafSource } from '../links/link-source.ts';
import { storeTiles } from '../links/tile-store.ts';
import { directorySink } from '../signer/checkpoint-sink.ts';
import { appendMirror, type OpenMirror } from '../signer/leaf-mirror.ts';
import { rememberSeen } from '../signer/seen-snapshots.ts';
import {
  openLogKey,
  originOf,
  readLogPublicKey,
  readSignerOrigin,
  readSignerState,
  type SignerState,
  writeSignerState,
} from '../signer/signer-store.ts';
import { signTreeHead } from '../tree/checkpoint.ts';
import { appendLeaves, EMPTY_FRONTIER, type Frontier, rootOf } from '../tree/merkle.ts';
import { askWitnesses } from '../witness/ask.ts';
import { requireIncarnation } from './published.ts';

export interface SignResult {
  /** The signed note; null when the chain is empty or another signer is at work. */
  readonly note: string | null;
  readonly size: bigint;
  /** False when the head was signed before. */
  readonly fresh: boolean;
}

/**
 * Signs the head of the chain, keeps it in the signer's store (durable first), then in audit.checkpoint and the
 * directory of checkpoints, then asks the witnesses. Signing an already signed head publishes the same note again and
 * asks the witnesses that are missing.
 * @throws CHAIN_ROLLED_BACK, CHAIN_REWRITTEN, CHAIN_SIGNER_STORE: nothing is signed, or a witness knows another tree
 */
export function signCheckpoint(ctx: Pick<Context, 'db' | 'log' | 'config' | 'clock'>): Promise<SignResult> {
  return ctx.db.withClient(async (client) => {
    const result = await withFreeLock(client, 'signer', 'exclusive', () => signHead(ctx, client));
    if (result === null) return { note: null, size: (await readHead(client)).size, fresh: false };
    if (result.fresh) ctx.log.info({ size: String(result.size) }, 'chain.checkpoint');
    return result;
  });
}

/**
 * What signCheckpoint would sign now, proved in the same way. Changes nothing.
 * @throws CHAIN_ROLLED_BACK, CHAIN_REWRITTEN, CHAIN_SIGNER_STORE
 */
export function planCheckpoint(ctx: Pick<Context, 'db' | 'config'>): Promise<Omit<SignResult, 'note'>> {
  return inTransaction(
    ctx.db,
    async (client) => {
      const tip = await readTip(client, ctx.config);
      await growTree(client, tip);
      return { size: tip.head.size, fresh: isFresh(tip) };
    },
    'repeatable read, read only',
  );
}

/** Whether the head goes beyond what was signed. */
function isFresh({ head, state }: Tip): boolean {
  return head.size > 0n && (state.note === null || head.size > state.frontier.size);
}

async function signHead(ctx: Pick<Context, 'db' | 'log' | 'config' | 'clock'>, client: SqlClient): Promise<SignResult> {
  const { home } = ctx.config;
  const { tip, grown } = await transact(client, () => mirrorTree(client, ctx.config), 'repeatable read, read only');
  const { head, state } = tip;
  if (head.size === 0n) return { note: null, size: 0n, fresh: false };
  const root = rootOf(grown);
  const fresh = isFresh(tip);
  const { origin } = state;
  const { incarnation } = head;
  const note = fresh ? signTreeHead({ origin, size: head.size, root }, await openLogKey(home)) : (state.note ?? '');
  if (fresh) await writeSignerState(home, { origin, frontier: grown, note });
  const seen = { at: ctx.clock.now(), snapshot: await currentSnapshot(client) };
  await rememberSeen(home, origin, seen);
  await directorySink(home).put({ size: head.size, note, incarnation });
  await transact(client, () => publishCheckpoint(client, { origin, size: head.size, root, note })).catch(
    otherPublished,
  );
  await transact(client, () => storeTiles(client));
  if (ctx.config.witnesses.length > 0) {
    const logKey = { name: origin, publicKey: createPublicKey(await openLogKey(home)) };
    await askWitnesses(ctx, { note, frontier: grown, logKey, incarnation });
  }
  return { note, size: head.size, fresh };
}

/** What the database shows and what the signer knows. */
interface Tip {
  readonly head: ChainHead;
  readonly state: SignerState;
}

/** @throws CHAIN_ROLLED_BACK, CHAIN_SIGNER_STORE */
async function readTip(client: SqlClient, config: Pick<Context['config'], 'home' | 'origin'>): Promise<Tip> {
  const { home, origin: name } = config;
  const head = await readHead(client);
  const origin = originOf(name, head.incarnation);
  requireIncarnation(name, (await readSignerOrigin(home)) ?? origin, head);
  const state = await readSignerState(home, origin);
  if (state.note === null && (await readLastCheckpoint(client))?.origin === origin) {
    throw new AuditkeepError('CHAIN_SIGNER_STORE', {
      message: 'the database has signed checkpoints, but the signer of this home has signed none',
      hint: 'use the home of the worker that signs (AUDITKEEP_HOME), or restore its signer folder',
    });
  }
  if (head.size < state.frontier.size) throw rolledBack(head.size, state.frontier.size);
  const tip = { head, state };
  // A key that cannot sign is told before the mirror is written to.
  if (isFresh(tip)) await readLogPublicKey(home);
  return tip;
}

/** The tree that was signed last, extended by the leaves that the database shows beyond it. @throws CHAIN_REWRITTEN */
async function growTree(client: SqlClient, { head, state }: Tip, mirror?: OpenMirror): Promise<Frontier> {
  let grown = state.frontier;
  for await (const leaves of readTuples(client, leafSource(grown.size, head.size))) {
    await mirror?.append(leaves);
    grown = appendLeaves(grown, leaves);
  }
  if (grown.size !== head.size || !rootOf(grown).equals(rootOf(head.frontier))) throw rewritten(head.size, state);
  return grown;
}

/** Grows the tree and has every leaf of it in the mirror, on disk, when it resolves. */
async function mirrorTree(
  client: SqlClient,
  config: Pick<Context['config'], 'home' | 'origin'>,
): Promise<{ tip: Tip; grown: Frontier }> {
  const tip = await readTip(client, config);
  if (tip.head.size === 0n) return { tip, grown: tip.state.frontier };
  const { frontier } = tip.state;
  const place = { home: config.home, incarnation: tip.head.incarnation };
  const grown = await appendMirror(place, frontier.size, async (mirror) => {
    if (mirror.size < frontier.size) await fillMirror(client, tip, mirror);
    return growTree(client, tip, mirror);
  });
  return { tip, grown };
}

/** A home that signed before it had a mirror, or lost it: all leaves again, which must give what was signed. */
async function fillMirror(client: SqlClient, { state, head }: Tip, mirror: OpenMirror): Promise<void> {
  await mirror.reset();
  let past = EMPTY_FRONTIER;
  for await (const leaves of readTuples(client, leafSource(0n, state.frontier.size))) {
    await mirror.append(leaves);
    past = appendLeaves(past, leaves);
  }
  if (past.size === state.frontier.size && rootOf(past).equals(rootOf(state.frontier))) return;
  await mirror.reset();
  throw rewritten(head.size, state);
}

/** SQLSTATE AK022; the store has advanced already, so that the next, larger head can be signed all the same. */
function otherPublished(error: unknown): never {
  if (sqlStateOf(error) !== 'AK022') throw error;
  throw new AuditkeepError('CHAIN_REWRITTEN', {
    message: 'audit.checkpoint has, or the chain by now is, something else than what was signed',
    hint: 'run auditkeep chain verify: somebody wrote to audit.checkpoint or changed the chain itself',
    cause: error,
  });
}

function rolledBack(size: bigint, signed: bigint): AuditkeepError {
  return new AuditkeepError('CHAIN_ROLLED_BACK', {
    message: `the chain has ${size} links, but ${signed} were signed`,
    hint: 'the database was restored or failed over to an earlier state: recover it, or begin a new incarnation',
    details: { size: String(size), signed: String(signed) },
  });
}

function rewritten(size: bigint, state: SignerState): AuditkeepError {
  return new AuditkeepError('CHAIN_REWRITTEN', {
    message: `the head of ${size} links does not grow out of the ${state.frontier.size} that were signed`,
    hint: 'run auditkeep chain verify: somebody changed the chain itself',
    details: { size: String(size), signed: String(state.frontier.size) },
  });
}
