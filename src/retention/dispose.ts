/**
 * The edges around destruction: quarantine, the way back, and the drop. The database asks retention.check_disposal()
 * inside each transaction, so that nothing here can skip an approval or a hold.
 */
import type { Context } from '../context.ts';
import type { SqlClient } from '../db/database.ts';
import { inTransaction } from '../db/transaction.ts';
import { withdrawUnit } from './purge-store.ts';
import { recordStep, type UnitStep } from './record.ts';
import { translateRefusal } from './refusal.ts';
import { type MoveOptions, moveInStructure } from './structure.ts';
import { dropUnit, quarantineUnit, rescueUnit, type Sibling, splitUnit } from './unit-store.ts';

type DisposeContext = Pick<Context, 'db' | 'clock' | 'actor'>;

export interface DisposeInput extends MoveOptions {
  readonly unitId: bigint;
  /** Recorded in the audit event. */
  readonly reason: string;
}

export interface MovedUnit {
  /** `schema.table` where the rows lie now, or lay. */
  readonly relation: string;
  readonly rows: number;
}

/**
 * purge_approved -> quarantined: out of its parent for seven days, still read by verification.
 * @throws RETENTION_NOT_APPROVED, RETENTION_HELD, RETENTION_STATE, RETENTION_BUSY
 */
export function quarantine(ctx: DisposeContext, input: DisposeInput): Promise<MovedUnit> {
  return moved(ctx, input, 'QUARANTINE', (client) => quarantineUnit(client, input.unitId));
}

/** quarantined -> archived: back to where it was; the plan is forgotten. @throws RETENTION_STATE, RETENTION_BUSY */
export function rescue(ctx: DisposeContext, input: DisposeInput): Promise<MovedUnit> {
  return moved(ctx, input, 'RESCUE', (client) => rescueUnit(client, input.unitId));
}

/** purge_due or purge_approved -> archived: it has not left its place; the plan is forgotten. @throws RETENTION_STATE */
export async function withdraw(ctx: DisposeContext, { unitId, reason }: DisposeInput): Promise<void> {
  await translated(
    inTransaction(ctx.db, async (client) => {
      const relation = await withdrawUnit(client, unitId);
      const details = { reason, unit: unitId.toString() };
      await recordStep(ctx, client, 'WITHDRAW', { partition: relation, details });
    }),
  );
}

/**
 * quarantined -> purging, the point of no return: the table is proven to hold what its manifest says, and dropped with its
 * restored copies.
 * @throws RETENTION_NOT_APPROVED, RETENTION_HELD, RETENTION_NOT_YET (less than seven days), RETENTION_DIFFERS
 */
export async function drop(ctx: DisposeContext, input: DisposeInput & { readonly planId: string }): Promise<MovedUnit> {
  return await translated(
    moveInStructure(
      ctx,
      { ...input, readsRows: true },
      (client) => dropUnit(client, input.unitId, input.planId),
      async (client, unit) => {
        for (const copy of unit.copies) {
          await recordStep(ctx, client, 'EXPIRE', { partition: copy, details: { reason: input.reason } });
        }
        await recordMove(ctx, client, 'DROP', input, unit);
      },
    ),
  );
}

async function moved(
  ctx: DisposeContext,
  input: DisposeInput,
  step: UnitStep,
  move: (client: SqlClient) => Promise<MovedUnit>,
): Promise<MovedUnit> {
  return await translated(
    moveInStructure(ctx, input, move, (client, unit) => recordMove(ctx, client, step, input, unit)),
  );
}

function recordMove(
  ctx: DisposeContext,
  client: SqlClient,
  step: UnitStep,
  input: DisposeInput,
  unit: MovedUnit,
): Promise<void> {
  return recordStep(ctx, client, step, {
    partition: unit.relation,
    details: { reason: input.reason, unit: input.unitId.toString(), rows: unit.rows },
  });
}

/**
 * sealed or archived -> split: one unit for each expiry month and set of holds of its rows. No siblings, and nothing
 * done, where all rows belong together.
 * @throws RETENTION_DIFFERS when the siblings would not hold exactly its rows; RETENTION_STATE, RETENTION_BUSY
 */
export async function split(ctx: DisposeContext, input: DisposeInput): Promise<readonly Sibling[]> {
  return await translated(
    moveInStructure(
      ctx,
      { ...input, readsRows: true },
      (client) => splitUnit(client, input.unitId),
      async (client, siblings) => {
        if (siblings.length === 0) return;
        await recordStep(ctx, client, 'SPLIT', {
          partition: `unit ${input.unitId}`,
          details: {
            reason: input.reason,
            siblings: siblings.map(({ relation, rows, keepUntil }) => ({ relation, rows, keepUntil })),
          },
        });
      },
    ),
  );
}

async function translated<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw translateRefusal(error);
  }
}
