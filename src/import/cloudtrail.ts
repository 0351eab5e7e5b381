/** AWS CloudTrail records to rows of audit_log. README.md of this folder has the mapping as a table. */
import type { UtcInstant } from '../time/clock.ts';
import { categoryOf } from './cloudtrail-category.ts';
import type { ActorColumns, BareColumns, EventRow, PayloadColumns } from './event-row.ts';
import { externalEventId } from './external-id.ts';
import { fits, isAddress, isVersion, parseEventTime, parseUuid, requireWord } from './field.ts';
import { isObject, type JsonObject, jsonText } from './json-text.ts';
import { RecordRejected } from './rejection.ts';

const SERVICE_NAME = 'aws-cloudtrail';
const MAX_EXTERNAL_ID = 512;

/**
 * One record as a row.
 * @throws RecordRejected with the CloudTrail field at fault
 */
export function parseCloudtrailRecord(record: JsonObject, now: UtcInstant): EventRow {
  const identity = isObject(record['userIdentity']) ? record['userIdentity'] : {};
  const address = textOf(record['sourceIPAddress']);
  const ipAddress = address !== null && isAddress(address) ? address : null;
  const requestId = parseUuid(record['requestID']);
  const actor = actorOf(record, identity, ipAddress);
  return {
    bare: bareOf(record, identity, requestId, now),
    actor,
    payload: payloadOf(record, identity, { isAddress: ipAddress !== null, isRequestUuid: requestId !== null }),
  };
}

function bareOf(record: JsonObject, identity: JsonObject, requestId: string | null, now: UtcInstant): BareColumns {
  const source = requireWord(record['eventSource'], 'eventSource');
  const name = requireWord(record['eventName'], 'eventName');
  const type = requireWord(record['eventType'], 'eventType');
  const time = parseEventTime(record['eventTime'], now, 'eventTime');
  const version = textOf(record['eventVersion']);
  return {
    id: idOf(record['eventID']),
    instant: time.instant,
    eventTimestamp: time.text,
    eventType: type,
    eventCategory: categoryOf({
      source,
      name,
      type,
      readOnly: record['readOnly'] === true || record['readOnly'] === 'true',
      errorCode: textOf(record['errorCode']),
      byService: identity['type'] === 'AWSService',
    }),
    eventAction: name,
    requestId,
    correlationId: parseUuid(record['sharedEventID']),
    resourceType: source,
    securityClassification: 'internal',
    dataSensitivity: 'normal',
    result: hasFailed(record) ? 'failure' : 'success',
    serverName: null,
    serviceName: SERVICE_NAME,
    version: version !== null && isVersion(version) ? version : null,
  };
}

function idOf(value: unknown): string {
  const external = textOf(value);
  if (external === null) throw new RecordRejected('FIELD_MISSING', 'eventID');
  if (external.length > MAX_EXTERNAL_ID) throw new RecordRejected('FIELD_TOO_LONG', 'eventID');
  return parseUuid(external) ?? externalEventId(SERVICE_NAME, external);
}

/** A failed console sign-in has no errorCode: its response element says so (CloudTrail guide, console sign-in events). */
function hasFailed(record: JsonObject): boolean {
  const response = record['responseElements'];
  return textOf(record['errorCode']) !== null || (isObject(response) && response['ConsoleLogin'] === 'Failure');
}

/**
 * The principal's name goes to user_email, the one column for a name of the actor; an ARN can have 2,048 characters and
 * the column 256, so a longer one stands whole at the end of user_roles, after the identity type and the assumed role.
 */
function actorOf(record: JsonObject, identity: JsonObject, ipAddress: string | null): ActorColumns {
  const type = textOf(identity['type']);
  const principal = textOf(identity['arn']) ?? textOf(identity['invokedBy']) ?? type;
  const isShort = principal !== null && fits(principal, 256);
  const roles = [type, assumedRole(identity), isShort ? null : principal].filter((role) => role !== null);
  return {
    userId: null,
    userEmail: isShort ? principal : null,
    userRoles: roles.length === 0 ? null : roles,
    sessionId: null,
    ipAddress,
    userAgent: textOf(record['userAgent']),
  };
}

function assumedRole(identity: JsonObject): string | null {
  const context = identity['sessionContext'];
  const issuer = isObject(context) ? context['sessionIssuer'] : null;
  return isObject(issuer) ? textOf(issuer['arn']) : null;
}

/** Fields of a record that have columns of their own; all others go to additional_data as they are. */
const PLACED = new Set([
  'eventID',
  'eventTime',
  'eventName',
  'eventSource',
  'eventType',
  'eventVersion',
  'userAgent',
  'errorMessage',
  'userIdentity',
]);

function payloadOf(
  record: JsonObject,
  identity: JsonObject,
  placed: { readonly isAddress: boolean; readonly isRequestUuid: boolean },
): PayloadColumns {
  const isRead = record['readOnly'] === true || record['readOnly'] === 'true';
  const rest = Object.entries(record).filter(([key, value]) => {
    if (value === null || PLACED.has(key)) return false;
    if (key === 'sourceIPAddress') return !placed.isAddress;
    if (key === 'requestID') return !placed.isRequestUuid;
    return key !== 'requestParameters' || isRead;
  });
  // What identifies the actor stays in the actor's group; the rest of userIdentity tells of session and account.
  const identityRest = Object.entries(identity).filter(([key]) => key !== 'arn' && key !== 'type');
  if (identityRest.length > 0) rest.push(['userIdentity', Object.fromEntries(identityRest)]);
  const path = resourcePath(record['resources']);
  return {
    resourceId: null,
    resourcePath: path !== null && fits(path, 512) ? path : null,
    oldValues: null,
    newValues: isRead ? null : jsonText(record['requestParameters']),
    additionalData: jsonText(Object.fromEntries(rest)),
    errorMessage: textOf(record['errorMessage']),
  };
}

/** The ARN of the first resource; all of them are in additional_data. */
function resourcePath(resources: unknown): string | null {
  const first: unknown = Array.isArray(resources) ? resources[0] : null;
  return isObject(first) ? textOf(first['ARN']) : null;
}

function textOf(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null;
}
