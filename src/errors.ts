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
  ANONYMIZE_BLOCKED: {
    exit: EXIT.refused,
    meaning: 'the pre-flight of an anonymization run found something that must be mended first',
  },
  ANONYMIZE_NOT_DUE: { exit: EXIT.refused, meaning: 'the date given reaches rows that the policy still keeps' },
  BUNDLE_IDENTITY: { exit: EXIT.usage, meaning: 'none of the given identities opens the encrypted bundle' },
  BUNDLE_INVALID: { exit: EXIT.findings, meaning: 'a part of a bundle is damaged, missing, forged or unexpected' },
  BUNDLE_TOO_LARGE: { exit: EXIT.refused, meaning: 'a report has more evidence than a bundle may hold' },
  CERTIFICATE_INVALID: {
    exit: EXIT.findings,
    meaning: 'a certificate of destruction is not what was signed, or not about the unit',
  },
  CHAIN_CANARY: { exit: EXIT.bug, meaning: 'the verifier did not see a change that it made itself to a copy' },
  CHAIN_ENTRY_DIFFERS: { exit: EXIT.findings, meaning: 'a stored event is not the one that was sealed' },
  CHAIN_EVENT_AMBIGUOUS: { exit: EXIT.usage, meaning: 'several sealed events have this id; name one with its time' },
  CHAIN_EVENT_UNKNOWN: { exit: EXIT.usage, meaning: 'no event has this id' },
  CHAIN_EVENT_UNSEALED: { exit: EXIT.unavailable, meaning: 'the event is not sealed into the chain yet' },
  CHAIN_HEAD_MOVED: { exit: EXIT.unavailable, meaning: 'another sealer advanced the chain in between' },
  CHAIN_NOTHING_CHECKED: {
    exit: EXIT.findings,
    meaning: 'a verification of a chain that is not empty checked nothing',
  },
  CHAIN_NOT_ROLLED_BACK: { exit: EXIT.refused, meaning: 'a new incarnation begins only after a restore' },
  CHAIN_REWRITTEN: { exit: EXIT.findings, meaning: 'the chain does not begin with what was signed before' },
  CHAIN_ROLLED_BACK: {
    exit: EXIT.findings,
    meaning: 'the chain is behind the last checkpoint that was signed or witnessed',
  },
  CHAIN_SIGNER_STORE: { exit: EXIT.usage, meaning: "the signer's own store is missing, damaged or readable by others" },
  CHAIN_TXID_IN_ORDER: {
    exit: EXIT.refused,
    meaning: 'only a restored dump, whose transaction ids began anew, is swept',
  },
  CHAIN_TXID_WENT_BACK: {
    exit: EXIT.findings,
    meaning: 'transaction ids began anew (a restored dump), so that nothing would be sealed any more',
  },
  CHAIN_UNSIGNED: { exit: EXIT.unavailable, meaning: 'no signed checkpoint covers this yet' },
  CHECKPOINT_FORMAT: { exit: EXIT.findings, meaning: 'a checkpoint is not a well-formed signed note' },
  CHECKPOINT_KEY: {
    exit: EXIT.findings,
    meaning: 'a checkpoint is not signed by the expected key, or the key is malformed',
  },
  CHECKPOINT_ORIGIN: { exit: EXIT.findings, meaning: 'a checkpoint is of another log' },
  CHECKPOINT_SIGNATURE: { exit: EXIT.findings, meaning: 'the signature of a checkpoint does not verify' },
  CONFIG_INVALID: { exit: EXIT.usage, meaning: 'a configuration value is malformed or unknown' },
  CONTEXT_MISMATCH: {
    exit: EXIT.findings,
    meaning: 'an encrypted cell does not belong to the place it was read from, or its header was altered',
  },
  DB_AUTHENTICATION: { exit: EXIT.unavailable, meaning: 'the database refused the login' },
  DB_DIFFERS: { exit: EXIT.refused, meaning: 'two connections of one command lead to different databases' },
  DB_ENCODING: { exit: EXIT.usage, meaning: 'the database encoding is not UTF8' },
  DB_EXTENSION: { exit: EXIT.unavailable, meaning: 'the server lacks a PostgreSQL extension' },
  DB_FULL: { exit: EXIT.unavailable, meaning: 'the database server has no space left' },
  DB_LOCKED: { exit: EXIT.unavailable, meaning: 'a lock could not be had within its time limit' },
  DB_PRIVILEGE: { exit: EXIT.usage, meaning: 'the database login lacks a privilege it needs' },
  DB_ROWS_HIDDEN: { exit: EXIT.usage, meaning: 'row-level security hides rows from the role that must see them all' },
  DB_UNREACHABLE: { exit: EXIT.unavailable, meaning: 'the database cannot be reached' },
  DB_VERSION: { exit: EXIT.usage, meaning: 'the PostgreSQL version is not supported' },
  DECISION_COMMENT: { exit: EXIT.usage, meaning: 'a rejection needs a comment' },
  DECISION_CONFLICT: { exit: EXIT.refused, meaning: 'somebody else decided first' },
  DECISION_EXPIRED: { exit: EXIT.refused, meaning: 'the decision id is unknown, used or older than 15 minutes' },
  DECISION_INVALID: {
    exit: EXIT.findings,
    meaning: 'the stored decisions of a report are not all signed by persons of the register',
  },
  DECISION_NOT_FOUND: { exit: EXIT.usage, meaning: 'there is no decision with this id' },
  DECISION_OBJECT: { exit: EXIT.usage, meaning: 'there is no plan, hold or policy with this id' },
  DECISION_PAYLOAD: { exit: EXIT.refused, meaning: 'a signed text does not say what the database knows' },
  DECISION_STATE: { exit: EXIT.refused, meaning: 'the plan, hold or policy cannot be decided on now' },
  DEMO_REFUSED: { exit: EXIT.refused, meaning: 'the demo does not run on this database' },
  DUTY_SEPARATION: { exit: EXIT.refused, meaning: 'one person may not take both parts' },
  EMBEDDED_FAILED: { exit: EXIT.unavailable, meaning: 'the embedded PostgreSQL could not be created or started' },
  EMBEDDED_FOLDER: { exit: EXIT.usage, meaning: 'the folder of the embedded PostgreSQL cannot be used' },
  ERASE_PENDING: {
    exit: EXIT.unavailable,
    meaning: 'an erasure is recorded, but no checkpoint that counts covers its record yet',
  },
  ERASE_UNSEALED: { exit: EXIT.refused, meaning: 'only sealed events are erased' },
  HOLD_DESTROYED: {
    exit: EXIT.refused,
    meaning: 'what a hold would protect is destroyed already, under a certificate',
  },
  HOLD_INVALID: { exit: EXIT.usage, meaning: 'the scope of a hold makes no sense' },
  HOLD_UNKNOWN: { exit: EXIT.usage, meaning: 'there is no hold with this id' },
  INPUT_FILE: { exit: EXIT.usage, meaning: 'an input file is missing or cannot be read' },
  INPUT_INVALID: { exit: EXIT.usage, meaning: 'an argument or input value is malformed' },
  INTERNAL: { exit: EXIT.bug, meaning: 'an unexpected failure: a bug of auditkeep' },
  JOB_FAILED: { exit: EXIT.bug, meaning: 'a job failed for the last time' },
  JOB_TIMEOUT: { exit: EXIT.unavailable, meaning: 'a job did not end in time: no worker runs, or it takes longer' },
  JOB_UNKNOWN: { exit: EXIT.usage, meaning: 'no queued, running or dead job has this id' },
  JSON_NOT_CANONICAL: { exit: EXIT.usage, meaning: 'a value has no RFC 8785 canonical form' },
  KEY_DESTROYED: {
    exit: EXIT.refused,
    meaning: 'the key of an encrypted cell was destroyed; its content is gone for good',
  },
  KEY_FILE_INVALID: { exit: EXIT.usage, meaning: 'a key file is malformed' },
  KEY_FILE_MODE: { exit: EXIT.usage, meaning: 'a key file or its folder may be read or written by others' },
  KEY_FILE_PLACE: { exit: EXIT.usage, meaning: 'the key file lies inside a PostgreSQL data folder' },
  KEY_FORMAT: { exit: EXIT.usage, meaning: 'an SSH key or signature is malformed or of an unsupported type' },
  KEY_MISSING: {
    exit: EXIT.unavailable,
    meaning: 'the key-encryption key that the database names is not in the home folder',
  },
  KEY_REVOKED: { exit: EXIT.refused, meaning: 'a key is neither in use nor destroyed, and encrypts nothing' },
  KEY_UNKNOWN: { exit: EXIT.findings, meaning: 'an encrypted cell names a key that the database does not know' },
  PERSON_ACT_REFUSED: { exit: EXIT.refused, meaning: 'a change of the register of persons is not allowed' },
  PERSON_KEY_INVALID: { exit: EXIT.refused, meaning: 'the signing key is not a valid key of this person' },
  PERSON_UNKNOWN: { exit: EXIT.usage, meaning: 'the person is not in the register' },
  PLAN_DRIFT: { exit: EXIT.refused, meaning: 'what was approved is not what there is now' },
  PLAN_EMPTY: { exit: EXIT.refused, meaning: 'nothing may be destroyed now' },
  PLAN_LIMITS: { exit: EXIT.refused, meaning: 'a plan reaches more units or rows than one destruction may' },
  PLAN_UNKNOWN: { exit: EXIT.usage, meaning: 'there is no plan with this id' },
  PLAN_WINDOW: { exit: EXIT.refused, meaning: 'the approval of a plan is in its cooling-off, or has expired' },
  POLICY_CONFLICT: { exit: EXIT.refused, meaning: 'retention periods contradict each other' },
  POLICY_INVALID: { exit: EXIT.usage, meaning: 'a retention policy is malformed or makes no sense' },
  POLICY_STALE: { exit: EXIT.refused, meaning: 'another version of the retention policy came first' },
  PURGE_REPLAY: {
    exit: EXIT.refused,
    meaning: 'a restored database holds again what was destroyed under a certificate',
  },
  REGISTER_INVALID: { exit: EXIT.findings, meaning: 'the register of persons holds something that was not signed' },
  REPORT_INCOMPARABLE: { exit: EXIT.usage, meaning: 'two reports of different frameworks were to be compared' },
  REPORT_INTERIM: { exit: EXIT.refused, meaning: 'an interim report cannot be approved' },
  REPORT_NOT_APPROVED: { exit: EXIT.refused, meaning: 'only an approved report is bundled and distributed' },
  REPORT_NOT_FOUND: { exit: EXIT.usage, meaning: 'there is no report with this id' },
  REPORT_PERIOD: { exit: EXIT.usage, meaning: 'a report period is malformed, in the future or still running' },
  REPORT_SPOOL: { exit: EXIT.unavailable, meaning: 'evidence cannot be written to the folder for temporary files' },
  REPORT_SUPERSEDED: { exit: EXIT.refused, meaning: 'the report has a newer version' },
  REPORT_TAMPERED: { exit: EXIT.findings, meaning: 'the stored model or evidence of a report does not have its hash' },
  REPORT_TIMEOUT: { exit: EXIT.unavailable, meaning: 'a report was not evaluated within its time limit' },
  REPORT_TOO_LARGE: { exit: EXIT.usage, meaning: 'a report model is over 16 MB, or its evidence over 192 MB' },
  REPORT_TRANSITION: { exit: EXIT.refused, meaning: 'the report is not in a status that allows this' },
  RETENTION_ARCHIVED: { exit: EXIT.refused, meaning: 'the range belongs to a unit that was sealed or archived' },
  RETENTION_BOUNDS: { exit: EXIT.refused, meaning: 'partition bounds overlap, leave a gap or are out of range' },
  RETENTION_BUSY: { exit: EXIT.unavailable, meaning: 'a lock that retention needs is held by a reader or writer' },
  RETENTION_DIFFERS: { exit: EXIT.findings, meaning: 'a unit does not hold what its manifest says' },
  RETENTION_FAILED: { exit: EXIT.bug, meaning: 'units of a retention run failed; the others were handled' },
  RETENTION_HELD: { exit: EXIT.refused, meaning: 'the unit is under a legal hold' },
  RETENTION_NOT_APPROVED: { exit: EXIT.refused, meaning: 'no approved plan allows that the unit is destroyed' },
  RETENTION_NOT_YET: { exit: EXIT.refused, meaning: 'the unit has not ended yet, or has open incidents' },
  RETENTION_STATE: { exit: EXIT.refused, meaning: 'the unit is not in the state that the step begins from' },
  RETENTION_UNKNOWN: { exit: EXIT.usage, meaning: 'the table, category or partition is not under retention' },
  RETENTION_UNPROTECTED: { exit: EXIT.findings, meaning: 'a partition lacks a trigger or a proven CHECK' },
  ROLE_MISSING: { exit: EXIT.refused, meaning: 'the person lacks the role for this' },
  SCHEMA_MIGRATION: { exit: EXIT.bug, meaning: 'a migration failed and was rolled back' },
  SCHEMA_MISSING: { exit: EXIT.usage, meaning: 'the database has not been migrated' },
  SCHEMA_NEWER: { exit: EXIT.usage, meaning: 'the database was migrated by a newer release' },
  SEAL_KEY_INVALID: { exit: EXIT.usage, meaning: 'the key or certificate that seals reports cannot be used' },
  SEAL_KEY_MISSING: { exit: EXIT.unavailable, meaning: 'the key that sealed reports is not in the home folder' },
  SIGN_FAILED: { exit: EXIT.unavailable, meaning: 'ssh-keygen could not sign' },
  SUBJECT_AMBIGUOUS: {
    exit: EXIT.refused,
    meaning: 'the identifiers of a person are those of another account too, so that rows would go to the wrong person',
  },
  TAMPERED: { exit: EXIT.findings, meaning: 'an encrypted value was altered' },
  TEMPLATE_INVALID: {
    exit: EXIT.usage,
    meaning: 'a control, framework or text template is malformed or refers to nothing',
  },
  TEMPLATE_SQL: { exit: EXIT.usage, meaning: 'the SQL of a control is not one plain select over the fact views' },
  TEMPLATE_TEST_DATABASE: { exit: EXIT.usage, meaning: 'the fixtures of templates need a database that nobody uses' },
  TEMPLATE_UNSIGNED: {
    exit: EXIT.refused,
    meaning: 'templates of a folder of one’s own are not signed by a policy owner',
  },
  USAGE: { exit: EXIT.usage, meaning: 'the command line is wrong' },
  WITNESS_KEY: { exit: EXIT.usage, meaning: 'the key of a witness is missing, malformed or readable by others' },
  WITNESS_LISTEN: { exit: EXIT.unavailable, meaning: 'a witness cannot listen on the given host and port' },
  WITNESS_STORE: { exit: EXIT.usage, meaning: "a witness's store is damaged or served by another process" },
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

const GRAVEST_FIRST: readonly ExitCode[] = [EXIT.bug, EXIT.findings, EXIT.refused, EXIT.usage, EXIT.unavailable];

/** The exit code of several outcomes: the gravest of theirs. */
export function gravestExitCode(codes: readonly ExitCode[]): ExitCode {
  return GRAVEST_FIRST.find((code) => codes.includes(code)) ?? EXIT.done;
}

/** The process exit code that an error leads to. */
export function exitCodeOf(error: unknown): ExitCode {
  return error instanceof AuditkeepError ? ERROR_CODES[error.code].exit : EXIT.bug;
}
