/** The database's refusals (SQLSTATE AK..., migration 0043) as coded errors. */
import { sqlStateOf } from '../db/errors.ts';
import { AuditkeepError, type ErrorCode } from '../errors.ts';

const REFUSALS: Readonly<Record<string, readonly [code: ErrorCode, hint: string]>> = {
  AK001: ['REPORT_NOT_FOUND', 'list the reports with `auditkeep report list`'],
  AK002: [
    'REPORT_TRANSITION',
    'see its status and decisions with `auditkeep report show` and `auditkeep decision list`',
  ],
  AK003: ['DUTY_SEPARATION', 'let another person take this part'],
  AK004: ['ROLE_MISSING', 'see who has the role with `auditkeep person list`'],
  AK005: ['PERSON_UNKNOWN', 'see the persons with `auditkeep person list`; --as takes the e-mail in lower case'],
  AK006: ['PERSON_KEY_INVALID', 'sign with a key that `auditkeep person list` shows as valid for you'],
  AK007: ['DECISION_EXPIRED', 'decide again; a decision is signed within 15 minutes'],
  AK008: ['DECISION_CONFLICT', 'look at what was decided and decide again'],
  AK009: ['DECISION_PAYLOAD', 'decide again with the same release as the database'],
  AK010: ['REPORT_INTERIM', 'generate the report again when its period has ended'],
  AK011: ['REPORT_SUPERSEDED', 'decide on the newest version'],
  AK012: ['DECISION_COMMENT', 'give the reason with --comment'],
  AK014: ['PERSON_ACT_REFUSED', 'see the register with `auditkeep person list`'],
  AK120: ['DECISION_OBJECT', 'list plans, holds and policies with `purge list`, `hold list` and `policy show`'],
  AK121: ['DECISION_STATE', 'look at what was decided with `purge list`, `hold list` or `policy show`'],
  AK138: ['SEAL_KEY_MISSING', 'use the home that sealed the first report (AUDITKEEP_HOME), or give a key in sealKey'],
  AK015: ['REPORT_NOT_APPROVED', 'let the report be reviewed and approved first'],
};

/** Runs fn; a refusal of the database becomes its coded error, everything else passes. */
export async function translateRefusals<T>(fn: () => Promise<T>): Promise<T> {
  try {
    return await fn();
  } catch (error) {
    const refusal = REFUSALS[sqlStateOf(error) ?? ''];
    if (refusal === undefined || !(error instanceof Error)) throw error;
    const [code, hint] = refusal;
    throw new AuditkeepError(code, { message: error.message, hint, cause: error });
  }
}
