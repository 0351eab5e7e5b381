/** Who gives a report away: a person who shows their key, and who has the say where it names persons. */
import { readDatabaseTime } from '../../audit/record/erase-store.ts';
import type { Context } from '../../context.ts';
import { AuditkeepError } from '../../errors.ts';
import { hasRole } from '../../persons/register.ts';
import type { Role } from '../../persons/roles.ts';
import { showKey } from '../../persons/show-key.ts';
import type { BundleVariant } from '../parts/bundle-identities.ts';

/** Whoever may open to others who the pseudonyms are. */
const DISCLOSING_ROLES: readonly Role[] = ['approver', 'records_manager', 'legal'];

/**
 * The acting person, who signs now with a key of theirs, and may give this variant away.
 * @throws USAGE without an acting person and key, ROLE_MISSING for a full bundle, and those of showKey
 */
export async function showGiver(
  ctx: Pick<Context, 'db' | 'actor'>,
  variant: BundleVariant,
): Promise<{ readonly email: string; readonly keyFingerprint: string }> {
  const { actor } = ctx;
  if (actor.kind !== 'person' || actor.keyFile === null) {
    throw new AuditkeepError('USAGE', {
      message: `a ${variant} report is given away by a person who shows their key`,
      hint: 'give --as EMAIL and --key FILE',
    });
  }
  const email = actor.email.toLowerCase();
  const { fingerprint, register } = await showKey(ctx, email, actor.keyFile);
  const at = await ctx.db.withClient(readDatabaseTime);
  if (variant === 'full' && !DISCLOSING_ROLES.some((role) => hasRole(register, email, role, at))) {
    throw new AuditkeepError('ROLE_MISSING', {
      message: 'a full bundle names persons: it takes the role approver, records_manager or legal',
      hint: 'let somebody with one of these roles do it, or give the redacted variant',
    });
  }
  return { email, keyFingerprint: fingerprint };
}
