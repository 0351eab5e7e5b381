/**
 * Erases whole groups (who acted, what was acted on) of sealed events. States of a request:
 *
 *   unknown -- two persons sign; record event and commitments, one transaction --> recorded
 *   recorded -- the sealer links the record event --> sealed
 *   sealed -- a checkpoint over it is signed, and cosigned where witnesses are configured --> vouched for
 *   vouched for -- audit.erase_recorded nulls the groups, one transaction --> erased
 *   erased -- VACUUM by the maintenance login, which leaves an event that says so --> gone from the disk
 *
 * A crash between two states is harmless: the same request goes on where it stopped. The record is a leaf under a
 * checkpoint before anything is gone, so nothing can be erased that the chain, restored or not, does not tell of. There is no
 * command for it: `subject erase` is to call it once requests of persons concerned are kept.
 */

import type { EventGroup } from '../audit/event/canonical.ts';
import { readLastCheckpoint } from '../audit/links/chain-store.ts';
import { readCoveredSize } from '../audit/publish/covered.ts';
import { signCheckpoint } from '../audit/publish/sign.ts';
import { ERASURE_EVENT, erasureRoot, erasureText, VACUUM_EVENT } from '../audit/record/erase-record.ts';
import {
  countRecorded,
  eraseRecorded,
  readErasable,
  readErasedTables,
  readRecordSeq,
  readUnsealedIds,
  readVacuumResult,
  recordErasure,
} from '../audit/record/erase-store.ts';
import { recordEvent } from '../audit/record/record.ts';
import { sealChain } from '../audit/seal/seal.ts';
import { hasSignerTraces } from '../audit/signer/signer-store.ts';
import type { Context } from '../context.ts';
import { withSessionLock } from '../db/advisory-lock.ts';
import { sqlStateOf } from '../db/errors.ts';
import { inTransaction, transact } from '../db/transaction.ts';
import { vacuumTables } from '../db/vacuum.ts';
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
  /** True when old versions of the rows are gone from the disk too; false: they wait for autovacuum, or for another call. */
  readonly vacuumed: boolean;
}

type Erasing = Pick<Context, 'db' | 'clock' | 'actor' | 'log' | 'config'>;

/**
 * Erases groups of events, hot, archived and late alike; durable when it resolves. Groups that are empty, or were
 * recorded by another request, are left out.
 * @throws ERASE_UNSEALED; ERASE_PENDING while a sealer elsewhere is at work or no checkpoint that counts covers the record;
 * those of sealChain, signCheckpoint, openTwoSigners, signByTwo
 */
export async function eraseEvents(ctx: Erasing, input: EraseInput): Promise<EraseResult> {
  let recorded = await ctx.db.withClient((client) => countRecorded(client, input.requestId));
  if (recorded === 0) recorded = await recordRequest(ctx, input);
  if (recorded === 0) return { recorded, partitions: [], vacuumed: true };
  await sealChain(ctx);
  await requireCovered(ctx, input.requestId);
  const rows = await ctx.db
    .withClient((client) =>
      withSessionLock(client, 'structure', 'shared', () =>
        transact(client, () => eraseRecorded(client, input.requestId)),
      ),
    )
    .catch((error: unknown) => {
      throw sqlStateOf(error) === NOT_A_LEAF ? pending('is not under a checkpoint yet', error) : error;
    });
  const partitions = rows.map(({ partition, erased }) => ({ partition, erased: Number(erased) }));
  const vacuumed = await vacuumErased(ctx, input.requestId);
  ctx.log.info({ requestId: input.requestId, recorded, vacuumed }, 'chain.erased');
  return { recorded, partitions, vacuumed };
}

/** Has a checkpoint signed over the record where this home signs; elsewhere the worker's next one has to do. */
async function requireCovered(ctx: Erasing, requestId: string): Promise<void> {
  const seq = await ctx.db.withClient((client) => readRecordSeq(client, requestId));
  if (seq === null) throw pending('is not sealed yet: another sealer is at work');
  const isCovered = () => ctx.db.withClient(async (client) => seq < (await readCoveredSize(client, ctx.config)));
  if (await isCovered()) return;
  const last = await ctx.db.withClient(readLastCheckpoint);
  if (last === null || (await hasSignerTraces(ctx.config.home))) {
    await signCheckpoint(ctx);
    if (await isCovered()) return;
  }
  throw pending(
    ctx.config.witnesses.length > 0
      ? 'is not in a checkpoint that enough witnesses have cosigned'
      : 'is not in a signed checkpoint yet',
  );
}

/** Takes the old versions of the rows off the disk, once, and leaves an event that tells whether they are gone. */
async function vacuumErased(ctx: Erasing, requestId: string): Promise<boolean> {
  const url = ctx.config.maintenanceDatabaseUrl;
  const told = await ctx.db.withClient((client) => readVacuumResult(client, requestId));
  if (told === 'success' || (told !== null && url === null)) return told === 'success';
  const tables = await ctx.db.withClient((client) => readErasedTables(client, requestId));
  const done =
    url === null
      ? tables.map((place) => ({ ...place, left: 'no maintenance login is configured: waits for autovacuum' }))
      : await vacuumTables(ctx.db, url, tables);
  const left = done.filter((place) => place.left !== null);
  for (const place of left) ctx.log.warn({ requestId, ...place }, 'chain.erasure.left-on-disk');
  await inTransaction(ctx.db, (client) =>
    recordEvent(ctx, client, {
      type: VACUUM_EVENT,
      category: 'admin',
      action: 'VACUUM',
      resourceType: 'audit_log',
      resourceId: requestId,
      result: left.length === 0 ? 'success' : 'partial',
      details: { tables: done.map(({ schema, table, left: why }) => ({ table: `${schema}.${table}`, left: why })) },
    }),
  );
  return left.length === 0;
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

function pending(why: string, cause?: unknown): AuditkeepError {
  return new AuditkeepError('ERASE_PENDING', {
    message: `the erasure is recorded, but its record ${why}`,
    hint: 'nothing is erased yet; ask again with the same request id: nothing has to be signed twice',
    cause,
  });
}
