/** One row of a person's export: what its envelopes hold, whether it names them, and what in it is somebody else's. */
import { AuditkeepError } from '../errors.ts';
import type { Keyring } from '../keys/keyring.ts';
import type { SubjectTable } from './subject-map.ts';
import type { SubjectRow } from './subject-store.ts';

/** A person's identifiers in lower case. */
export interface Subject {
  readonly identifiers: ReadonlySet<string>;
  /** Those that are looked for inside texts: ids and addresses, which are found in no other word. */
  readonly inTexts: readonly string[];
}

/** The columns of an event's groups in the order in which they are framed (docs/spec/audit-event-v1.md). */
const GROUPS: Readonly<Record<string, readonly string[]>> = {
  actor_envelope: ['user_id', 'user_email', 'user_roles', 'session_id', 'ip_address', 'user_agent'],
  payload_envelope: ['resource_id', 'resource_path', 'old_values', 'new_values', 'additional_data', 'error_message'],
};
const UUIDS: ReadonlySet<string> = new Set(['user_id', 'session_id']);

/** Envelopes that were not opened, by the code that says why. */
export type Unreadable = Map<string, number>;

/** Codes of an envelope that does not open; the row is given without it. */
const CELL_CODES: ReadonlySet<string> = new Set(['KEY_UNKNOWN', 'KEY_DESTROYED', 'CONTEXT_MISMATCH', 'TAMPERED']);

/** The row with its groups and cells in the clear; what does not open is null and counted. @throws as Keyring.open otherwise */
export async function openRow(
  keys: Pick<Keyring, 'open'>,
  name: string,
  table: SubjectTable,
  row: SubjectRow,
  unreadable: Unreadable,
): Promise<SubjectRow> {
  const opened: Record<string, string | null> = { ...row };
  const open = async (column: string, dataClass: 'confidential' | 'secret') => {
    const envelope = row[column] ?? null;
    if (envelope === null) return null;
    try {
      return Buffer.from(await keys.open({ table: name, column, rowId: row['id'] ?? '', dataClass }, envelope));
    } catch (error) {
      if (!(error instanceof AuditkeepError && CELL_CODES.has(error.code))) throw error;
      unreadable.set(error.code, (unreadable.get(error.code) ?? 0) + 1);
      return null;
    }
  };
  for (const column of table.cells) opened[column] = (await open(column, 'confidential'))?.toString('utf8') ?? null;
  for (const group of table.groups) {
    const bytes = await open(group, row['data_sensitivity'] === 'sensitive' ? 'confidential' : 'secret');
    if (bytes !== null) Object.assign(opened, unframe(bytes, GROUPS[group] ?? []));
    delete opened[group];
  }
  return opened;
}

/** Reads framed columns: int32 big-endian length and bytes each, -1 for null. */
function unframe(bytes: Buffer, columns: readonly string[]): SubjectRow {
  const fields: Record<string, string | null> = {};
  let at = 0;
  for (const column of columns) {
    const length = bytes.readInt32BE(at);
    at += 4;
    const field = length < 0 ? null : bytes.subarray(at, at + length);
    at += Math.max(0, length);
    fields[column] = field === null ? null : UUIDS.has(column) ? uuidText(field) : field.toString('utf8');
  }
  return fields;
}

function uuidText(bytes: Buffer): string {
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** The person's part of an opened row; null where the row does not name them. Pure. */
export function shareOf(table: SubjectTable, row: SubjectRow, subject: Subject): SubjectRow | null {
  const names = (column: string) => subject.identifiers.has((row[column] ?? '').toLowerCase());
  const tells = (column: string) => {
    const text = (row[column] ?? '').toLowerCase();
    return subject.inTexts.some((identifier) => text.includes(identifier));
  };
  if (!table.find.some(names) && !table.contains.some(tells)) return null;
  const foreign = new Set(table.find.filter((column) => !names(column)));
  for (const { to, columns, where } of table.belongs) {
    const applies = where === undefined || where.values.includes((row[where.column] ?? '').toLowerCase());
    for (const column of columns) {
      if (applies && !to.some(names)) foreign.add(column);
      else foreign.delete(column);
    }
  }
  return Object.fromEntries(
    table.columns.map((column) => [column, foreign.has(column) ? null : (row[column] ?? null)]),
  );
}
