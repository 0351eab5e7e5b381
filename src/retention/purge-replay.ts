/**
 * A restored database shows again what is certified as gone. Each destruction of the journal that it does not have is done
 * once more, under the certificate that exists, or left with a reason, where what lies there is something else. One
 * transaction a destruction, so a run that is cut off is gone on with.
 */
import { recordEvent } from '../audit/record/record.ts';
import type { Context } from '../context.ts';
import { type Database, openDatabase } from '../db/database.ts';
import { isSameDatabase } from '../db/same-database.ts';
import { AuditkeepError } from '../errors.ts';
import { ROLES } from '../schema/roles.ts';
import { textHash } from './hold.ts';
import type { RetryWindow } from './lock-retry.ts';
import { type MissingDestruction, planReplay } from './missing-destruction.ts';
import { recordStep } from './record.ts';
import { translateRefusal } from './refusal.ts';
import { leaveDestruction, replayDestruction } from './replay-store.ts';
import { moveInStructure } from './structure.ts';

type ReplayContext = Pick<Context, 'db' | 'clock' | 'actor' | 'config'>;

export type ReplayOutcome =
  | { readonly kind: 'replayed' }
  | { readonly kind: 'blocked'; readonly blocker: string }
  | { readonly kind: 'failed'; readonly error: unknown };

/**
 * Does again what planReplay lists; durable one by one. One failure never stops the others.
 * @throws USAGE without a login of the owner's role (maintenanceDatabaseUrl); DB_DIFFERS where that login leads to another
 * database; CHAIN_SIGNER_STORE; never for a destruction
 */
export async function replayDestructions(
  ctx: ReplayContext,
  input: { readonly reason: string; readonly window?: RetryWindow },
): Promise<readonly (MissingDestruction & { readonly outcome: ReplayOutcome })[]> {
  const missing = await planReplay(ctx);
  if (missing.length === 0) return [];
  return asOwner(ctx, async (owner) => {
    const done: (MissingDestruction & { outcome: ReplayOutcome })[] = [];
    for (const one of missing) done.push({ ...one, outcome: await replay(owner, one, input) });
    return done;
  });
}

/**
 * Leaves one destruction that cannot be done again, for good unless what was destroyed turns up: what lies in its range goes
 * by new plans alone. Durable with its audit event when it resolves.
 * @param input.certificate its id, or the beginning of one
 * @throws PLAN_UNKNOWN, CERTIFICATE_INVALID, RETENTION_STATE where it can be done again, RETENTION_NOT_YET where rows of its
 * range are not archived yet, and those of replayDestructions
 */
export async function leaveDestructionOf(
  ctx: ReplayContext,
  input: {
    readonly certificate: string;
    readonly reason: string;
    readonly dryRun?: boolean;
    readonly window?: RetryWindow;
  },
): Promise<MissingDestruction> {
  const one = findMissing(await planReplay(ctx), input.certificate);
  if (input.dryRun === true) return one;
  await asOwner(ctx, (owner) => leave(owner, one, input));
  return one;
}

function findMissing(missing: readonly MissingDestruction[], id: string): MissingDestruction {
  const found = missing.filter(({ entry }) => entry.certificate.certificate_id.startsWith(id.toLowerCase()));
  const [one] = found;
  if (one === undefined || found.length > 1) {
    throw new AuditkeepError('PLAN_UNKNOWN', {
      message: `${id} is ${found.length === 0 ? 'no destruction that' : 'the beginning of several that'} the database lacks`,
      hint: 'auditkeep purge replay lists them',
    });
  }
  if (one.signed) return one;
  throw new AuditkeepError('CERTIFICATE_INVALID', {
    message: `certificate ${one.entry.certificate.certificate_id} is not what the log's key of this home signed for this installation`,
    hint: 'find out who changed the journal in the signer folder of this home',
  });
}

const LEAVE_HINTS = {
  AK104: 'auditkeep purge replay --apply destroys it again',
  AK108: 'auditkeep archive run, and again',
};

async function leave(
  ctx: ReplayContext,
  { entry: { certificate, document, signature }, remains }: MissingDestruction,
  { reason, window }: { readonly reason: string; readonly window?: RetryWindow },
): Promise<void> {
  try {
    await moveInStructure(
      ctx,
      { window, readsRows: true },
      (client) => leaveDestruction(client, { document, signature, reason }),
      async (client) => {
        await recordEvent(ctx, client, {
          type: 'purge.left',
          category: 'admin',
          action: 'LEAVE',
          resourceType: 'certificate',
          resourceId: certificate.certificate_id,
          details: {
            ...{ certificateSha256: textHash(document), partition: certificate.unit.partition, reason },
            remains: remains.map(({ relation, state, rows }) => ({ relation, state, rows: Number(rows) })),
          },
        });
      },
    );
  } catch (error) {
    throw translateRefusal(error, LEAVE_HINTS);
  }
}

/** Runs fn with the owner's connection. @throws USAGE, DB_DIFFERS */
async function asOwner<T>(ctx: ReplayContext, fn: (owner: ReplayContext) => Promise<T>): Promise<T> {
  const db = openOwner(ctx);
  try {
    await refuseElsewhere(ctx, db);
    return await fn({ ...ctx, db });
  } finally {
    await db.end();
  }
}

/** The engine may not: the database cannot check a signature, and nothing but signatures allows what follows. */
function openOwner({ config }: ReplayContext): Database {
  const url = config.maintenanceDatabaseUrl;
  if (url !== null)
    return openDatabase({ url, role: ROLES.owner, applicationName: 'auditkeep-replay', maxConnections: 2 });
  throw new AuditkeepError('USAGE', {
    message: 'a replay destroys as the owner of the tables, not as the engine',
    hint: 'give the login of auditkeep_maint in AUDITKEEP_MAINTENANCE_DATABASE_URL',
  });
}

/** What was checked over one connection is destroyed over another. */
async function refuseElsewhere(ctx: ReplayContext, owner: Database): Promise<void> {
  if (await isSameDatabase(ctx.db, owner)) return;
  throw new AuditkeepError('DB_DIFFERS', {
    message: 'the maintenance login leads to another database than DATABASE_URL; nothing was destroyed',
    hint: 'let AUDITKEEP_MAINTENANCE_DATABASE_URL name the same server and database as DATABASE_URL',
  });
}

async function replay(
  ctx: ReplayContext,
  { entry, plan, blocker }: MissingDestruction,
  { reason, window }: { readonly reason: string; readonly window?: RetryWindow },
): Promise<ReplayOutcome> {
  if (blocker !== null || plan === null) return { kind: 'blocked', blocker: blocker ?? 'no plan' };
  const { certificate, document } = entry;
  try {
    await moveInStructure(
      ctx,
      { window, readsRows: true },
      (client) => replayDestruction(client, { entry, plan }),
      async (client, { relation, copies }) => {
        for (const copy of copies) await recordStep(ctx, client, 'EXPIRE', { partition: copy, details: { reason } });
        await recordEvent(ctx, client, {
          type: 'purge.replayed',
          category: 'admin',
          action: 'DESTROY',
          resourceType: 'certificate',
          resourceId: certificate.certificate_id,
          details: { certificateSha256: textHash(document), partition: certificate.unit.partition, relation, reason },
        });
      },
    );
    return { kind: 'replayed' };
  } catch (error) {
    return { kind: 'failed', error: translateRefusal(error) };
  }
}
