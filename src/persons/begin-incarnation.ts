/**
 * Going on after the database was restored to an earlier state. States:
 *
 *   refused (the signer knows more links than the chain has)
 *     -- two key officers sign; number and record event, one transaction --> moved
 *   moved -- the record is linked, before anything else that waits --> linked
 *   linked -- the signer's state is set aside and the new origin's first checkpoint is signed --> going on
 *
 * A crash in between is harmless: the signer refuses everything until the same command has run again. After one between
 * the first two, `chain seal` links the record in its turn.
 */

import { appendLinks, type ChainHead, extendChainLinks, readHead } from '../audit/chain-store.ts';
import type { EventRow } from '../audit/event-source.ts';
import {
  eventByIdSource,
  INCARNATION_EVENT,
  incarnationText,
  moveIncarnation,
  readIncarnationFindings,
} from '../audit/incarnation-record.ts';
import { encodeFrontier } from '../audit/merkle.ts';
import { recordEvent } from '../audit/record.ts';
import { linkRows } from '../audit/seal-batch.ts';
import { originOf, signCheckpoint } from '../audit/sign.ts';
import { readSignerState, type SignerState, setSignerStateAside, writeSignerState } from '../audit/signer-store.ts';
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
  /** Links that the chain has and keeps. */
  readonly kept: number;
  /** Links that were signed. */
  readonly abandoned: number;
}

type Beginning = Pick<Context, 'db' | 'clock' | 'actor' | 'log' | 'config'>;

/**
 * What beginIncarnation would do; with the keys, after its checks of who signs.
 * @throws CHAIN_NOT_ROLLED_BACK, and those of openTwoSigners
 */
export async function planIncarnation(
  ctx: Beginning,
  { keyFiles }: { readonly keyFiles?: readonly string[] } = {},
): Promise<IncarnationPlan> {
  const head = await ctx.db.withClient(readHead);
  const { home, origin } = ctx.config;
  const state = await readSignerState(home, originOf(origin, head.incarnation));
  requireRolledBack(head, state);
  if (keyFiles !== undefined) {
    await ctx.db.withClient((client) => openTwoSigners(client, { keyFiles, roles: ['key_officer'] }));
  }
  const next = originOf(origin, head.incarnation + 1);
  return { origin: next, kept: Number(head.size), abandoned: Number(state.frontier.size) };
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
  const { home, origin: name } = ctx.config;
  const origin = await ctx.db.withClient((client) =>
    withSessionLock(client, 'signer', 'exclusive', () =>
      withSessionLock(client, 'sealer', 'exclusive', async () => {
        const head = await readHead(client);
        if (await isMoved(client, head, home, name)) return originOf(name, head.incarnation);
        return moveChain(ctx, client, head, input.keyFiles);
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

/** A crash came after the chain was moved and before the signer followed. */
async function isMoved(client: SqlClient, head: ChainHead, home: string, name: string): Promise<boolean> {
  if (head.incarnation === 1) return false;
  const behind = await readSignerState(home, originOf(name, head.incarnation - 1)).catch(() => null);
  if (behind === null || behind.note === null) return false;
  const records = await readIncarnationFindings(client, head);
  return records.at(-1)?.eventId != null;
}

async function moveChain(
  ctx: Beginning,
  client: SqlClient,
  head: ChainHead,
  keyFiles: readonly string[],
): Promise<string> {
  const { home, origin: name } = ctx.config;
  const state = await readSignerState(home, originOf(name, head.incarnation));
  requireRolledBack(head, state);
  const signers = await openTwoSigners(client, { keyFiles, roles: ['key_officer'] });
  const payload = incarnationText({
    installation_id: signers.installationId,
    incarnation: head.incarnation + 1,
    abandoned_note: state.note ?? '',
    abandoned_size: String(state.frontier.size),
    kept_size: String(head.size),
    time: signers.time,
  });
  const record = await signByTwo(signers, NAMESPACES.incarnation, payload);
  await extendChainLinks(client);
  const id = await transact(client, async () => {
    await moveIncarnation(client, head.incarnation);
    return recordEvent(ctx, client, {
      type: INCARNATION_EVENT,
      category: 'security',
      action: 'BEGIN',
      resourceType: 'audit_chain',
      details: { ...record },
    });
  });
  await transact(client, () => linkFirst(client, head, id), 'repeatable read');
  return originOf(name, head.incarnation + 1);
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

function requireRolledBack(head: ChainHead, state: SignerState): void {
  if (head.size < state.frontier.size && head.cursor === null) return;
  throw new AuditkeepError('CHAIN_NOT_ROLLED_BACK', {
    message: `the chain has ${head.size} links, of which ${state.frontier.size} were signed: it was not rolled back`,
    hint: 'a new incarnation only goes on after a restore; when a round is open, run auditkeep chain seal first',
  });
}
