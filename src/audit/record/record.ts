/** What the engine does to data, recorded as an audit event in the transaction that does it. */
import { randomUUID } from 'node:crypto';
import type { JsonValue } from '../../canonical-json.ts';
import type { Actor, Context } from '../../context.ts';
import type { SqlClient } from '../../db/database.ts';
import { isoOf } from '../../time/clock.ts';
import { insertEvent } from './store.ts';

export type EventCategory =
  | 'authentication'
  | 'authorization'
  | 'data_access'
  | 'data_modification'
  | 'system'
  | 'security'
  | 'admin';

export type EventResult = 'success' | 'failure' | 'error' | 'partial';

export interface EngineEvent {
  /** Closed vocabulary, at most 64 characters: `partition.archived`. Stays bare in the leaf: never personal data. */
  readonly type: string;
  readonly category: EventCategory;
  /** Closed vocabulary, at most 64 characters: `ARCHIVE`. */
  readonly action: string;
  /** The kind of thing acted on, closed vocabulary, at most 64 characters: `partition`. */
  readonly resourceType: string;
  /** Which one, at most 128 characters. */
  readonly resourceId?: string;
  readonly result?: EventResult;
  /** Ids, reasons and counts; never personal data. */
  readonly details: { readonly [key: string]: JsonValue };
}

/** The name that the engine's own events carry in service_name. */
export const SERVICE_NAME = 'auditkeep';

/**
 * Writes one audit event on the caller's connection, so that it commits or rolls back with the change it tells of.
 * The id is drawn here and not returned by the database, because a row whose range is archived is diverted to
 * audit.audit_log_late and leaves RETURNING empty.
 * @returns the event's id
 */
export async function recordEvent(
  ctx: Pick<Context, 'clock' | 'actor'>,
  client: SqlClient,
  event: EngineEvent,
): Promise<string> {
  const id = randomUUID();
  await insertEvent(client, {
    id,
    eventTimestamp: isoOf(ctx.clock.now()),
    eventType: event.type,
    eventCategory: event.category,
    eventAction: event.action,
    userEmail: ctx.actor.kind === 'person' ? ctx.actor.email : null,
    resourceType: event.resourceType,
    resourceId: event.resourceId ?? null,
    result: event.result ?? 'success',
    serviceName: serviceOf(ctx.actor),
    additionalData: JSON.stringify(event.details),
  });
  return id;
}

function serviceOf(actor: Actor): string {
  return actor.kind === 'service' ? actor.name : SERVICE_NAME;
}
