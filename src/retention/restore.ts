/**
 * A range comes back: each archived unit of it is copied into a table of its own (`quarantine.restored_...`), proven in the
 * same transaction to hold what the manifest says, and dropped when its time is over. The unit stays where it is, so nothing
 * is counted twice: no view, report, hold or verification reads copies. Erasure and destruction reach them.
 */
import type { Context } from '../context.ts';
import { AuditkeepError } from '../errors.ts';
import type { UtcInstant } from '../time/clock.ts';
import type { RetryWindow } from './lock-retry.ts';
import type { FamilyName } from './policy.ts';
import { recordStep } from './record.ts';
import { translateRefusal } from './refusal.ts';
import {
  expireCopy,
  type RestorableUnit,
  type RestoredCopy,
  readExpiredCopies,
  readRestorable,
  restoreUnit,
} from './restore-store.ts';
import { moveInStructure } from './structure.ts';

type RestoreContext = Pick<Context, 'db' | 'clock' | 'actor'>;

export interface RestoreScope {
  readonly table: FamilyName;
  /** One list value of the table; all when left out. */
  readonly category?: string | undefined;
  /** Units that overlap [from, to). */
  readonly from: UtcInstant;
  readonly to: UtcInstant;
}

/** Why a unit cannot come back; null when it can. */
type RestoreBlocker = 'not-archived' | 'leaving' | 'destroyed' | 'failed-before' | 'restored-already';

export interface PlannedRestore extends RestorableUnit {
  readonly blocker: RestoreBlocker | null;
}

/** What of a range can come back, oldest first. Changes nothing. */
export async function planRestore(ctx: Pick<Context, 'db'>, scope: RestoreScope): Promise<readonly PlannedRestore[]> {
  if (scope.from >= scope.to) {
    throw new AuditkeepError('INPUT_INVALID', {
      message: 'the range ends before it begins',
      hint: 'give --from and --to as 2024-01-01; --to is exclusive',
    });
  }
  const { table, category = null, from, to } = scope;
  const units = await ctx.db.withClient((client) => readRestorable(client, { table, category, from, to }));
  return units.map((unit) => ({ ...unit, blocker: blockerOf(unit) }));
}

function blockerOf({ state, copy }: RestorableUnit): RestoreBlocker | null {
  switch (state) {
    case 'archived':
      return copy === null ? null : 'restored-already';
    case 'hot':
    case 'sealed':
      return 'not-archived';
    case 'purging':
    case 'purged':
      return 'destroyed';
    case 'failed':
      return 'failed-before';
    default:
      return 'leaving';
  }
}

export interface RestoreInput extends RestoreScope {
  /** How long the copies are kept, 1 to 90. */
  readonly days: number;
  /** Recorded in each copy's audit event. */
  readonly reason: string;
  readonly window?: RetryWindow;
}

export type RestoreOutcome =
  | { readonly kind: 'restored'; readonly copy: RestoredCopy }
  | { readonly kind: 'blocked'; readonly blocker: RestoreBlocker }
  | { readonly kind: 'failed'; readonly error: unknown };

/**
 * Copies what planRestore says can come back. Each copy is one transaction with its audit event; one unit's failure never
 * stops the others and is in its outcome.
 */
export async function restoreRange(
  ctx: RestoreContext,
  input: RestoreInput,
): Promise<readonly (PlannedRestore & { readonly outcome: RestoreOutcome })[]> {
  const restored: (PlannedRestore & { outcome: RestoreOutcome })[] = [];
  for (const unit of await planRestore(ctx, input)) {
    restored.push({ ...unit, outcome: await restoreOne(ctx, unit, input) });
  }
  return restored;
}

async function restoreOne(ctx: RestoreContext, unit: PlannedRestore, input: RestoreInput): Promise<RestoreOutcome> {
  if (unit.blocker !== null) return { kind: 'blocked', blocker: unit.blocker };
  try {
    const copy = await moveInStructure(
      ctx,
      // Shared: no reader of all places sees a copy, but no mover may take away what is being copied.
      { window: input.window, readsRows: true, mode: 'shared' },
      (client) => restoreUnit(client, unit.unit_id, input.days),
      (client, { relation, rows, fingerprint, expiresAt }) =>
        recordStep(ctx, client, 'RESTORE', {
          partition: relation,
          details: { reason: input.reason, of: unit.partition, rows, fingerprint, expiresAt },
        }),
    );
    return { kind: 'restored', copy };
  } catch (error) {
    return { kind: 'failed', error: translateRefusal(error) };
  }
}

/**
 * Drops every copy whose time is over, each in a transaction with its audit event. One that a reader keeps stops no other.
 * @returns how many
 * @throws RETENTION_BUSY when all that is left is read by somebody, RETENTION_FAILED otherwise; after the last copy
 */
export async function expireCopies(
  ctx: RestoreContext,
  input: { readonly signal?: AbortSignal; readonly window?: RetryWindow } = {},
): Promise<number> {
  let expired = 0;
  const failures: unknown[] = [];
  for (const unitId of await ctx.db.withClient(readExpiredCopies)) {
    if (input.signal?.aborted === true) break;
    try {
      await expireOne(ctx, unitId, input.window);
      expired += 1;
    } catch (error) {
      failures.push(translateRefusal(error));
    }
  }
  if (failures.length > 0) throw leftOver(failures, expired);
  return expired;
}

/** Exclusively: an erasure lists the copies and then goes through them. */
async function expireOne(ctx: RestoreContext, unitId: bigint, window: RetryWindow | undefined): Promise<void> {
  await moveInStructure(
    ctx,
    { window, readsRows: true },
    (client) => expireCopy(client, unitId),
    (client, relation) =>
      recordStep(ctx, client, 'EXPIRE', { partition: relation, details: { reason: 'its time is over' } }),
  );
}

function leftOver(failures: readonly unknown[], expired: number): AuditkeepError {
  const isBusy = failures.every((error) => error instanceof AuditkeepError && error.code === 'RETENTION_BUSY');
  return new AuditkeepError(isBusy ? 'RETENTION_BUSY' : 'RETENTION_FAILED', {
    message: `${failures.length} of ${failures.length + expired} restored copies could not be dropped`,
    hint: isBusy ? 'somebody reads them; the next run tries again' : 'auditkeep archive list shows them',
    details: { expired, left: failures.length },
    cause: failures[0],
  });
}
