/**
 * Anonymizes old transactions: plan -> chunks -> measure -> take more away where rows are too rare -> gate. Each chunk
 * is one transaction with its audit event; killed at any point, the next run goes on where this one stopped.
 */

import { recordEvent } from '../audit/record/record.ts';
import type { Context } from '../context.ts';
import { tryLockSession, unlockSession } from '../db/advisory-lock.ts';
import type { SqlClient } from '../db/database.ts';
import { inTransaction, transact } from '../db/transaction.ts';
import { AuditkeepError, type ErrorCode } from '../errors.ts';
import type { UtcInstant } from '../time/clock.ts';
import { cutoffOf, passesGate, RISK_THRESHOLDS } from './policy.ts';
import { replacementOf } from './replacement.ts';
import { measureRiskWith, type RiskReport } from './risk.ts';
import { type IdChunks, measureClasses, readToClear, readTooRare, readToSet } from './risk-store.ts';
import * as store from './store.ts';

const CHUNK_ROWS = 1000;
const LOWEST_ID = '00000000-0000-0000-0000-000000000000';

export interface AnonymizeInput {
  /** A UTC day or instant; rows of earlier days are due. Null or absent: the policy's age of two years. */
  readonly before?: string | null;
}

export interface AnonymizePlan extends store.TransactionCounts {
  /** ISO 8601; rows before it are due. */
  readonly before: string;
  /** What must be mended before a run; empty when it may run. */
  readonly blockers: readonly string[];
}

export interface AnonymizeResult {
  readonly before: string;
  /** Rows pseudonymized in this run. */
  readonly pseudonymized: number;
  /** Steps by which rows were generalised further. */
  readonly generalized: number;
  /** Rows for which the gate passed in this run. */
  readonly anonymized: number;
  /** Rows that could not be read and were left as they are, by error code. */
  readonly unreadable: Readonly<Record<string, number>>;
  /** True when the run was asked to stop before its end. */
  readonly stopped: boolean;
  readonly risk: RiskReport;
}

/** What a run would do, and what stands in its way. Changes nothing. @throws INPUT_INVALID */
export function planAnonymization(
  ctx: Pick<Context, 'db' | 'clock'>,
  input: AnonymizeInput = {},
): Promise<AnonymizePlan> {
  const before = cutoffOf(ctx.clock.now(), input.before ?? null);
  const blockers = lateness(ctx.clock.now(), before);
  return inTransaction(ctx.db, (client) => planWith(client, before, blockers), 'repeatable read, read only');
}

type RunContext = Pick<Context, 'db' | 'clock' | 'keys' | 'actor' | 'log' | 'progress'>;

/**
 * Runs the plan. What a finished chunk did is durable even when the run fails later.
 * @throws ANONYMIZE_NOT_DUE when `before` is later than the policy allows, DB_LOCKED when another run is at work,
 *   ANONYMIZE_BLOCKED when the pre-flight finds something, INPUT_INVALID, the KEY_* codes
 */
export async function anonymizeTransactions(
  ctx: RunContext,
  input: AnonymizeInput = {},
  signal?: AbortSignal,
): Promise<AnonymizeResult> {
  const before = cutoffOf(ctx.clock.now(), input.before ?? null);
  const [late] = lateness(ctx.clock.now(), before);
  if (late !== undefined) {
    throw new AuditkeepError('ANONYMIZE_NOT_DUE', {
      message: late,
      hint: 'leave --before out, or give an earlier day',
    });
  }
  return ctx.db.withClient(async (client) => {
    if (!(await tryLockSession(client, 'anonymize', 'exclusive'))) {
      throw new AuditkeepError('DB_LOCKED', {
        message: 'another anonymization is running',
        hint: 'wait for it to end; auditkeep job list shows it',
      });
    }
    // When anything below fails the connection is thrown away, and the lock with it.
    const result = await runLocked(ctx, client, before, signal);
    await unlockSession(client, 'anonymize', 'exclusive');
    return result;
  });
}

/** What a run does cannot be undone, so nobody hastens it by a date of their own. */
function lateness(now: UtcInstant, before: string): string[] {
  const policy = cutoffOf(now, null);
  return before > policy ? [`transactions from ${policy.slice(0, 10)} on are kept as they are by policy`] : [];
}

async function planWith(client: SqlClient, before: string, blockers: readonly string[] = []): Promise<AnonymizePlan> {
  const references = await store.readReferences(client);
  return {
    before,
    ...(await store.countTransactions(client, before)),
    blockers: [
      ...blockers,
      ...references.map((name) => `a foreign key refers to transactions and would lose its rows: ${name}`),
    ],
  };
}

async function runLocked(
  ctx: RunContext,
  client: SqlClient,
  before: string,
  signal: AbortSignal | undefined,
): Promise<AnonymizeResult> {
  const plan = await planWith(client, before);
  if (plan.blockers[0] !== undefined) {
    throw new AuditkeepError('ANONYMIZE_BLOCKED', {
      message: plan.blockers[0],
      hint: 'drop the foreign key, or let the application keep no reference to transactions past their age',
      details: { blockers: plan.blockers },
    });
  }
  const chunks = await pseudonymizeDue(ctx, client, before, plan.due, signal);
  const generalized = await generalizeUntilCommon(ctx, client, signal);
  const anonymized = signal?.aborted ? 0 : await applyGate(ctx, client);
  // Also after a run that changed nothing: the one before may have been killed before it came here.
  await store.analyzeTransactions(client);
  return {
    before,
    pseudonymized: chunks.pseudonymized,
    generalized,
    anonymized,
    unreadable: chunks.unreadable,
    stopped: signal?.aborted ?? false,
    risk: await measureRiskWith(client),
  };
}

/** Walks the due rows by id: ids of imported rows are keyed, so this order says nothing about the chain's. */
async function pseudonymizeDue(
  ctx: RunContext,
  client: SqlClient,
  before: string,
  due: number,
  signal: AbortSignal | undefined,
): Promise<{ pseudonymized: number; unreadable: Record<string, number> }> {
  const unreadable: Partial<Record<ErrorCode, number>> = {};
  let pseudonymized = 0;
  let after = LOWEST_ID;
  ctx.progress.start('anonymize', due);
  while (!signal?.aborted) {
    const rows = await store.readDue(client, before, after, CHUNK_ROWS);
    const last = rows.at(-1);
    if (last === undefined) break;
    after = last.id;
    const replacements = await decideChunk(ctx, rows, unreadable);
    pseudonymized += await replaceChunk(ctx, client, before, replacements);
    ctx.progress.update(pseudonymized);
  }
  ctx.progress.stop();
  return { pseudonymized, unreadable };
}

async function decideChunk(
  ctx: RunContext,
  rows: readonly store.DueTransaction[],
  unreadable: Partial<Record<ErrorCode, number>>,
): Promise<store.Replacement[]> {
  const secret = await ctx.keys.secret('pseudonym');
  const replacements: store.Replacement[] = [];
  for (const row of rows) {
    const outcome = await replacementOf(ctx.keys, secret, row);
    if (outcome.kind === 'replaced') {
      replacements.push(outcome.row);
    } else {
      unreadable[outcome.code] = (unreadable[outcome.code] ?? 0) + 1;
      ctx.log.warn(
        { transactionId: outcome.id, code: outcome.code },
        'a transaction cannot be read and stays as it is',
      );
    }
  }
  return replacements;
}

function replaceChunk(
  ctx: RunContext,
  client: SqlClient,
  before: string,
  replacements: readonly store.Replacement[],
): Promise<number> {
  return transact(client, async () => {
    const rows = await store.pseudonymizeRows(client, before, replacements);
    if (rows > 0) await record(ctx, client, 'transactions.pseudonymized', { rows, before });
    return rows;
  });
}

/** Every pass takes one thing away from each row that is too rare, so it ends when rows are common or bare. */
async function generalizeUntilCommon(
  ctx: RunContext,
  client: SqlClient,
  signal: AbortSignal | undefined,
): Promise<number> {
  let generalized = 0;
  while (!signal?.aborted) {
    const rare = readTooRare(client, RISK_THRESHOLDS.k, CHUNK_ROWS);
    const changed = await inChunks(client, rare, async (chunk) => {
      const rows = await store.generalizeRows(client, chunk);
      await record(ctx, client, 'transactions.generalized', { rows });
      return rows;
    });
    if (changed === 0) break;
    generalized += changed;
  }
  return generalized;
}

/** Calls rows anonymous when the whole set passes and they are common in it; takes it back from rows that are not. */
async function applyGate(ctx: RunContext, client: SqlClient): Promise<number> {
  const measured = await measureClasses(client, RISK_THRESHOLDS.k);
  const passed = passesGate(measured, RISK_THRESHOLDS);
  const toClear = readToClear(client, RISK_THRESHOLDS.k, passed, CHUNK_ROWS);
  await inChunks(client, toClear, (chunk) => writeVerdict(ctx, client, chunk, false));
  if (!passed) return 0;
  const toSet = readToSet(client, RISK_THRESHOLDS.k, CHUNK_ROWS);
  return inChunks(client, toSet, (chunk) => writeVerdict(ctx, client, chunk, true));
}

async function writeVerdict(
  ctx: RunContext,
  client: SqlClient,
  ids: readonly string[],
  value: boolean,
): Promise<number> {
  const rows = await store.setAnonymized(client, ids, value);
  await record(ctx, client, value ? 'transactions.anonymized' : 'transactions.anonymity-lost', { rows });
  return rows;
}

/** Runs fn on each chunk of ids in a transaction of its own, and adds up what it gives. */
async function inChunks(
  client: SqlClient,
  chunks: IdChunks,
  fn: (chunk: readonly string[]) => Promise<number>,
): Promise<number> {
  let sum = 0;
  for await (const chunk of chunks) sum += await transact(client, () => fn(chunk));
  return sum;
}

function record(
  ctx: RunContext,
  client: SqlClient,
  type: string,
  details: { readonly rows: number; readonly before?: string },
): Promise<string> {
  return recordEvent(ctx, client, {
    type,
    category: 'data_modification',
    action: 'ANONYMIZE',
    resourceType: 'transaction',
    details,
  });
}
