/** Officers say that they know of an act or decision that counts for nothing, so that new findings stand out. */
import type { Context } from '../context.ts';
import { AuditkeepError } from '../errors.ts';
import { changeRegister, type RegisterChanged } from './change.ts';
import { readPayloadHash } from './store.ts';

export interface Acknowledgement {
  /** The sequence of a void act; exactly one of the two is given. */
  readonly act: string | null;
  /** The id of a void decision. */
  readonly decision: string | null;
  readonly reason: string;
  /** Key files of two key officers. */
  readonly officerKeyFiles: readonly string[];
}

/**
 * Acknowledges a void act or decision by a signed act of the register. It stays a finding, marked as acknowledged, and
 * counts for as little as before.
 * @throws USAGE, PERSON_ACT_REFUSED when there is no such row or the act holds, and those of changeRegister
 */
export async function acknowledgeVoid(
  ctx: Pick<Context, 'db' | 'clock' | 'actor'>,
  input: Acknowledgement,
): Promise<RegisterChanged> {
  const { act, decision, reason, officerKeyFiles } = input;
  if ((act === null) === (decision === null)) {
    throw new AuditkeepError('USAGE', {
      message: 'name one act or one decision',
      hint: 'give --act NUMBER or --decision ID',
    });
  }
  const subject = act === null ? 'decision' : 'act';
  const id = (act ?? decision ?? '').trim().toLowerCase();
  const sha256 = await ctx.db.withClient((client) => readPayloadHash(client, subject, id));
  if (sha256 === null) {
    throw new AuditkeepError('PERSON_ACT_REFUSED', {
      message: `there is no ${subject} ${id}`,
      hint: 'see findings with `auditkeep person list` and `auditkeep decision verify`',
    });
  }
  return changeRegister(ctx, {
    changes: [{ kind: 'acknowledge', subject, id, payload_sha256: sha256, reason }],
    officerKeyFiles,
  });
}
