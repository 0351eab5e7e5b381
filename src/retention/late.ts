/**
 * Late rows become units of their own (generation 2, 3, ...) once their range is past its hot period, so that they are
 * held, split and destroyed like any other unit. They never become part of the archive's partitions.
 */
import type { Context } from '../context.ts';
import { AuditkeepError } from '../errors.ts';
import { countOf } from '../plural.ts';
import { isoOf, parseInstant, type UtcInstant } from '../time/clock.ts';
import { subtractPeriod } from '../time/period.ts';
import type { TimeRange } from './bounds.ts';
import type { RetryWindow } from './lock-retry.ts';
import type { FamilyName } from './policy.ts';
import { readPolicyInForce } from './policy-store.ts';
import { recordStep } from './record.ts';
import { translateRefusal } from './refusal.ts';
import { readLateRaw, rollUp } from './rollup.ts';
import { moveInStructure } from './structure.ts';
import { type CollectedLate, collectLate, readLateRanges } from './unit-store.ts';

type LateContext = Pick<Context, 'db' | 'clock' | 'actor'>;

export interface LateRange extends TimeRange {
  readonly table: FamilyName;
  readonly category: string | null;
}

export interface LateOutcome extends LateRange {
  readonly outcome:
    | { readonly kind: 'collected'; readonly relation: string; readonly rows: number }
    | { readonly kind: 'rolled-up'; readonly relation: string; readonly rollUps: number }
    | { readonly kind: 'postponed'; readonly reason: string }
    | { readonly kind: 'failed'; readonly error: unknown };
}

/** The ranges of late rows that are past their branch's hot period (or end by `before`). Changes nothing. */
export async function planLate(
  ctx: Pick<Context, 'db' | 'clock'>,
  scope: { readonly table?: FamilyName | undefined; readonly before?: UtcInstant | undefined } = {},
): Promise<readonly LateRange[]> {
  const { rows, rules } = await ctx.db.withClient(async (client) => ({
    rows: await readLateRanges(client),
    rules: (await readPolicyInForce(client)).policy.rules,
  }));
  return rows.flatMap((row) => {
    const [from, to] = [parseInstant(row.lower_bound), parseInstant(row.upper_bound)];
    const category = row.category === '' ? null : row.category;
    const policy = rules.find((candidate) => candidate.table === row.table_name && candidate.category === category);
    // An adopted partition without an end keeps its late rows in the late table.
    if (policy === undefined || from === null || to === null) return [];
    if (scope.table !== undefined && scope.table !== row.table_name) return [];
    const now = ctx.clock.now();
    const cutoff = scope.before ?? (policy.hot === null ? null : subtractPeriod(now, policy.hot));
    return cutoff !== null && to <= cutoff && to <= now ? [{ table: row.table_name, category, from, to }] : [];
  });
}

/** Collects what planLate lists. One transaction a range; a range's failure never stops the others. */
export async function collectDue(
  ctx: LateContext,
  input: {
    readonly table?: FamilyName | undefined;
    readonly before?: UtcInstant | undefined;
    readonly reason: string;
    readonly window?: RetryWindow | undefined;
    readonly signal?: AbortSignal | undefined;
  },
): Promise<readonly LateOutcome[]> {
  const outcomes: LateOutcome[] = [];
  for (const range of await planLate(ctx, input)) {
    if (input.signal?.aborted === true) break;
    outcomes.push({ ...range, outcome: await collectRange(ctx, range, input) });
  }
  return outcomes;
}

async function collectRange(
  ctx: LateContext,
  range: LateRange,
  input: { readonly reason: string; readonly window?: RetryWindow | undefined },
): Promise<LateOutcome['outcome']> {
  try {
    const collected = await moveInStructure(
      ctx,
      { window: input.window, readsRows: true },
      (client) => collectLate(client, range.table, range.category, range),
      async (client, made) => {
        if (made.relation === null) return;
        await recordStep(ctx, client, 'COLLECT', {
          partition: made.relation,
          details: { reason: input.reason, from: isoOf(range.from), to: isoOf(range.to), rows: made.rows },
        });
      },
    );
    return outcomeOf(collected);
  } catch (cause) {
    return outcomeOfFailure(cause);
  }
}

function outcomeOfFailure(cause: unknown): LateOutcome['outcome'] {
  const error = translateRefusal(cause);
  if (error instanceof AuditkeepError && error.code === 'RETENTION_BUSY') {
    return { kind: 'postponed', reason: error.message };
  }
  return { kind: 'failed', error };
}

/** Hours and days of collected raw metrics, which may not go before. One's failure never stops the others. */
export async function rollUpLate(ctx: LateContext, signal?: AbortSignal): Promise<readonly LateOutcome[]> {
  const outcomes: LateOutcome[] = [];
  for (const unit of await readLateRaw(ctx)) {
    if (signal?.aborted === true) break;
    const range = { table: 'performance_metrics', category: 'minute', from: unit.from, to: unit.to } as const;
    const outcome = await rollUp(ctx, unit, null).then(
      (rollUps): LateOutcome['outcome'] => ({ kind: 'rolled-up', relation: unit.partition, rollUps }),
      outcomeOfFailure,
    );
    outcomes.push({ ...range, outcome });
  }
  return outcomes;
}

function outcomeOf({ relation, rows, unlinked }: CollectedLate): LateOutcome['outcome'] {
  if (relation !== null) return { kind: 'collected', relation, rows };
  const reason =
    unlinked > 0
      ? `${countOf(unlinked, 'late event is', 'late events are')} not linked in the chain yet`
      : 'nothing is late any more';
  return { kind: 'postponed', reason };
}
