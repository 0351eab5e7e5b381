/** The SQLSTATEs that the guarded functions raise (class AK), as coded errors. */
import { sqlStateOf } from '../db/errors.ts';
import { AuditkeepError, type ErrorCode } from '../errors.ts';

/** What to do where a hold comes too late for a part of its scope. */
export const DESTROYED_HINT =
  'narrow the scope, or place it all the same with --beyond-destroyed; auditkeep purge list shows the certificate';

const REFUSALS: Readonly<Record<string, { readonly code: ErrorCode; readonly hint: string }>> = {
  AK101: { code: 'RETENTION_UNKNOWN', hint: 'auditkeep partition plan lists the tables and partitions' },
  AK102: { code: 'RETENTION_BOUNDS', hint: 'auditkeep partition plan shows the bounds as the catalog has them' },
  AK103: { code: 'RETENTION_ARCHIVED', hint: 'rows of that range go to the late table' },
  AK104: { code: 'RETENTION_STATE', hint: 'auditkeep archive list shows the state of each unit' },
  AK105: { code: 'RETENTION_HELD', hint: 'the legal hold has to be released first' },
  AK106: { code: 'RETENTION_BUSY', hint: 'a report or verification is reading; try again when it is done' },
  AK107: {
    code: 'RETENTION_UNPROTECTED',
    hint: 'find out who changed the partition, then restore its triggers and CHECK',
  },
  AK108: {
    code: 'RETENTION_NOT_YET',
    hint: 'it is not time yet: a later run goes on; open incidents hold a unit for at most 90 days',
  },
  AK110: { code: 'RETENTION_BUSY', hint: 'another worker has claimed the unit; the next run tries again' },
  AK111: {
    code: 'RETENTION_DIFFERS',
    hint: 'nothing was changed; run auditkeep chain verify, then find out who changed the rows',
  },
  AK112: { code: 'RETENTION_BOUNDS', hint: 'auditkeep partition plan names what stands in the way of each partition' },
  AK109: { code: 'RETENTION_NOT_APPROVED', hint: 'destruction needs a plan that two persons signed' },
  AK122: { code: 'POLICY_INVALID', hint: 'auditkeep policy diff checks the policy' },
  AK124: { code: 'HOLD_INVALID', hint: 'auditkeep hold place --help shows what a scope is made of' },
  AK125: {
    code: 'HOLD_DESTROYED',
    hint: DESTROYED_HINT,
  },
  AK126: { code: 'PLAN_DRIFT', hint: 'make a new plan and have it approved: auditkeep purge request' },
  AK127: { code: 'PLAN_WINDOW', hint: 'start within the window, or have a new plan approved' },
  AK128: {
    code: 'PLAN_LIMITS',
    hint: 'request fewer units with --table or --before, or change the limits of the policy',
  },
  AK129: { code: 'CERTIFICATE_INVALID', hint: 'find out who changed the unit, its manifest or its plan' },
  AK123: { code: 'POLICY_STALE', hint: 'look at auditkeep policy show --all and apply again' },
};

/** The coded error for a refusal by the database, or the error itself. @param hints other words for it, by SQLSTATE */
export function translateRefusal(error: unknown, hints: Readonly<Record<string, string>> = {}): unknown {
  const state = sqlStateOf(error) ?? '';
  const refusal = REFUSALS[state];
  if (refusal === undefined || !(error instanceof Error)) return error;
  return new AuditkeepError(refusal.code, { message: error.message, hint: hints[state] ?? refusal.hint, cause: error });
}
