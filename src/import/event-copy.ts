/** Rows of audit_log as the bytes of COPY_EVENTS. */
import type { Keyring } from '../keys/keyring.ts';
import { copyLine } from './copy-text.ts';
import { type EventSealers, sealingClass, storedGroups } from './event-envelope.ts';
import type { EventRow } from './event-row.ts';

/**
 * The sealers that rows need, or null where none does: asking makes the day's key, on a connection of its own, so ask
 * before taking one.
 */
export async function openSealers(keys: Keyring, rows: readonly EventRow[]): Promise<EventSealers | null> {
  if (rows.every((row) => sealingClass(row) === null)) return null;
  const cells = 2 * rows.length; // a row has two sealed groups at most
  return { confidential: await keys.sealer('confidential', cells), secret: await keys.sealer('secret', cells) };
}

/** The lines of a batch. */
export function encodeEvents(rows: readonly EventRow[], sealers: EventSealers | null): Buffer {
  let lines = '';
  for (const row of rows) lines += encodeEvent(row, sealers);
  return Buffer.from(lines, 'utf8');
}

/** In the order of COPY_EVENTS. */
function encodeEvent(row: EventRow, sealers: EventSealers | null): string {
  const { bare } = row;
  const { actor, payload, actorEnvelope, payloadEnvelope } = storedGroups(row, sealers);
  return copyLine([
    bare.id,
    bare.eventTimestamp,
    bare.eventType,
    bare.eventCategory,
    bare.eventAction,
    actor.userId,
    actor.userEmail,
    actor.userRoles,
    actor.sessionId,
    actor.ipAddress,
    actor.userAgent,
    bare.requestId,
    bare.correlationId,
    bare.resourceType,
    payload.resourceId,
    payload.resourcePath,
    payload.oldValues,
    payload.newValues,
    bare.securityClassification,
    bare.dataSensitivity,
    bare.result,
    payload.errorMessage,
    bare.serverName,
    bare.serviceName,
    bare.version,
    payload.additionalData,
    actorEnvelope,
    payloadEnvelope,
  ]);
}
