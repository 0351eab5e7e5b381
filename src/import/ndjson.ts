/** The generic form of audit events: one JSON object a line, named like the columns. docs/guide/import.md describes it. */
import { z } from 'zod';
import type { UtcInstant } from '../time/clock.ts';
import type { EventRow } from './event-row.ts';
import { externalEventId } from './external-id.ts';
import { fits, isAddress, isVersion, isWord, parseEventTime, parseUuid } from './field.ts';
import { type JsonObject, jsonText } from './json-text.ts';
import { type Reason, RecordRejected } from './rejection.ts';

const TOO_LONG = 'too long';

/** A word of a vocabulary (field.ts says why): these fields stand bare in the chain and must not tell of a person. */
const word = z.string().refine(isWord).optional().nullable();
const text = (max: number) =>
  z
    .string()
    .refine((value) => fits(value, max), TOO_LONG)
    .optional()
    .nullable();
const uuid = z
  .string()
  .refine((value) => parseUuid(value) !== null)
  .transform((value) => value.toLowerCase())
  .optional()
  .nullable();
const json = z.unknown().optional();

const category = z.enum([
  'authentication',
  'authorization',
  'data_access',
  'data_modification',
  'system',
  'security',
  'admin',
]);

/** One event. Unknown fields are refused, so that nothing is dropped in silence. */
const ndjsonEventSchema = z.strictObject({
  /** The event's UUID; or external_id, from which a UUIDv5 is made together with source. */
  id: uuid,
  external_id: z
    .string()
    .min(1)
    .refine((value) => fits(value, 512), TOO_LONG)
    .optional()
    .nullable(),
  /** The system that the event comes from; becomes service_name where that is not given. */
  source: word,
  /** ISO 8601 with a zone; microseconds are kept. */
  event_timestamp: z.unknown().optional(),
  event_type: z.string().refine(isWord),
  event_category: category,
  event_action: z.string().refine(isWord),
  user_id: uuid,
  user_email: text(256),
  user_roles: z.array(z.string()).max(1000).optional().nullable(),
  session_id: uuid,
  ip_address: z.string().refine(isAddress).optional().nullable(),
  user_agent: z.string().optional().nullable(),
  request_id: uuid,
  correlation_id: uuid,
  resource_type: word,
  resource_id: text(128),
  resource_path: text(512),
  /** Any JSON. */
  old_values: json,
  new_values: json,
  security_classification: z.enum(['public', 'internal', 'confidential', 'secret']).optional().nullable(),
  /** sensitive and highly_sensitive: actor and payload are stored encrypted. */
  data_sensitivity: z.enum(['normal', 'sensitive', 'highly_sensitive']).optional().nullable(),
  result: z.enum(['success', 'failure', 'error', 'partial']).optional().nullable(),
  error_message: z.string().optional().nullable(),
  server_name: word,
  service_name: word,
  version: z.string().refine(isVersion).optional().nullable(),
  additional_data: json,
});

type NdjsonEvent = z.output<typeof ndjsonEventSchema>;

const DEFAULT_SOURCE = 'ndjson';

/** One record as a row. @throws RecordRejected with the field at fault */
export function parseNdjsonEvent(record: JsonObject, now: UtcInstant): EventRow {
  const parsed = ndjsonEventSchema.safeParse(record);
  if (!parsed.success) throw rejectionOf(parsed.error);
  const event = parsed.data;
  const time = parseEventTime(event.event_timestamp, now, 'event_timestamp');
  return {
    bare: {
      id: idOf(event),
      instant: time.instant,
      eventTimestamp: time.text,
      eventType: event.event_type,
      eventCategory: event.event_category,
      eventAction: event.event_action,
      requestId: event.request_id ?? null,
      correlationId: event.correlation_id ?? null,
      resourceType: event.resource_type ?? null,
      securityClassification: event.security_classification ?? 'internal',
      dataSensitivity: event.data_sensitivity ?? 'normal',
      result: event.result ?? 'success',
      serverName: event.server_name ?? null,
      serviceName: event.service_name ?? event.source ?? null,
      version: event.version ?? null,
    },
    actor: {
      userId: event.user_id ?? null,
      userEmail: event.user_email ?? null,
      userRoles: event.user_roles ?? null,
      sessionId: event.session_id ?? null,
      ipAddress: event.ip_address ?? null,
      userAgent: event.user_agent ?? null,
    },
    payload: {
      resourceId: event.resource_id ?? null,
      resourcePath: event.resource_path ?? null,
      oldValues: jsonText(event.old_values),
      newValues: jsonText(event.new_values),
      additionalData: jsonText(event.additional_data),
      errorMessage: event.error_message ?? null,
    },
  };
}

function idOf(event: NdjsonEvent): string {
  if (event.id !== undefined && event.id !== null) return event.id;
  if (event.external_id === undefined || event.external_id === null) throw new RecordRejected('FIELD_MISSING', 'id');
  return externalEventId(event.source ?? DEFAULT_SOURCE, event.external_id);
}

/** The first issue as a reason and the schema's own field name; names that the file made up are not repeated. */
export function rejectionOf(error: z.ZodError): RecordRejected {
  const issue = error.issues[0];
  const field = typeof issue?.path[0] === 'string' ? issue.path[0] : null;
  return new RecordRejected(reasonOf(issue), field);
}

function reasonOf(issue: z.core.$ZodIssue | undefined): Reason {
  if (issue?.code === 'unrecognized_keys') return 'FIELD_UNKNOWN';
  if (issue?.code === 'invalid_type' && issue.message.endsWith('received undefined')) return 'FIELD_MISSING';
  return issue?.message === TOO_LONG ? 'FIELD_TOO_LONG' : 'FIELD_INVALID';
}
