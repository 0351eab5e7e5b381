/**
 * Events that are declared sensitive carry one envelope per personal group in place of the group's plain columns
 * (keys-and-privacy, "Columns"). What is sealed is the group's framed columns in the order of audit-event/v1, without
 * the envelope column itself.
 */
import { frameFields } from '../audit/event/canonical.ts';
import type { CellContext, DataClass } from '../keys/keyring.ts';
import type { ActorColumns, EventRow, PayloadColumns } from './event-row.ts';

type Sealer = (context: CellContext, plaintext: Uint8Array) => string;
export type EventSealers = { readonly [K in Extract<DataClass, 'confidential' | 'secret'>]: Sealer };

/** The logical table of the envelopes' context: the same in hot, archive and late. */
const EVENT_TABLE = 'audit.audit_log';

/** The group columns of a row as they are stored. */
export interface StoredGroups {
  readonly actor: ActorColumns;
  readonly payload: PayloadColumns;
  readonly actorEnvelope: string | null;
  readonly payloadEnvelope: string | null;
}

const NO_ACTOR: ActorColumns = {
  userId: null,
  userEmail: null,
  userRoles: null,
  sessionId: null,
  ipAddress: null,
  userAgent: null,
};
const NO_PAYLOAD: PayloadColumns = {
  resourceId: null,
  resourcePath: null,
  oldValues: null,
  newValues: null,
  additionalData: null,
  errorMessage: null,
};

/** The data class whose key seals the groups of an event; null where they stay plain. */
export function sealingClass(row: EventRow): 'confidential' | 'secret' | null {
  if (row.bare.dataSensitivity === 'normal') return null;
  return row.bare.dataSensitivity === 'sensitive' ? 'confidential' : 'secret';
}

/** The groups as stored: plain, or sealed for a sensitive event; an empty group needs no envelope. */
export function storedGroups(row: EventRow, sealers: EventSealers | null): StoredGroups {
  const dataClass = sealingClass(row);
  if (dataClass === null) return { actor: row.actor, payload: row.payload, actorEnvelope: null, payloadEnvelope: null };
  if (sealers === null) throw new Error('a sensitive event without sealers');
  const seal = (column: string, fields: readonly (Uint8Array | null)[]) =>
    fields.every((field) => field === null)
      ? null
      : sealers[dataClass]({ table: EVENT_TABLE, column, rowId: row.bare.id, dataClass }, frameFields(fields));
  return {
    actor: NO_ACTOR,
    payload: NO_PAYLOAD,
    actorEnvelope: seal('actor_envelope', actorFields(row.actor)),
    payloadEnvelope: seal('payload_envelope', payloadFields(row.payload)),
  };
}

function actorFields(actor: ActorColumns): (Uint8Array | null)[] {
  return [
    uuidBytes(actor.userId),
    textBytes(actor.userEmail),
    textBytes(actor.userRoles === null ? null : `[${actor.userRoles.map((role) => JSON.stringify(role)).join(', ')}]`),
    uuidBytes(actor.sessionId),
    textBytes(actor.ipAddress === null ? null : withMask(actor.ipAddress)),
    textBytes(actor.userAgent),
  ];
}

function payloadFields(payload: PayloadColumns): (Uint8Array | null)[] {
  return [
    payload.resourceId,
    payload.resourcePath,
    payload.oldValues,
    payload.newValues,
    payload.additionalData,
    payload.errorMessage,
  ].map(textBytes);
}

/** As inet::text writes a host. */
function withMask(address: string): string {
  return `${address}/${address.includes(':') ? 128 : 32}`;
}

function textBytes(text: string | null): Uint8Array | null {
  return text === null ? null : Buffer.from(text, 'utf8');
}

function uuidBytes(uuid: string | null): Uint8Array | null {
  return uuid === null ? null : Buffer.from(uuid.replaceAll('-', ''), 'hex');
}
