/**
 * Going on after a dump was restored: transaction ids began anew, so the sealer's rounds, which go by them, would pass by
 * whatever is committed. The sweep links what no link names (audit.sweep_links judges and computes everything again) and
 * gives the head a snapshot of the ids that count now. Events that somebody put in stay out: verification names them.
 */
import { z } from 'zod';
import type { Context } from '../../context.ts';
import { withFreeLock } from '../../db/advisory-lock.ts';
import type { SqlClient } from '../../db/database.ts';
import { queryOne, queryRows } from '../../db/query.ts';
import { inTransaction, transact } from '../../db/transaction.ts';
import { AuditkeepError } from '../../errors.ts';
import { EVENT_TABLES } from '../event/event-origin.ts';
import { currentSnapshot, extendChainLinks, readHead } from '../links/chain-store.ts';
import { wentBack } from '../links/transaction-order.ts';
import { requireNotRolledBack } from '../publish/published.ts';
import { recordEvent } from '../record/record.ts';
import { requireDurableCommit } from './seal-store.ts';

type Sweeping = Pick<Context, 'db' | 'clock' | 'actor' | 'log' | 'config'>;

/** Links in one transaction. */
const BATCH_SIZE = 2000;

export interface SweepPlan {
  /** Transaction ids began anew; otherwise there is nothing to sweep. */
  readonly wentBack: boolean;
  /** Unlinked events that would be linked. */
  readonly waiting: number;
  /** Unlinked events that would not: verification reports them. */
  readonly refused: number;
  readonly size: bigint;
}

export interface SweepResult {
  /** Events that were linked. */
  readonly swept: number;
  readonly size: bigint;
}

/** What a sweep would do; reads every event. @throws CHAIN_ROLLED_BACK, CHAIN_SIGNER_STORE, as sweepChain */
export function planSweep(ctx: Pick<Context, 'db' | 'config'>): Promise<SweepPlan> {
  return inTransaction(
    ctx.db,
    async (client) => {
      const head = await readHead(client);
      await requireNotRolledBack(client, ctx.config, head);
      const back = wentBack(head, await currentSnapshot(client));
      const unlinked = EVENT_TABLES.map(
        (table) => `select count(*) as n from ${table} e
                     where not exists (select from audit.chain_link l where l.event_id = e.id)`,
      );
      const counts = await queryOne(
        client,
        z.object({ waiting: z.coerce.number(), unlinked: z.coerce.number() }),
        `select (select count(*) from audit.sweepable()) as waiting,
                (select sum(n) from (${unlinked.join(' union all ')}) u) as unlinked`,
      );
      const waiting = back ? counts.waiting : 0;
      return { wentBack: back, waiting, refused: back ? counts.unlinked - waiting : 0, size: head.size };
    },
    'repeatable read, read only',
  );
}

/**
 * Links what a restored dump left unlinked, batch by batch, each with an audit event in its transaction; then the sealer
 * goes on as ever. A kill leaves whole batches, and the next run does the rest.
 * @throws CHAIN_ROLLED_BACK when the dump is of an earlier state than what was signed: the way on is an incarnation, which
 * sweeps; CHAIN_SIGNER_STORE; CHAIN_TXID_IN_ORDER when ids have not gone back; CHAIN_HEAD_MOVED when another sealer is at work
 */
export function sweepChain(ctx: Sweeping): Promise<SweepResult> {
  return ctx.db.withClient(async (client) => {
    const result = await withFreeLock(client, 'sealer', 'exclusive', async () => {
      const head = await readHead(client);
      await requireNotRolledBack(client, ctx.config, head);
      if (!wentBack(head, await currentSnapshot(client))) throw inOrder();
      return sweepUnlinked(ctx, client);
    });
    if (result === null) {
      throw new AuditkeepError('CHAIN_HEAD_MOVED', {
        message: 'another sealer is at work',
        hint: 'stop the workers, then run the sweep again',
      });
    }
    ctx.log.info({ swept: result.swept, size: String(result.size) }, 'chain.swept');
    return result;
  });
}

/**
 * The sweep itself, whatever was signed: for whoever holds the sealer's lock and has seen that ids have gone back.
 * @throws SQLSTATE AK028 when they have not
 */
export async function sweepUnlinked(ctx: Pick<Context, 'clock' | 'actor'>, client: SqlClient): Promise<SweepResult> {
  let { size } = await readHead(client);
  let swept = 0;
  for (;;) {
    await extendChainLinks(client);
    const linked = await transact(client, () => sweepBatch(ctx, client));
    swept += linked;
    size += BigInt(linked);
    if (linked < BATCH_SIZE) return { swept, size };
  }
}

function inOrder(): AuditkeepError {
  return new AuditkeepError('CHAIN_TXID_IN_ORDER', {
    message: 'transaction ids have not gone back, so nothing has to be swept',
    hint: 'run auditkeep chain seal without --sweep',
  });
}

async function sweepBatch(ctx: Pick<Context, 'clock' | 'actor'>, client: SqlClient): Promise<number> {
  await requireDurableCommit(client);
  const head = await readHead(client);
  const { linked } = await queryOne(
    client,
    z.object({ linked: z.number() }),
    'select audit.sweep_links($1::bigint, $2::bytea, $3::integer) as linked',
    [head.size, head.chainHash, BATCH_SIZE],
  );
  await recordEvent(ctx, client, {
    type: 'chain.swept',
    category: 'security',
    action: 'SWEEP',
    resourceType: 'audit_chain',
    details: { linked, from: Number(head.size), complete: linked < BATCH_SIZE },
  });
  return linked;
}

/** The ids of events that a sweep would link. */
export async function readSweepable(client: SqlClient): Promise<ReadonlySet<string>> {
  const rows = await queryRows(client, z.object({ id: z.string() }), 'select s.id::text from audit.sweepable() s');
  return new Set(rows.map((row) => row.id));
}
