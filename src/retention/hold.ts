/** Legal holds as text: what is held, for which matter, by whom. Pure. */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { canonicalJson } from '../canonical-json.ts';
import { AuditkeepError } from '../errors.ts';
import { isoOf, type UtcInstant } from '../time/clock.ts';
import type { FamilyName } from './policy.ts';

const HOLD_FORMAT = 'auditkeep-hold/v1';
const RELEASE_FORMAT = 'auditkeep-hold-release/v1';

/** Which rows: all that is given has to fit a row; nothing given is every row of every table. */
interface HoldScope {
  readonly table?: FamilyName | undefined;
  readonly from?: UtcInstant | undefined;
  readonly to?: UtcInstant | undefined;
  /** An account's id, or an e-mail address. */
  readonly user?: string | undefined;
  readonly resourceType?: string | undefined;
  readonly resourceId?: string | undefined;
  /** Ids of rows. */
  readonly ids?: readonly string[] | undefined;
}

export interface HoldInput extends HoldScope {
  readonly matter: string;
  readonly reason: string;
  readonly custodian: string;
  /** That a part of the scope is destroyed already is known. */
  readonly beyondDestroyed?: boolean;
}

const idsSchema = z.array(z.uuid()).min(1).max(10_000);

/** The canonical text of a hold. @throws HOLD_INVALID for a scope that makes no sense */
export function holdText(id: string, hold: HoldInput): string {
  const { from, to, ids } = hold;
  if (from !== undefined && to !== undefined && from >= to) throw invalid('its time ends before it begins');
  if (hold.resourceId !== undefined && hold.resourceType === undefined) throw invalid('a resource id needs its type');
  if (ids !== undefined && !idsSchema.safeParse(ids).success) throw invalid('ids are 1 to 10,000 UUIDs');
  for (const field of ['matter', 'reason', 'custodian'] as const) {
    if (hold[field].trim() === '') throw invalid(`it has no ${field}`);
  }
  return canonicalJson({
    format: HOLD_FORMAT,
    hold_id: id,
    table: hold.table ?? null,
    from: from === undefined ? null : isoOf(from),
    to: to === undefined ? null : isoOf(to),
    user: hold.user ?? null,
    resource_type: hold.resourceType ?? null,
    resource_id: hold.resourceId ?? null,
    ids: ids === undefined ? null : [...ids].map((entry) => entry.toLowerCase()).sort(),
    matter: hold.matter,
    reason: hold.reason,
    custodian: hold.custodian,
    beyond_destroyed: hold.beyondDestroyed ?? false,
  });
}

/** The canonical text of a release. */
export function releaseText(release: {
  readonly id: string;
  readonly holdId: string;
  readonly holdSha256: string;
  readonly reason: string;
}): string {
  return canonicalJson({
    format: RELEASE_FORMAT,
    release_id: release.id,
    hold_id: release.holdId,
    hold_sha256: release.holdSha256,
    reason: release.reason,
  });
}

/** SHA-256 of a canonical text, hex. */
export function textHash(text: string): string {
  return createHash('sha256').update(text, 'utf8').digest('hex');
}

function invalid(what: string): AuditkeepError {
  return new AuditkeepError('HOLD_INVALID', {
    message: `the hold makes no sense: ${what}`,
    hint: 'auditkeep hold place --help shows what a scope is made of',
  });
}
