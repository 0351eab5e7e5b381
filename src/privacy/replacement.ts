/** What stays of one transaction: decrypts it, pseudonymizes its addresses and generalises its amount. */
import { randomBytes, randomUUID } from 'node:crypto';
import { AuditkeepError, type ErrorCode } from '../errors.ts';
import type { CellContext, Keyring, NamedSecret } from '../keys/keyring.ts';
import { pseudonymOf } from './pseudonym.ts';
import type { DueTransaction, Replacement } from './store.ts';
import { valueBucket } from './value-bucket.ts';

/** The logical table in the context of every encrypted cell of a transaction; imports seal with the same. */
export const TRANSACTIONS_TABLE = 'security_confidential.transactions';

/** These tell of one cell; any other failure is of the installation and stops the run. */
const ROW_CODES: ReadonlySet<ErrorCode> = new Set(['TAMPERED', 'CONTEXT_MISMATCH', 'KEY_UNKNOWN']);

export type RowOutcome =
  | { readonly kind: 'replaced'; readonly row: Replacement }
  /** Left as it is and reported, never skipped in silence. */
  | { readonly kind: 'unreadable'; readonly id: string; readonly code: ErrorCode };

/** Decides what stays of a row. @throws KEY_MISSING and the KEY_FILE_* codes */
export async function replacementOf(keys: Keyring, secret: NamedSecret, due: DueTransaction): Promise<RowOutcome> {
  try {
    const from = await openText(keys, due.id, 'from_address_encrypted', due.fromEnvelope);
    const to = await openText(keys, due.id, 'to_address_encrypted', due.toEnvelope);
    const amount = await openText(keys, due.id, 'value_encrypted', due.valueEnvelope);
    const row: Replacement = {
      id: due.id,
      newId: randomUUID(),
      surrogate: `s1.${randomBytes(32).toString('base64url')}`,
      pseudonymFrom: from === null ? null : pseudonymOf(secret, from),
      pseudonymTo: to === null ? null : pseudonymOf(secret, to),
      valueBucket: amount === null ? null : valueBucket(amount),
    };
    return { kind: 'replaced', row };
  } catch (error) {
    if (!(error instanceof AuditkeepError) || !ROW_CODES.has(error.code)) throw error;
    return { kind: 'unreadable', id: due.id, code: error.code };
  }
}

/** Null for an absent cell, and for one whose key was destroyed: erasure has taken it away already. */
async function openText(keys: Keyring, rowId: string, column: string, envelope: string | null): Promise<string | null> {
  if (envelope === null) return null;
  const context: CellContext = { table: TRANSACTIONS_TABLE, column, rowId, dataClass: 'confidential' };
  try {
    return Buffer.from(await keys.open(context, envelope)).toString('utf8');
  } catch (error) {
    if (error instanceof AuditkeepError && error.code === 'KEY_DESTROYED') return null;
    throw error;
  }
}
