/** Why a record or a file was not imported. Codes and field names only: never a value, which could be personal data. */

/** Every reason, with what it means; src/import/README.md and the guide list them. */
export const REASONS = {
  FILE_UNREADABLE: 'the file cannot be read or decompressed',
  FILE_TOO_LARGE: 'the file is larger than the limit after decompression',
  FILE_TRUNCATED: 'the file ends inside a record',
  LINE_TOO_LONG: 'the record is longer than the limit',
  ENCODING_INVALID: 'the record is not UTF-8',
  JSON_INVALID: 'the record is not a JSON object',
  JSON_TOO_DEEP: 'the record is nested too deeply',
  CSV_INVALID: 'the record is not a CSV row of the header',
  TEXT_NUL: 'a text holds a NUL character, which PostgreSQL cannot store',
  TEXT_SURROGATE: 'a text holds a lone surrogate, which is no Unicode text',
  NUMBER_RANGE: 'a number is out of range',
  TIME_INVALID: 'the time is no instant with a zone in the years 1 to 9999',
  TIME_FUTURE: 'the time lies in the future',
  FIELD_MISSING: 'a required field is missing',
  FIELD_UNKNOWN: 'the record has a field that the schema does not know',
  FIELD_INVALID: 'a field has a wrong form',
  FIELD_TOO_LONG: 'a text is longer than its column',
  ID_CONFLICT: 'the id is already in the chain, with another time or as an event that is gone',
  RANGE_REFUSED: 'the events of this time were purged',
} as const;

export type Reason = keyof typeof REASONS;

/** Thrown by parsers for one record; the run records it and goes on. */
export class RecordRejected extends Error {
  readonly reason: Reason;
  readonly field: string | null;

  constructor(reason: Reason, field: string | null = null) {
    super(REASONS[reason]);
    this.name = 'RecordRejected';
    this.reason = reason;
    this.field = field;
  }
}

/** A record, or a whole file (line null), that was not imported. */
export interface Rejection {
  readonly file: string;
  /** 1-based line on which the record starts. */
  readonly line: number | null;
  readonly reason: Reason;
  /** The field at fault, a name of the schema. */
  readonly field: string | null;
}
