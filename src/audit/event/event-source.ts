/**
 * Events as PostgreSQL sends them for hashing: the cast list of audit-event/v1, read by COPY ... BINARY so that the
 * canonical bytes (microseconds, jsonb and inet text, UTF-8) are the server's own.
 */

import type { Tuple, TupleShape, TupleSource } from '../copy/tuples.ts';
import { ACTOR_COLUMNS, BARE_COLUMNS, type EventFields, PAYLOAD_COLUMNS } from './canonical.ts';

/** One row of audit_log, its archive or late table. */
export interface EventRow extends EventFields {
  /** 16 bytes. */
  readonly id: Buffer;
  /** int64 big-endian microseconds since 2000-01-01 UTC. */
  readonly timestamp: Buffer;
  readonly txid: bigint;
  readonly hashVersion: number;
  /** True when one of the row's own hash columns is filled; in the sealed profile none is. */
  readonly hasOwnHash: boolean;
  /** The oid of the partition that the row lies in. */
  readonly partition: number;
}

const UUID_OR_TIME: ReadonlySet<string> = new Set([
  'id',
  'event_timestamp',
  'request_id',
  'correlation_id',
  'user_id',
  'session_id',
]);

const COLUMNS = [
  ...BARE_COLUMNS,
  'actor_salt',
  ...ACTOR_COLUMNS,
  'payload_salt',
  ...PAYLOAD_COLUMNS,
  'txid',
  'hash_version',
] as const;

/** Fields of a tuple of eventTuples, by number; the id is 0, the timestamp 1. */
export const ACTOR_SALT = BARE_COLUMNS.length;
export const PAYLOAD_SALT = ACTOR_SALT + 1 + ACTOR_COLUMNS.length;
export const TXID = PAYLOAD_SALT + 1 + PAYLOAD_COLUMNS.length;
export const HASH_VERSION = TXID + 1;
export const OWN_HASH = TXID + 2;
const PARTITION = OWN_HASH + 1;

/** The raw columns, to be selected from a table (alias e) inside, before casts and ordering. */
export const RAW_EVENT_COLUMNS = [
  ...COLUMNS.map((column) => `e.${column}`),
  '(e.event_hash is not null or e.previous_event_hash is not null) as own_hash',
  'e.tableoid as partition',
].join(', ');

const CAST_LIST = [...COLUMNS.map(castOf), 'own_hash', 'partition'].join(', ');

/** How a tuple of eventSource is read. */
export const eventTuples: TupleShape<EventRow> = {
  fieldCount: PARTITION + 1,
  decode: decodeEvent,
};

/** As many NULLs as RAW_EVENT_COLUMNS has columns. */
export const NO_EVENT = new Array<string>(PARTITION + 1).fill('null').join(', ');

/** Reads what a subquery over RAW_EVENT_COLUMNS gives, with the casts of the format applied outside of it. */
export function eventSource(subquery: string): TupleSource<EventRow> {
  return { statement: eventStatement(subquery), ...eventTuples };
}

/** The same with further columns after those of an event, as they are. */
export function eventStatement(subquery: string, further: readonly string[] = []): string {
  return `copy (select ${[CAST_LIST, ...further].join(', ')} from (${subquery}) raw) to stdout (format binary)`;
}

function castOf(column: string): string {
  if (UUID_OR_TIME.has(column) || column.endsWith('_salt') || column === 'txid' || column === 'hash_version') {
    return column;
  }
  return column === 'user_roles' ? 'to_jsonb(user_roles)::text' : `${column}::text`;
}

function decodeEvent(tuple: Tuple): EventRow {
  return {
    id: tuple.bytes(0),
    timestamp: tuple.bytes(1),
    bare: tuple.framed(0, ACTOR_SALT - 1),
    actorSalt: tuple.maybe(ACTOR_SALT),
    actor: tuple.framed(ACTOR_SALT + 1, PAYLOAD_SALT - 1),
    payloadSalt: tuple.maybe(PAYLOAD_SALT),
    payload: tuple.framed(PAYLOAD_SALT + 1, TXID - 1),
    txid: tuple.bytes(TXID).readBigInt64BE(),
    hashVersion: tuple.bytes(HASH_VERSION).readInt16BE(),
    hasOwnHash: tuple.bytes(OWN_HASH)[0] === 1,
    partition: tuple.bytes(PARTITION).readUInt32BE(),
  };
}
