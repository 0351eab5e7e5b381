/** How far ahead partitions exist, and the alarm when one branch runs short: beyond the last one inserts fail. */
import { z } from 'zod';
import type { Context } from '../context.ts';
import type { SqlClient } from '../db/database.ts';
import { execute, queryOne } from '../db/query.ts';
import { inTransaction } from '../db/transaction.ts';
import { countOf } from '../plural.ts';
import { isoOf, type UtcInstant } from '../time/clock.ts';
import { addPeriod } from '../time/period.ts';
import type { BranchFacts } from './facts.ts';
import { type BranchPolicy, branchLabel } from './policy.ts';
import { readPolicyInForce } from './policy-store.ts';
import { readBranches } from './store.ts';

export interface ShortHorizon {
  readonly branch: string;
  /** Where the last partition ends; null: there is none. */
  readonly until: UtcInstant | null;
}

/** The branches whose partitions end within one more step of their calendar. Pure. */
export function shortHorizons(
  rules: readonly BranchPolicy[],
  branches: readonly BranchFacts[],
  now: UtcInstant,
): readonly ShortHorizon[] {
  return rules.flatMap((rule) => {
    const facts = branches.find((branch) => branch.table === rule.table && branch.category === rule.category);
    const last = facts?.leaves.at(-1);
    // A partition without an end takes everything.
    if (last !== undefined && last.to === null) return [];
    const until = last === undefined || last.tombstone ? null : last.to;
    const threshold = addPeriod(now, { unit: rule.interval, count: 1 });
    return until !== null && until >= threshold ? [] : [{ branch: branchLabel(rule), until }];
  });
}

/**
 * Writes a security event where branches run short, at most one an hour; gives them.
 */
export function raiseHorizonAlarm(ctx: Pick<Context, 'db' | 'clock'>): Promise<readonly ShortHorizon[]> {
  return inTransaction(ctx.db, async (client) => {
    const { policy } = await readPolicyInForce(client);
    const short = shortHorizons(policy.rules, await readBranches(client), ctx.clock.now());
    if (short.length > 0 && !(await wasRaised(client, isoOf(ctx.clock.now())))) {
      await insertAlarm(client, isoOf(ctx.clock.now()), short);
    }
    return short;
  });
}

async function wasRaised(client: SqlClient, now: string): Promise<boolean> {
  const { raised } = await queryOne(
    client,
    z.object({ raised: z.boolean() }),
    `select exists (select from audit.security_events_log e where e.event_type = 'partition_horizon_short'
        and e.event_timestamp > $1::timestamptz - interval '1 hour' and e.event_timestamp <= $1::timestamptz) as raised`,
    [now],
  );
  return raised;
}

async function insertAlarm(client: SqlClient, now: string, short: readonly ShortHorizon[]): Promise<void> {
  const context = short.map(({ branch, until }) => ({ branch, until: until === null ? null : isoOf(until) }));
  await execute(
    client,
    `insert into audit.security_events_log (event_type, severity, category, event_description, source_service,
        source_component, event_timestamp, additional_context)
     values ('partition_horizon_short', 'high', 'anomaly', $2::text, 'auditkeep', 'retention', $1::timestamptz, $3::jsonb)`,
    [
      now,
      `${countOf(short.length, 'table has', 'tables have')} no partition for the step after this one; inserts will fail`,
      JSON.stringify({ branches: context }),
    ],
  );
}
