/**
 * Erases whole groups (who acted, what was acted on) of sealed events. States of a request:
 *
 *   unknown -- two persons sign; record event and commitments, one transaction --> recorded
 *   recorded -- the sealer links the record event --> sealed
 *   sealed -- audit.erase_recorded nulls the groups, one transaction --> erased
 *
 * A crash between two states is harmless: the same request goes on where it stopped. The record is a leaf before
 * anything is gone, so nothing can be erased that the chain does not tell of.
 */

import type { EventGroup } from '../audit/canonical.ts';
import { ERASURE_EVENT, erasureRoot, erasureText } from '../audit/erase-record.ts';
import { countRecorded, eraseRecorded, readErasable, readUnsealedIds, recordErasure } from '../audit/erase-store.ts';
import { recordEvent } from '../audit/record.ts';
import { sealChain } from '../audit/seal.ts';
import type { Context } from '../context.ts';
import { withSessionLock } from '../db/advisory-lock.ts';
import { sqlStateOf } from '../db/errors.ts';
import { inTransaction, transact } from '../db/transaction.ts';
import { AuditkeepError } from '../errors.ts';
import { NAMESPACES } from '../keys/sshsig.ts';
import { openTwoSigners, signByTwo } from './two-signatures.ts';

const NOT_A_LEAF = 'AK024';
const NOT_SEALED = 'AK025';

export interface EraseInput {
  /** The request that this answers; also what a repeated call goes on with. */
  readonly requestId: string;
  readonly groups: readonly { readonly eventId: string; readonly group: EventGroup }[];
  /** Key files of requester and approver: two persons, each records manager or legal. */
  readonly keyFiles: readonly string[];
}

export interface EraseResult {
  /** Groups that the request recorded, by this call or an earlier one. */
  readonly recorded: number;
  /** Groups that this call nulled, by partition. */
  readonly partitions: readonly { readonly partition: string; readonly erased: number }[];
}

type Erasing = Pick<Context, 'db' | 'clock' | 'actor' | 'log' | 'config'>;

/**
 * Erases groups of events, hot, archived and late alike; durable when it resolves. Groups that are empty, or were
 * recorded by another request, are left out.
 * @throws ERASE_UNSEALED, ERASE_PENDING when a sealer elsewhere is at work, and those of openTwoSigners, signByTwo
 */
export async function eraseEvents(ctx: Erasing, input: EraseInput): Promise<EraseResult> {
  let recorded = await ctx.db.withClient((client) => countRecorded(client, input.requestId));
  if (recorded === 0) recorded = await recordRequest(ctx, input);
  if (recorded === 0) return { recorded, partitions: [] };
  await sealChain(ctx);
  const rows = await ctx.db
    .withClient((client) =>
      withSessionLock(client, 'structure', 'shared', () =>
        transact(client, () => eraseRecorded(client, input.requestId)),
      ),
    )
    .catch((error: unknown) => {
      throw sqlStateOf(error) === NOT_A_LEAF ? pending(error) : error;
    });
  const partitions = rows.map(({ partition, erased }) => ({ partition, erased: Number(erased) }));
  ctx.log.info({ requestId: input.requestId, recorded }, 'chain.erased');
  return { recorded, partitions };
}

async function recordRequest(ctx: Erasing, input: EraseInput): Promise<number> {
  const { signers, groups } = await ctx.db.withClient(async (client) => {
    const [unsealed] = await readUnsealedIds(
      client,
      input.groups.map((entry) => entry.eventId),
    );
    if (unsealed !== undefined) throw notSealed(unsealed);
    return {
      groups: await readErasable(client, input.groups),
      signers: await openTwoSigners(client, {
        keyFiles: input.keyFiles,
        roles: ['records_manager', 'legal'],
      }),
    };
  });
  if (groups.length === 0) return 0;
  const [requester, approver] = signers.keys;
  const payload = erasureText({
    installation_id: signers.installationId,
    request_id: input.requestId.toLowerCase(),
    groups: groups.length,
    root: erasureRoot(groups),
    requester_key: requester.publicKey.fingerprint,
    approver_key: approver.publicKey.fingerprint,
    time: signers.time,
  });
  const record = await signByTwo(signers, NAMESPACES.erasure, payload);
  await inTransaction(ctx.db, async (client) => {
    const recordEventId = await recordEvent(ctx, client, {
      type: ERASURE_EVENT,
      category: 'admin',
      action: 'ERASE',
      resourceType: 'audit_log',
      resourceId: input.requestId,
      details: { ...record },
    });
    await recordErasure(client, { requestId: input.requestId, recordEventId, groups });
  }).catch((error: unknown) => {
    throw sqlStateOf(error) === NOT_SEALED ? notSealed('one of the request', error) : error;
  });
  return groups.length;
}

function notSealed(eventId: string, cause?: unknown): AuditkeepError {
  return new AuditkeepError('ERASE_UNSEALED', {
    message: `the event ${eventId} is not sealed, so nothing could prove what it was`,
    hint: 'run auditkeep chain seal, then ask again; an id may also be wrong',
    cause,
  });
}

function pending(cause: unknown): AuditkeepError {
  return new AuditkeepError('ERASE_PENDING', {
    message: 'the erasure is recorded, but its record is not sealed yet: another sealer is at work',
    hint: 'ask again with the same request id; nothing has to be signed twice',
    cause,
  });
}
