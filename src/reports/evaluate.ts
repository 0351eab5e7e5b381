/**
 * Runs controls: all under one snapshot, as auditkeep_report, READ ONLY, while no partition moves. A control that fails
 * or takes too long is an error of its own; the others go on.
 */
import type { Context } from '../context.ts';
import { withSessionLock } from '../db/advisory-lock.ts';
import type { Database, SqlClient } from '../db/database.ts';
import { sqlStateOf } from '../db/errors.ts';
import { execute } from '../db/query.ts';
import { transact } from '../db/transaction.ts';
import { AuditkeepError } from '../errors.ts';
import { isoOf, type UtcInstant } from '../time/clock.ts';
import type { ReportPeriod } from '../time/report-period.ts';
import type { ControlResult } from './control-model.ts';
import { type ControlStatement, parseControlSql } from './control-sql.ts';
import { type EvidenceSink, HASH_ONLY } from './evidence-file.ts';
import { readExceptions } from './exceptions.ts';
import type { SourceFacts } from './model.ts';
import { checkPlan } from './plan-check.ts';
import { judgeControl } from './status.ts';
import { backendPid, cancelBackend, countIndependently, countPopulation, lockFacts, readSource } from './store.ts';
import type { ControlPart, ControlTemplate } from './template.ts';
import { type ActiveWaiver, waiversUsed } from './waiver.ts';

export interface EvaluateInput {
  readonly controls: readonly ControlTemplate[];
  readonly period: ReportPeriod;
  /** Those that count now; none unless given. */
  readonly waivers?: readonly ActiveWaiver[];
  /** Replaces an id in exceptions. */
  readonly pseudonymize: (value: string) => string;
  /** Where all exceptions go; they are only hashed unless given. */
  readonly evidence?: EvidenceSink;
  /** A report lets retention go after this time; 30 minutes unless given. */
  readonly timeLimitMs?: number;
  /** A control is an error after this time; 10 minutes unless given. */
  readonly controlTimeLimitMs?: number;
}

export interface Evaluation {
  readonly source: SourceFacts;
  /** In the order of the input. */
  readonly results: readonly { readonly template: ControlTemplate; readonly result: ControlResult }[];
}

const TIME_LIMIT_MS = 30 * 60_000;
const CONTROL_TIME_LIMIT_MS = 10 * 60_000;

/**
 * Evaluates controls on one snapshot.
 * @throws REPORT_TIMEOUT after the time limit, TEMPLATE_SQL when a control reads outside the facts
 */
export function evaluateControls(
  ctx: Pick<Context, 'reportDb' | 'clock' | 'progress'>,
  input: EvaluateInput,
): Promise<Evaluation> {
  return ctx.reportDb.withClient((client) =>
    // The lock comes before BEGIN: taking it inside would fix the snapshot before a move that we waited for.
    withSessionLock(client, 'structure', 'shared', async () => {
      const run = { db: ctx.reportDb, client, pid: await backendPid(client), asOf: ctx.clock.now(), input };
      const timeLimitMs = input.timeLimitMs ?? TIME_LIMIT_MS;
      return withTimeLimit(run, timeLimitMs, 'report', () =>
        transact(client, () => evaluateAll(ctx, run), 'repeatable read, read only'),
      );
    }),
  );
}

interface Run {
  readonly db: Database;
  readonly client: SqlClient;
  readonly pid: number;
  readonly asOf: UtcInstant;
  readonly input: EvaluateInput;
}

async function evaluateAll(ctx: Pick<Context, 'progress'>, run: Run): Promise<Evaluation> {
  await lockFacts(run.client);
  const { events, chainSize, ...read } = await readSource(run.client);
  const source = {
    ...read,
    readAt: isoOf(run.asOf),
    chainSize: Number(chainSize),
    unsealedEvents: Math.max(0, Number(events - chainSize)),
  };
  const results: { template: ControlTemplate; result: ControlResult }[] = [];
  ctx.progress.start('controls', run.input.controls.length);
  try {
    for (const template of run.input.controls) {
      results.push({ template, result: await evaluateOrFail(run, template) });
      ctx.progress.update(results.length);
    }
  } finally {
    ctx.progress.stop();
  }
  return { source, results };
}

/** A failed statement aborts the transaction; the savepoint keeps snapshot and transaction for the next control. */
async function evaluateOrFail(run: Run, template: ControlTemplate): Promise<ControlResult> {
  await execute(run.client, 'savepoint control');
  let timedOut = false;
  const limitMs = run.input.controlTimeLimitMs ?? CONTROL_TIME_LIMIT_MS;
  try {
    const result = await withTimeLimit(run, limitMs, 'control', () => evaluate(run, template)).catch(
      (error: unknown) => {
        timedOut = error instanceof AuditkeepError && error.code === 'REPORT_TIMEOUT';
        throw timedOut && error instanceof AuditkeepError ? error.cause : error;
      },
    );
    await execute(run.client, 'release savepoint control');
    return result;
  } catch (error) {
    const sqlState = error instanceof AuditkeepError ? null : sqlStateOf(error);
    // Cancelled, but not by this control's own limit: the whole report is out of time.
    if (sqlState === null || (sqlState === '57014' && !timedOut)) throw error;
    await execute(run.client, 'rollback to savepoint control').catch(() => {
      throw error; // the connection is gone; the first error says why
    });
    return { kind: 'failed', reason: timedOut ? 'time_limit' : 'sql_failed', sqlState };
  }
}

async function evaluate(run: Run, template: ControlTemplate): Promise<ControlResult> {
  const population = bind(run, template, 'population', template.population.sql);
  const exceptions = bind(run, template, 'exceptions', template.exceptions.sql);
  const counting = (['completeness', 'prerequisite', 'freshness'] as const).map((part) => {
    const sql = template[part]?.sql;
    return sql === undefined ? null : bind(run, template, part, sql);
  });
  for (const checked of [population, exceptions, ...counting]) {
    if (checked !== null) await checkPlan(run.client, checked);
  }
  const counted = await countPopulation(run.client, { ...population, key: template.population.key });
  const [independent = 0, missing = 0, stale = 0] = await countEach(run.client, counting);
  const { pseudonymize, evidence = HASH_ONLY } = run.input;
  const waivers = (run.input.waivers ?? []).filter((waiver) => waiver.control === template.id);
  const reading = { template, statement: exceptions, waivers, pseudonymize, evidence };
  const { covered, ...found } = await readExceptions(run.client, reading);
  const figures = {
    population: Number(counted.rows),
    distinctKeys: Number(counted.keys),
    independent,
    missing,
    stale,
  };
  const { count, waived } = found;
  const judgement = judgeControl({ ...figures, exceptions: count, waived }, template.population.whenEmpty);
  const used = waiversUsed(waivers, { covered, columns: template.exceptions.columns, pseudonymize });
  return { kind: 'evaluated', judgement, ...figures, exceptions: found, waivers: used };
}

/** Counts one after the other, since a connection runs one statement at a time; 0 for what is not asked. */
async function countEach(
  client: SqlClient,
  statements: readonly ({ readonly sql: string; readonly values: readonly string[] } | null)[],
): Promise<number[]> {
  const counts: number[] = [];
  for (const statement of statements) {
    counts.push(statement === null ? 0 : Number(await countIndependently(client, statement.sql, statement.values)));
  }
  return counts;
}

function bind(run: Run, template: ControlTemplate, part: ControlPart, sql: string) {
  const label = `${template.id} ${part}`;
  const statement = parseControlSql(sql, label);
  return { label, sql: statement.sql, values: valuesOf(statement, template, run.input.period, run.asOf) };
}

/** The values of a statement's parameters, as texts that the SQL casts. */
export function valuesOf(
  statement: ControlStatement,
  template: Pick<ControlTemplate, 'parameters'>,
  period: Pick<ReportPeriod, 'startAt' | 'endAt'>,
  asOf: UtcInstant,
): string[] {
  const period_ = { period_start: isoOf(period.startAt), period_end: isoOf(period.endAt), as_of: isoOf(asOf) };
  const values = new Map<string, string>(Object.entries(period_));
  for (const [name, parameter] of Object.entries(template.parameters)) values.set(name, String(parameter.default));
  return statement.parameters.map((name) => values.get(name) ?? '');
}

/**
 * Cancels from outside what the connection runs when the time is over: a statement_timeout could be undone from SQL.
 * @throws REPORT_TIMEOUT with the database's own error as its cause
 */
async function withTimeLimit<T>(run: Run, limitMs: number, what: string, fn: () => Promise<T>): Promise<T> {
  const cancelling: Promise<unknown>[] = [];
  const timer = setTimeout(() => {
    // A cancellation that fails leaves the statement to run to its end, whose outcome then stands.
    cancelling.push(run.db.withClient((client) => cancelBackend(client, run.pid)).catch((error: unknown) => error));
  }, limitMs);
  try {
    return await fn();
  } catch (cause) {
    if (cancelling.length === 0 || sqlStateOf(cause) !== '57014') throw cause;
    throw new AuditkeepError('REPORT_TIMEOUT', {
      message: `the ${what} was not evaluated within ${Math.round(limitMs / 1000)} s`,
      hint: 'choose a shorter period, or a time with less load',
      details: { limitMs },
      cause,
    });
  } finally {
    clearTimeout(timer);
    await Promise.all(cancelling);
  }
}
