/** Rows of audit_log as the bytes of COPY_EVENTS. */
import type { Keyring } from '../keys/keyring.ts';
import { copyLine } from './copy-text.ts';
import { type EventSealers, sealingClass, storedGroups } from './event-envelope.ts';
import type { EventRow } from './event-row.ts';

/** The lines of a batch. Sealers are asked for only where a row needs one: asking makes the day's key. */
export async function encodeEvents(keys: Keyring, rows: readonly EventRow[]): Promise<Buffer> {
  const sealers = rows.some((row) => sealingClass(row) !== null) ? await openSealers(keys) : null;
  let lines = '';
  for (const row of rows) lines += encodeEvent(row, sealers);
  return Buffer.from(lines, 'utf8');
}

async function openSealers(keys: Keyring): Promise<EventSealers> {
  return { confidential: await keys.sealer('confidential'), secret: await keys.sealer('secret') };
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
