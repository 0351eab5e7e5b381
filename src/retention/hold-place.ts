/**
 * Placing and releasing legal holds.
 *
 *   drafted --request, signed by a legal person--> held
 *   held --release requested, signed--> held --approved, signed by another legal person--> released
 */
import { randomUUID } from 'node:crypto';
import type { Context } from '../context.ts';
import type { SqlClient } from '../db/database.ts';
import { AuditkeepError } from '../errors.ts';
import { decideObject, openVerifier, signingPerson, verifyObject } from '../persons/decide-object.ts';
import { type HoldInput, holdText, releaseText, textHash } from './hold.ts';
import { draftHold, draftRelease, readHeldUnits, readStoredHolds, readTooLate, type StoredHold } from './hold-store.ts';
import { DESTROYED_HINT, translateRefusal } from './refusal.ts';

type HoldContext = Pick<Context, 'db' | 'clock' | 'actor'>;

/** draft: nobody signed it, it holds nothing. */
type HoldState = 'draft' | 'held' | 'release requested' | 'released';

export interface Hold extends StoredHold {
  readonly state: HoldState;
  /** Signatures that do not hold: a hold without one still holds, a release without one does not count. */
  readonly findings: readonly string[];
}

export interface PlacedHold {
  readonly holdId: string;
  readonly sha256: string;
  /** Units that it reaches now. */
  readonly units: readonly string[];
}

/**
 * Places a hold; it counts when this returns. From then on nothing in its scope is destroyed.
 * @throws HOLD_INVALID, HOLD_DESTROYED naming the certificate, and those of decideObject
 */
export async function placeHold(ctx: HoldContext, input: HoldInput): Promise<PlacedHold> {
  signingPerson(ctx);
  const holdId = randomUUID();
  const document = holdText(holdId, input);
  const hash = textHash(document);
  return await refusing(async () => {
    const id = async (client: SqlClient) => {
      await draftHold(client, document);
      // The database says it again when the signature is recorded; said here, nothing is left of the draft.
      const gone = await readTooLate(client, holdId);
      if (gone !== null) throw tooLate(gone);
      return holdId;
    };
    await decideObject(ctx, { kind: 'hold', id, hash, meaning: 'request', reason: input.matter });
    const units = await ctx.db.withClient((client) => readHeldUnits(client, holdId));
    return { holdId, sha256: hash, units: units.map((unit) => unit.relation_name) };
  });
}

/**
 * Requests the release of a hold, or, where another legal person has requested it, approves that: then it is released.
 * @throws HOLD_UNKNOWN, DECISION_STATE, DUTY_SEPARATION, and those of decideObject
 */
export async function releaseHold(
  ctx: HoldContext,
  input: { readonly holdId: string; readonly reason: string },
): Promise<Hold> {
  const { email } = signingPerson(ctx);
  const hold = await findHold(ctx, input.holdId);
  return await refusing(async () => {
    const open = await openRelease(ctx, hold);
    if (open !== null) {
      await decideObject(ctx, {
        kind: 'release',
        id: open.id,
        hash: open.hash,
        meaning: 'approve',
        reason: open.reason,
      });
    } else {
      if (input.reason.trim() === '') throw noReason(email);
      const document = releaseText({
        ...{ id: randomUUID(), holdId: hold.hold_id, holdSha256: hold.sha256, reason: input.reason },
      });
      const id = (client: SqlClient) => draftRelease(client, document);
      const hash = textHash(document);
      await decideObject(ctx, { kind: 'release', id, hash, meaning: 'request', reason: input.reason });
    }
    return findHold(ctx, hold.hold_id);
  });
}

/** The release that waits for its second person and whose request holds. */
async function openRelease(ctx: HoldContext, hold: Hold): Promise<{ id: string; hash: string; reason: string } | null> {
  for (const { release_id: id, sha256: hash, reason, approved } of hold.releases) {
    if (approved) continue;
    const checked = await ctx.db.withClient((client) => verifyObject(client, { kind: 'release', id, hash }));
    if (checked.request !== null) return { id, hash, reason };
  }
  return null;
}

/** Every hold with its state, the oldest first. */
export function listHolds(ctx: Pick<Context, 'db'>): Promise<readonly Hold[]> {
  return ctx.db.withClient(readHolds);
}

/** The hold of an id or of the beginning of one, with the units that it reaches. @throws HOLD_UNKNOWN */
export async function showHold(
  ctx: Pick<Context, 'db'>,
  id: string,
): Promise<Hold & { readonly units: readonly string[] }> {
  const hold = await findHold(ctx, id);
  const units = await ctx.db.withClient((client) => readHeldUnits(client, hold.hold_id));
  return { ...hold, units: units.map((unit) => unit.relation_name) };
}

/** Every hold, its signatures checked against the register. */
export async function readHolds(client: SqlClient): Promise<readonly Hold[]> {
  const holds: Hold[] = [];
  const stored = await readStoredHolds(client);
  if (stored.length === 0) return [];
  const verify = await openVerifier(client);
  for (const hold of stored) holds.push(await judgeHold(verify, hold));
  return holds;
}

async function judgeHold(verify: Awaited<ReturnType<typeof openVerifier>>, stored: StoredHold): Promise<Hold> {
  const findings: string[] = [];
  if (stored.placed_at !== null) {
    const placed = await verify({ kind: 'hold', id: stored.hold_id, hash: stored.sha256 });
    findings.push(...placed.findings);
  }
  let requested = false;
  for (const { release_id: id, sha256: hash } of stored.releases) {
    const release = await verify({ kind: 'release', id, hash });
    requested ||= release.request !== null;
    findings.push(...release.findings);
    if (release.approval !== null) return { ...stored, state: 'released', findings };
  }
  const state = stored.placed_at === null ? 'draft' : requested ? 'release requested' : 'held';
  return { ...stored, state, findings };
}

async function findHold(ctx: Pick<Context, 'db'>, id: string): Promise<Hold> {
  const found = (await listHolds(ctx)).filter((hold) => hold.hold_id.startsWith(id.toLowerCase()));
  const [hold] = found;
  if (hold !== undefined && found.length === 1) return hold;
  throw new AuditkeepError('HOLD_UNKNOWN', {
    message: found.length === 0 ? `there is no hold ${id}` : `${id} is the beginning of ${found.length} holds`,
    hint: 'auditkeep hold list shows them',
  });
}

async function refusing<T>(fn: () => Promise<T>): Promise<T> {
  try {
    return await fn();
  } catch (error) {
    throw translateRefusal(error);
  }
}

function tooLate(gone: { readonly relation_name: string; readonly certificate_id: string }): AuditkeepError {
  return new AuditkeepError('HOLD_DESTROYED', {
    message: `${gone.relation_name} is destroyed under certificate ${gone.certificate_id}`,
    hint: DESTROYED_HINT,
  });
}

function noReason(email: string): AuditkeepError {
  return new AuditkeepError('HOLD_INVALID', {
    message: 'a release needs a reason',
    hint: `say why with --reason; it is signed by ${email}`,
  });
}
