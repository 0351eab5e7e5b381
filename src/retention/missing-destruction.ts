/**
 * What the journal of this home has and the database has not: a restored one shows again what is certified as gone. Each is
 * judged: the certificate's signature by the log's key, the two signatures of its approval, the hash of its plan, and what
 * lies in its place.
 */
import { readLogPublicKey } from '../audit/signer/signer-store.ts';
import type { Context } from '../context.ts';
import type { SqlClient } from '../db/database.ts';
import { checkObjectDecisions } from '../persons/object-decision.ts';
import { type CheckedRegister, readRegister } from '../persons/read-register.ts';
import { isCertificateSigned } from './certificate.ts';
import { type JournalEntry, readJournal } from './destruction-journal.ts';
import { textHash } from './hold.ts';
import { readCertificate, readPlans } from './purge-store.ts';
import { type CertifiedPlace, isLeft, type Remains, readCertifiedPlace, readRemains } from './replay-store.ts';

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
  /** Whether the log's key of this home signed it, for this installation. */
  readonly signed: boolean;
  /** What lies in its range and is not destroyed. */
  readonly remains: readonly Remains[];
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
    for (const { entry, place } of await readLacking(client, journal)) {
      const { certificate, document, signature } = entry;
      const [stored] = await readPlans(client, certificate.plan.id);
      const plan = entry.plan ?? stored ?? null;
      const signed = key !== null && isCertificateSigned(document, signature, key);
      const fault = signed ? faultOf(entry, plan, register) : 'it is not signed by the key of the log in this home';
      const remains = await readRemains(client, document);
      const ours = certificate.installation_id === register.installationId;
      missing.push({ entry, plan, blocker: fault ?? blockerOf(place, remains), signed: signed && ours, remains });
    }
    return missing;
  });
}

/** What the database neither has a certificate of nor destroyed under another, and what nobody left. */
export async function readLacking(
  client: SqlClient,
  journal: readonly JournalEntry[],
): Promise<readonly { readonly entry: JournalEntry; readonly place: CertifiedPlace | null }[]> {
  const lacking: { entry: JournalEntry; place: CertifiedPlace | null }[] = [];
  for (const entry of journal) {
    if ((await readCertificate(client, entry.certificate.certificate_id)) !== null) continue;
    const place = await readCertifiedPlace(client, entry.document);
    // Done, under whichever certificate: what it is of lies purged in its place.
    if (place?.same === true && place.state === 'purged') continue;
    if (!(await isLeft(client, entry.document))) lacking.push({ entry, place });
  }
  return lacking;
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

const OTHERWISE = 'or leave it, where the backup is older: --leave with the id';

function blockerOf(place: CertifiedPlace | null, remains: readonly Remains[]): string | null {
  if (place === null || place.state === 'restored' || place.state === 'expired') {
    const open = remains.some(({ state }) => ['late', 'hot', 'sealed', 'failed'].includes(state));
    if (open) return 'its unit is not there: let an archival run collect what is late';
    return `its unit is not there: request a plan that splits what it was part of, ${OTHERWISE}`;
  }
  if (place.state === 'hot') return 'its unit is hot: archive it first';
  if (!place.same) return `what lies in its place is not what was destroyed: find out who changed it, ${OTHERWISE}`;
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
