/**
 * archive restore --attach: archived units hang below their hot tables again until a day, so that what reads only the hot
 * table finds them. One records manager requests, another approves; both sign the hash of what comes back and until when.
 * Room is made first: the archive lets the partition go and the tombstone in its place gives way, in one transaction. No
 * archival run takes the unit before its time; the first one after it does.
 */
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { canonicalJson } from '../canonical-json.ts';
import type { Context } from '../context.ts';
import { AuditkeepError } from '../errors.ts';
import { decideObject, verifyObject } from '../persons/decide-object.ts';
import { isoOf, toInstant } from '../time/clock.ts';
import { textHash } from './hold.ts';
import type { RetryWindow } from './lock-retry.ts';
import { refusing } from './purge-request.ts';
import { recordStep } from './record.ts';
import { type PlannedRestore, planRestore, type RestoreScope } from './restore.ts';
import { attachUnit, draftRestore, type RestoreRequest, readRestoreRequest, readUnitState } from './restore-store.ts';
import { moveInStructure } from './structure.ts';

type AttachContext = Pick<Context, 'db' | 'clock' | 'actor'>;

/** What to do about a refusal, where the words for destruction would mislead. */
const REQUEST_HINTS = {
  AK102: 'give --days from 1 to 90',
  AK126: 'auditkeep archive restore --dry-run shows its units and what stands in the way',
};
const ATTACH_HINTS = {
  AK109: 'another records manager approves it: auditkeep archive restore --approve ID',
  AK126: 'request it again as it is now: auditkeep archive restore --attach',
  AK127: 'request it again: auditkeep archive restore --attach',
};

const DAY_MS = 24 * 60 * 60 * 1000;

const documentSchema = z.strictObject({
  format: z.literal('auditkeep-attach/v1'),
  restore_id: z.uuid(),
  reason: z.string().min(1),
  until: z.string(),
  units: z.array(
    z.strictObject({
      unit_id: z.int().positive(),
      partition: z.string(),
      from: z.string().nullable(),
      to: z.string(),
      rows: z.int().min(0),
      fingerprint: z.string(),
    }),
  ),
});
type AttachDocument = z.infer<typeof documentSchema>;

export interface AttachRequest {
  readonly restoreId: string;
  readonly sha256: string;
  readonly until: string;
  readonly units: readonly (PlannedRestore & { readonly attach: boolean })[];
}

/**
 * Stores which units of a range are to be attached and signs the request. What lies beside the late table (late units,
 * siblings of a split) has no place among partitions and stays out of it.
 * @throws PLAN_EMPTY, and those of decideObject
 */
export async function requestAttach(
  ctx: AttachContext,
  input: RestoreScope & { readonly days: number; readonly reason: string },
): Promise<AttachRequest> {
  const units = (await planRestore(ctx, input)).map((unit) => ({ ...unit, attach: isAttachable(unit) }));
  const restoreId = randomUUID();
  const until = isoOf(toInstant(ctx.clock.now() + input.days * DAY_MS));
  const document = attachText({ restoreId, until, reason: input.reason, units: units.filter((unit) => unit.attach) });
  const sha256 = textHash(document);
  await refusing(
    () =>
      decideObject(ctx, {
        ...{ kind: 'restore', hash: sha256, meaning: 'request', reason: input.reason },
        id: (client) => draftRestore(client, document),
      }),
    REQUEST_HINTS,
  );
  return { restoreId, sha256, until, units };
}

function isAttachable({ state, generation }: PlannedRestore): boolean {
  return state === 'archived' && generation === 1;
}

function attachText(what: {
  readonly restoreId: string;
  readonly until: string;
  readonly reason: string;
  readonly units: readonly PlannedRestore[];
}): string {
  const units = what.units.flatMap(({ unit_id, partition, from, to, rows, fingerprint }) =>
    to === null || rows === null || fingerprint === null
      ? []
      : [{ unit_id: Number(unit_id), partition, from, to, rows: Number(rows), fingerprint }],
  );
  if (units.length === 0) {
    throw new AuditkeepError('PLAN_EMPTY', {
      message: 'nothing of that range can be attached',
      hint: 'auditkeep archive restore --dry-run shows its units and what stands in the way',
    });
  }
  const document = {
    format: 'auditkeep-attach/v1',
    restore_id: what.restoreId,
    reason: what.reason,
    until: what.until,
  };
  return canonicalJson({ ...document, units });
}

type AttachOutcome =
  | { readonly kind: 'attached'; readonly relation: string; readonly rows: number }
  /** It hangs there already, by an earlier run that was cut short. */
  | { readonly kind: 'there' }
  | { readonly kind: 'failed'; readonly error: unknown };

export interface AttachRun {
  readonly restoreId: string;
  readonly until: string;
  readonly reason: string;
  /** E-mail of the person whose request holds; null where none does. */
  readonly requestedBy: string | null;
  /** What the signed text is of. */
  readonly planned: AttachDocument['units'];
  readonly units: readonly { readonly partition: string; readonly outcome: AttachOutcome }[];
}

/**
 * Signs a request as the second records manager, unless that is done, and attaches its units: one transaction a unit. Cut
 * off anywhere, the same call goes on.
 * @param ctx of the second person; of anybody once both have signed
 * @throws PLAN_UNKNOWN, PLAN_DRIFT, and those of decideObject; never for a unit
 */
export async function approveAttach(
  ctx: AttachContext,
  input: { readonly restoreId: string; readonly dryRun?: boolean; readonly window?: RetryWindow },
): Promise<AttachRun> {
  const { request, document } = await readRequest(ctx, input.restoreId);
  const object = { kind: 'restore', id: request.restore_id, hash: request.sha256 } as const;
  const checked = await ctx.db.withClient((client) => verifyObject(client, object));
  if (checked.approval === null) {
    await refusing(() => decideObject(ctx, { ...object, meaning: 'approve', reason: document.reason }));
  }
  const units: AttachRun['units'][number][] = [];
  for (const { unit_id, partition } of input.dryRun === true ? [] : document.units) {
    const { reason, until } = document;
    const step = { unitId: BigInt(unit_id), restoreId: request.restore_id, reason, until, window: input.window };
    units.push({ partition, outcome: await attachOne(ctx, step) });
  }
  const { until, reason, units: planned } = document;
  return { restoreId: request.restore_id, until, reason, requestedBy: checked.request?.person ?? null, planned, units };
}

async function readRequest(
  ctx: Pick<Context, 'db'>,
  id: string,
): Promise<{ readonly request: RestoreRequest; readonly document: AttachDocument }> {
  const request = await ctx.db.withClient((client) => readRestoreRequest(client, id));
  if (request === null) {
    throw new AuditkeepError('PLAN_UNKNOWN', {
      message: `there is no restore ${id}`,
      hint: 'archive restore --attach prints the id of its request',
    });
  }
  const document = documentSchema.safeParse(JSON.parse(request.document));
  if (document.success && textHash(request.document) === request.sha256) return { request, document: document.data };
  throw new AuditkeepError('PLAN_DRIFT', {
    message: `restore ${id} is not the text that its hash is of`,
    hint: 'find out who changed the database, and make a new request',
  });
}

interface AttachStep {
  readonly unitId: bigint;
  readonly restoreId: string;
  readonly reason: string;
  readonly until: string;
  readonly window?: RetryWindow | undefined;
}

async function attachOne(ctx: AttachContext, step: AttachStep): Promise<AttachOutcome> {
  try {
    const state = await ctx.db.withClient((client) => readUnitState(client, step.unitId));
    if (state === 'sealed') return { kind: 'there' };
    const { relation, rows } = await attach(ctx, step);
    return { kind: 'attached', relation, rows };
  } catch (error) {
    return { kind: 'failed', error };
  }
}

/**
 * archived -> sealed, in one transaction with its event; the database asks for the two signatures itself.
 * @throws RETENTION_NOT_APPROVED, PLAN_WINDOW, PLAN_DRIFT, RETENTION_STATE, RETENTION_BUSY
 */
export function attach(
  ctx: AttachContext,
  { unitId, restoreId, reason, until, window }: AttachStep,
): Promise<{ readonly relation: string; readonly rows: number }> {
  return refusing(
    () =>
      moveInStructure(
        ctx,
        { window },
        (client) => attachUnit(client, unitId, restoreId),
        (client, { relation, rows }) =>
          recordStep(ctx, client, 'ATTACH', {
            partition: relation,
            details: { reason, restore: restoreId, rows, until },
          }),
      ),
    ATTACH_HINTS,
  );
}
