/** Who may read all that is held about a person. */
import type { Context } from '../context.ts';
import { AuditkeepError } from '../errors.ts';
import { hasRole } from '../persons/register.ts';
import { showKey } from '../persons/show-key.ts';
import { isoOf } from '../time/clock.ts';

/**
 * Checks that whoever acts shows a key, and has a role that answers to data subjects: records manager or legal.
 * @throws USAGE without a person and key, ROLE_MISSING, and those of showKey
 */
export async function requireMandate(ctx: Pick<Context, 'db' | 'clock' | 'actor'>): Promise<void> {
  const { actor } = ctx;
  if (actor.kind !== 'person' || actor.keyFile === null) {
    throw new AuditkeepError('USAGE', {
      message: 'the data of a person is exported by somebody who shows their key',
      hint: 'give --as EMAIL and --key FILE',
    });
  }
  const email = actor.email.toLowerCase();
  const { register } = await showKey(ctx, email, actor.keyFile);
  const now = isoOf(ctx.clock.now());
  if (hasRole(register, email, 'records_manager', now) || hasRole(register, email, 'legal', now)) return;
  throw new AuditkeepError('ROLE_MISSING', {
    message: 'only a records manager or legal exports the data of a person',
    hint: 'ask one of them: `auditkeep person list`',
  });
}
