/**
 * The one error class for expected failures, the documented list of its codes and the exit-code table. A code is
 * AREA_REASON and is never reused; docs/errors.md is generated from this list and a test keeps the two equal.
 * Anything that is not an AuditkeepError is a bug: it exits 1.
 */

/** Exit codes of the command line contract. */
export const EXIT = { done: 0, bug: 1, usage: 2, findings: 3, refused: 4, unavailable: 5 } as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

interface CodeEntry {
  readonly exit: ExitCode;
  readonly meaning: string;
}

/** Every code, in alphabetical order, with the exit code it leads to and what it means. */
export const ERROR_CODES = {
  CONFIG_INVALID: { exit: EXIT.usage, meaning: 'a configuration value is malformed or unknown' },
  DB_AUTHENTICATION: { exit: EXIT.unavailable, meaning: 'the database refused the login' },
  DB_ENCODING: { exit: EXIT.usage, meaning: 'the database encoding is not UTF8' },
  DB_LOCKED: { exit: EXIT.unavailable, meaning: 'a lock could not be had within its time limit' },
  DB_PRIVILEGE: { exit: EXIT.usage, meaning: 'the database login lacks a privilege it needs' },
  DB_UNREACHABLE: { exit: EXIT.unavailable, meaning: 'the database cannot be reached' },
  DB_VERSION: { exit: EXIT.usage, meaning: 'the PostgreSQL version is not supported' },
  INPUT_FILE: { exit: EXIT.usage, meaning: 'an input file is missing or cannot be read' },
  INPUT_INVALID: { exit: EXIT.usage, meaning: 'an argument or input value is malformed' },
  JSON_NOT_CANONICAL: { exit: EXIT.usage, meaning: 'a value has no RFC 8785 canonical form' },
  SCHEMA_MISSING: { exit: EXIT.usage, meaning: 'the database has not been migrated' },
  SCHEMA_NEWER: { exit: EXIT.usage, meaning: 'the database was migrated by a newer release' },
  USAGE: { exit: EXIT.usage, meaning: 'the command line is wrong' },
} as const satisfies Readonly<Record<string, CodeEntry>>;

export type ErrorCode = keyof typeof ERROR_CODES;

interface ErrorText {
  /** What is wrong, one line, without a trailing period. */
  readonly message: string;
  /** What to do about it, one line. */
  readonly hint: string;
  /** Machine-readable facts: ids and counts, never personal data. */
  readonly details?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
}

/** An expected failure: a stable code, what is wrong and what to do. */
export class AuditkeepError extends Error {
  readonly code: ErrorCode;
  readonly hint: string;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, text: ErrorText) {
    super(text.message, text.cause === undefined ? undefined : { cause: text.cause });
    this.name = 'AuditkeepError';
    this.code = code;
    this.hint = text.hint;
    this.details = text.details ?? {};
  }
}

/** The process exit code that an error leads to. */
export function exitCodeOf(error: unknown): ExitCode {
  return error instanceof AuditkeepError ? ERROR_CODES[error.code].exit : EXIT.bug;
}
