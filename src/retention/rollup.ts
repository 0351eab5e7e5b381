/** Hours and days of raw performance metrics, stored and proven before the raw rows may leave. */
import type { Context } from '../context.ts';
import { inTransaction } from '../db/transaction.ts';
import { isoOf, parseInstant, type UtcInstant } from '../time/clock.ts';
import { ensurePartitions } from './partition.ts';
import { recordStep } from './record.ts';
import { actUnderLease, readUnrolled, rollUpUnit } from './unit-store.ts';

type RollUpContext = Pick<Context, 'db' | 'clock' | 'actor'>;

export interface RawUnit {
  readonly unitId: bigint;
  /** As its audit event names it. */
  readonly partition: string;
  /** null of an adopted one without a beginning. */
  readonly from: UtcInstant | null;
  readonly to: UtcInstant;
}

/**
 * Makes places for the hours and days, stores them and proves that they stand for exactly the unit's rows; gives how many
 * were stored, 0 when they were there. Durable when it returns.
 * @param holder the lease under which the caller acts; null: none
 */
export async function rollUp(ctx: RollUpContext, unit: RawUnit, holder: string | null): Promise<number> {
  if (unit.from !== null) await ensurePartitions(ctx, 'performance_metrics', [unit.from], ['hour', 'day']);
  return await inTransaction(ctx.db, async (client) => {
    if (holder !== null) await actUnderLease(client, holder);
    const rollUps = await rollUpUnit(client, unit.unitId);
    if (rollUps > 0) {
      await recordStep(ctx, client, 'ROLLUP', { partition: unit.partition, details: { rollUps, to: isoOf(unit.to) } });
    }
    return rollUps;
  });
}

/** The units of late raw metrics that are not rolled up yet, oldest first; late units have both ends. */
export async function readLateRaw(
  ctx: Pick<Context, 'db'>,
): Promise<readonly (RawUnit & { readonly from: UtcInstant })[]> {
  const rows = await ctx.db.withClient(readUnrolled);
  return rows.flatMap((row) => {
    const [from, to] = [parseInstant(row.lower_bound), parseInstant(row.upper_bound)];
    return from === null || to === null ? [] : [{ unitId: row.unit_id, partition: row.relation_name, from, to }];
  });
}
