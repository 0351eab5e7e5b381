/**
 * A restored database shows again what is certified as gone. Each destruction of the journal that it does not have is done
 * once more, under the certificate that exists: after its signature by the log's key, the two signatures of its approval and
 * the hash of its plan have been checked again. One transaction a destruction, so a run that is cut off is gone on with.
 */

import { recordEvent } from '../audit/record/record.ts';
import { readLogPublicKey } from '../audit/signer/signer-store.ts';
import type { Context } from '../context.ts';
import { type Database, openDatabase } from '../db/database.ts';
import { isSameDatabase } from '../db/same-database.ts';
import { AuditkeepError } from '../errors.ts';
import { checkObjectDecisions } from '../persons/object-decision.ts';
import { type CheckedRegister, readRegister } from '../persons/read-register.ts';
import { ROLES } from '../schema/roles.ts';
import { isCertificateSigned } from './certificate.ts';
import { type JournalEntry, readJournal } from './destruction-journal.ts';
import { textHash } from './hold.ts';
import type { RetryWindow } from './lock-retry.ts';
import { readCertificate, readPlans } from './purge-store.ts';
import { recordStep } from './record.ts';
import { translateRefusal } from './refusal.ts';
import { type CertifiedPlace, readCertifiedPlace, replayDestruction } from './replay-store.ts';
import { moveInStructure } from './structure.ts';

type ReplayContext = Pick<Context, 'db' | 'clock' | 'actor' | 'config'>;

interface ReplayedPlan {
  readonly document: string;
  readonly actor: string;
  readonly reason: string;
}

/** A destruction that the database does not have. */
export interface MissingDestruction {
  readonly entry: JournalEntry;
  /** What was approved; null where neither journal nor database has it. */
  readonly plan: ReplayedPlan | null;
  /** Why it cannot be done again now; null when it can. */
  readonly blocker: string | null;
}

/**
 * What the journal of this home has and the database has not, in the order of the journal. Changes nothing.
 * @throws CHAIN_SIGNER_STORE when the journal is damaged
 */
export async function planReplay(ctx: Pick<Context, 'db' | 'config'>): Promise<readonly MissingDestruction[]> {
  const journal = await readJournal(ctx.config.home);
  const key = await readLogPublicKey(ctx.config.home);
  return ctx.db.withClient(async (client) => {
    const register = await readRegister(client);
    const missing: MissingDestruction[] = [];
    for (const entry of journal) {
      const { certificate, document, signature } = entry;
      if ((await readCertificate(client, certificate.certificate_id)) !== null) continue;
      const place = await readCertifiedPlace(client, document);
      if (isPurged(place)) continue;
      const [stored] = await readPlans(client, certificate.plan.id);
      const plan = entry.plan ?? stored ?? null;
      const signed = key !== null && isCertificateSigned(document, signature, key);
      const fault = signed ? faultOf(entry, plan, register) : 'it is not signed by the key of the log in this home';
      missing.push({ entry, plan, blocker: fault ?? blockerOf(place) });
    }
    return missing;
  });
}

/** What is wrong with the approval of a destruction, as the register says it now. */
function faultOf({ certificate }: JournalEntry, plan: ReplayedPlan | null, register: CheckedRegister): string | null {
  if (plan === null) return 'its plan is neither in the journal nor in the database';
  if (textHash(plan.document) !== certificate.plan.hash) return 'its plan is not the text that was signed';
  if (certificate.installation_id !== register.installationId) return 'it belongs to another installation';
  if (register.findings.some(({ kind }) => kind !== 'act-void')) return 'the register of persons does not hold';
  const { id, hash } = certificate.plan;
  const object = { installationId: register.installationId, kind: 'plan', id, hash } as const;
  const { approval, findings } = checkObjectDecisions(object, certificate.decisions, register.register);
  return approval === null ? `its approval does not hold: ${findings.join('; ')}` : null;
}

/** Whether a destruction is done, under whichever certificate: what it is of lies purged in its place. */
export function isPurged(place: CertifiedPlace | null): boolean {
  return place?.same === true && place.state === 'purged';
}

function blockerOf(place: CertifiedPlace | null): string | null {
  if (place === null || place.state === 'restored' || place.state === 'expired') {
    return 'its unit is not there: let an archival run collect what is late';
  }
  if (place.state === 'hot') return 'its unit is hot: archive it first';
  if (!place.same) return 'what lies in its place is not what was destroyed: find out who changed it';
  if (place.held) return 'a legal hold reaches it: release the hold first';
  switch (place.state) {
    case 'archived':
    case 'purge_due':
    case 'purge_approved':
    case 'quarantined':
    case 'purging':
      return null;
    case 'sealed':
    case 'failed':
      return `its unit is ${place.state}: archive it first`;
    case 'split':
      return 'its unit was split';
    default:
      return `its unit is ${place.state}`;
  }
}

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
  const db = openOwner(ctx);
  try {
    await refuseElsewhere(ctx, db);
    const done: (MissingDestruction & { outcome: ReplayOutcome })[] = [];
    for (const one of missing) done.push({ ...one, outcome: await replay({ ...ctx, db }, one, input) });
    return done;
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
