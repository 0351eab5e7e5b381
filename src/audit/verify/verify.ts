/**
 * Verification of the chain: one REPEATABLE READ transaction under the shared structure lock, so that a partition that
 * moves meanwhile can neither double nor hide rows. What is read depends on the level; findings are reported alike.
 */
import { withSessionLock } from '../../db/advisory-lock.ts';
import type { SqlClient } from '../../db/database.ts';
import { inTransaction, transact } from '../../db/transaction.ts';
import { AuditkeepError } from '../../errors.ts';
import { isoOf } from '../../time/clock.ts';
import type { Verification, VerifyLevel } from '../links/finding.ts';
import { recordEvent } from '../record/record.ts';
import { writeLastRun } from '../signer/last-runs.ts';
import { removeKeptRun } from './kept-steps.ts';
import { nameRewrittenRows } from './rewritten-row.ts';
import { verifyFull } from './verify-full.ts';
import { type Progressing, verifyHead, verifyIncremental, verifyRolling, withUnprotected } from './verify-levels.ts';
import { openRun, QUIET_LEVELS, type Verifying, type VerifyRun } from './verify-run.ts';
import { insertSecurityEvents, lockChainTables } from './verify-store.ts';

/** Committed events that the sealer has left alone for longer are findings. */
const UNSEALED_AFTER_SECONDS = 300;
/** Findings of one run that go to the security log one by one; all of them are in the result. */
const LOGGED_FINDINGS = 1000;

/** Errors that say that the verification, not its circumstances, is wrong. */
const VERDICTS: ReadonlySet<string> = new Set(['CHAIN_CANARY', 'CHAIN_NOTHING_CHECKED']);

export interface VerifyInput {
  /** How much is verified; full unless given. */
  readonly level?: VerifyLevel;
  /** How long the sealer may be behind; 300 seconds unless given. */
  readonly unsealedAfterSeconds?: number;
  /** Full only: everything is read, whatever an interrupted run has kept. */
  readonly fresh?: boolean;
}

/**
 * Verifies the chain as far as the level says and reports every finding: in the result, in audit.security_events_log and as an event of
 * the chain itself.
 * @throws CHAIN_CANARY, CHAIN_NOTHING_CHECKED, CHAIN_SIGNER_STORE
 */
export async function verifyChain(ctx: Verifying, input: VerifyInput = {}): Promise<Verification> {
  const { result, origin, keep } = await ctx.db
    .withClient((client) =>
      withSessionLock(client, 'structure', 'shared', () =>
        transact(client, () => verifyAt(ctx, client, input), 'repeatable read, read only'),
      ),
    )
    .catch(async (error: unknown) => {
      // A verdict on the run itself: nothing of it is taken over. Whatever else ends a run only cuts it short.
      if (error instanceof AuditkeepError && VERDICTS.has(error.code)) await removeKeptRun(ctx.config.home);
      throw error;
    });
  await reportResult(ctx, result);
  await keep();
  if (result.level === 'full') await removeKeptRun(ctx.config.home);
  const last = { at: isoOf(ctx.clock.now()), to: result.to, findings: result.findings.length };
  await writeLastRun(ctx.config.home, origin, result.level, last);
  return result;
}

async function verifyAt(
  ctx: Verifying,
  client: SqlClient,
  input: VerifyInput,
): Promise<Progressing & { readonly origin: string }> {
  await lockChainTables(client);
  const level = input.level ?? 'full';
  const run = await openRun(ctx, client, {
    unsealedAfterSeconds: input.unsealedAfterSeconds ?? UNSEALED_AFTER_SECONDS,
    level,
  });
  const { result, keep } = await verifyLevel(ctx, client, run, { level, fresh: input.fresh ?? false });
  const findings = await nameRewrittenRows(client, ctx.config.home, run, result.findings);
  return { result: { ...result, findings }, keep, origin: run.origin };
}

async function verifyLevel(
  ctx: Verifying,
  client: SqlClient,
  run: VerifyRun,
  { level, fresh }: { readonly level: VerifyLevel; readonly fresh: boolean },
): Promise<Progressing> {
  const keep = () => Promise.resolve();
  switch (level) {
    case 'head':
      return { result: await withUnprotected(client, await verifyHead(client, run)), keep };
    case 'incremental':
      return whenIntact(await protectedToo(client, await verifyIncremental(ctx, client, run)));
    case 'rolling':
      return protectedToo(client, await verifyRolling(ctx, client, run));
    case 'full':
      return { result: await verifyFull(ctx, client, run, fresh), keep };
  }
}

async function protectedToo(client: SqlClient, { result, keep }: Progressing): Promise<Progressing> {
  return { result: await withUnprotected(client, result), keep };
}

/** Goes on from here only when nothing at all is found: whatever was is told again by the next run. */
function whenIntact({ result, keep }: Progressing): Progressing {
  return { result, keep: result.intact ? keep : () => Promise.resolve() };
}

async function reportResult(ctx: Verifying, result: Verification): Promise<void> {
  const classes: Record<string, number> = {};
  for (const found of result.findings) classes[found.class] = (classes[found.class] ?? 0) + 1;
  const { checked, from, to, anchored, level, resumed } = result;
  const taken =
    resumed === null || resumed.units === 0 ? {} : { resumedUnits: resumed.units, resumedEvents: resumed.events };
  // An event for each sound run would be most of a quiet chain.
  if (result.intact && QUIET_LEVELS.has(level)) {
    ctx.log.info({ checked, to, level }, 'chain.verified');
    return;
  }
  await inTransaction(ctx.db, async (client) => {
    const id = await recordEvent(ctx, client, {
      type: result.intact ? 'chain.verified' : 'chain.findings',
      category: 'security',
      action: 'VERIFY',
      resourceType: 'audit_chain',
      result: result.intact ? 'success' : 'failure',
      details: { level, checked, from, to, anchored, findings: result.findings.length, classes, ...taken },
    });
    if (result.intact) return;
    const logged = result.findings.slice(0, LOGGED_FINDINGS);
    await insertSecurityEvents(client, { at: isoOf(ctx.clock.now()), correlationId: id, findings: logged });
  });
  if (result.intact) ctx.log.info({ checked, to }, 'chain.verified');
  else ctx.log.error({ checked, to, classes }, 'chain.findings');
}
