/**
 * The signer trusts nobody, least of all the database: before it signs it extends the tree that it signed last, kept in
 * its own store, by the new leaves and requires the outcome to be the head that it is shown. A database restored to
 * yesterday, or one whose links were rewritten, gets no signature.
 */
import { createPublicKey } from 'node:crypto';
import type { Context } from '../context.ts';
import { withFreeLock } from '../db/advisory-lock.ts';
import type { SqlClient } from '../db/database.ts';
import { sqlStateOf } from '../db/errors.ts';
import { inTransaction, transact } from '../db/transaction.ts';
import { AuditkeepError } from '../errors.ts';
import { type ChainHead, publishCheckpoint, readHead, readLastCheckpoint } from './chain-store.ts';
import { signTreeHead } from './checkpoint.ts';
import { leafSource } from './link-source.ts';
import { appendLeaves, type Frontier, rootOf } from './merkle.ts';
import {
  openLogKey,
  readSignerState,
  type SignerState,
  writeCheckpointFile,
  writeSignerState,
} from './signer-store.ts';
import { storeTiles } from './tile-store.ts';
import { readTuples } from './tuples.ts';
import { askWitnesses } from './witness/ask.ts';

export interface SignResult {
  /** The signed note; null when the chain is empty or another signer is at work. */
  readonly note: string | null;
  readonly size: bigint;
  /** False when the head was signed before. */
  readonly fresh: boolean;
}

/** The log's name: that of the installation, with the incarnation from the second one on. */
export function originOf(name: string, incarnation: number): string {
  return incarnation === 1 ? name : `${name}/${incarnation}`;
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
      const { head, state } = await growTree(client, ctx.config.home, ctx.config.origin);
      return { size: head.size, fresh: isFresh(head, state) };
    },
    'repeatable read, read only',
  );
}

/** Whether the head goes beyond what was signed. */
function isFresh(head: ChainHead, state: SignerState): boolean {
  return head.size > 0n && (state.note === null || head.size > state.frontier.size);
}

async function signHead(ctx: Pick<Context, 'db' | 'log' | 'config' | 'clock'>, client: SqlClient): Promise<SignResult> {
  const { home, origin: name } = ctx.config;
  const { head, grown, state } = await transact(
    client,
    () => growTree(client, home, name),
    'repeatable read, read only',
  );
  if (head.size === 0n) return { note: null, size: 0n, fresh: false };
  const root = rootOf(grown);
  const fresh = isFresh(head, state);
  const { origin } = state;
  const note = fresh ? signTreeHead({ origin, size: head.size, root }, await openLogKey(home)) : (state.note ?? '');
  if (fresh) await writeSignerState(home, { origin, frontier: grown, note });
  await writeCheckpointFile(home, { size: head.size, note, incarnation: head.incarnation });
  await transact(client, () => publishCheckpoint(client, { origin, size: head.size, root, note })).catch(
    otherPublished,
  );
  await transact(client, () => storeTiles(client));
  if (ctx.config.witnesses.length > 0) {
    const logKey = { name: origin, publicKey: createPublicKey(await openLogKey(home)) };
    await askWitnesses(ctx, { note, frontier: grown, logKey });
  }
  return { note, size: head.size, fresh };
}

/** The tree that was signed last, extended by the leaves that the database shows beyond it. */
async function growTree(
  client: SqlClient,
  home: string,
  name: string,
): Promise<{ head: ChainHead; state: SignerState; grown: Frontier }> {
  const head = await readHead(client);
  const state = await readSignerState(home, originOf(name, head.incarnation));
  const own = originOf(name, head.incarnation);
  if (state.note === null && (await readLastCheckpoint(client))?.origin === own) {
    throw new AuditkeepError('CHAIN_SIGNER_STORE', {
      message: 'the database has signed checkpoints, but the signer of this home has signed none',
      hint: 'use the home of the worker that signs (AUDITKEEP_HOME), or restore its signer folder',
    });
  }
  if (head.size < state.frontier.size) throw rolledBack(head.size, state.frontier.size);
  let grown = state.frontier;
  for await (const leaves of readTuples(client, leafSource(grown.size, head.size))) grown = appendLeaves(grown, leaves);
  if (grown.size !== head.size || !rootOf(grown).equals(rootOf(head.frontier))) throw rewritten(head.size, state);
  return { head, state, grown };
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
