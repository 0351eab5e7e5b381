/** Turns failures to reach or enter a database into coded errors; everything else passes unchanged. */
import { AuditkeepError } from '../errors.ts';

const UNREACHABLE: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENOENT',
  'EPIPE',
  '57P01',
  '57P02',
  '57P03',
  '08000',
  '08001',
  '08003',
  '08004',
  '08006',
  '53300',
]);
const LOGIN_REFUSED: ReadonlySet<string> = new Set(['28000', '28P01']);
const UNREACHABLE_TEXT =
  /Connection terminated|connection error and is not queryable|timeout exceeded when trying to connect|timeout expired/i;

/** The SQLSTATE or system error code of a failure, or null. */
export function sqlStateOf(error: unknown): string | null {
  if (error instanceof AggregateError) return error.errors.length > 0 ? sqlStateOf(error.errors[0]) : null;
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code;
  return null;
}

const LOCK_FAILURES: ReadonlySet<string | null> = new Set(['55P03', '40P01']);

/** Whether a failure says only that somebody else holds a lock: none to be had within lock_timeout, or a deadlock. */
export function isLockFailure(error: unknown): boolean {
  return LOCK_FAILURES.has(sqlStateOf(error));
}

/** The coded error for a failed connection, or the error itself. */
export function translateDatabaseError(error: unknown): unknown {
  if (error instanceof AuditkeepError) return error;
  const code = sqlStateOf(error);
  const message = error instanceof Error ? error.message.split('\n')[0] || 'connection failed' : String(error);
  if (code !== null && LOGIN_REFUSED.has(code)) {
    return new AuditkeepError('DB_AUTHENTICATION', {
      message: `the database refused the login: ${message}`,
      hint: 'check user and password in DATABASE_URL or the libpq variables',
      cause: error,
    });
  }
  if (code === '3D000') {
    return new AuditkeepError('DB_UNREACHABLE', {
      message,
      hint: 'create the database first (createdb), or correct its name in DATABASE_URL',
      cause: error,
    });
  }
  if ((code !== null && UNREACHABLE.has(code)) || UNREACHABLE_TEXT.test(message)) {
    return new AuditkeepError('DB_UNREACHABLE', {
      message: `the database cannot be reached${placeOf(error)}: ${code ?? message}`,
      hint: 'check that the server runs and that DATABASE_URL names it',
      cause: error,
    });
  }
  if (code === '53100') {
    return new AuditkeepError('DB_FULL', {
      message: `the database server has no space left: ${message}`,
      hint: 'free space for the server, or move tables to another tablespace; nothing was changed, run it again',
      cause: error,
    });
  }
  if (code === '42501') {
    return new AuditkeepError('DB_PRIVILEGE', {
      message: `the database refused an action: ${message}`,
      hint: message.includes('"auditkeep_report"')
        ? 'name a login for controls in AUDITKEEP_REPORT_DATABASE_URL (see docs/guide/dba.md)'
        : 'connect as the role that the command needs (see docs/guide/dba.md)',
      cause: error,
    });
  }
  return error;
}

/** ` at 127.0.0.1:5432` where the system said so. */
function placeOf(error: unknown): string {
  const first: unknown = error instanceof AggregateError ? error.errors[0] : error;
  if (!(first instanceof Error) || !('port' in first) || !('address' in first)) return '';
  return ` at ${String(first.address)}:${String(first.port)}`;
}
