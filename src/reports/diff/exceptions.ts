/**
 * Which exceptions of a control are new, fixed or recurring. A pseudonym is of one report alone and no report stores what is
 * behind it, so rows are matched by their other columns: equal ones may be about somebody else, and the figures are bounds.
 * Pure; docs/decisions/0221-comparing-reports.md.
 */
import type { ComparableControl } from './comparable.ts';

export interface ExceptionsDiff {
  /** Counts in A and in B; null where the control is not in the report or could not be evaluated. */
  readonly a: number | null;
  readonly b: number | null;
  /**
   * rows: no column is a pseudonym, so the figures are exact. columns: matched by the other columns. counts: not all rows are at
   * hand, or nothing else could be compared. none: a count is missing.
   */
  readonly matching: 'rows' | 'columns' | 'counts' | 'none';
  /** At least so many are in B alone, and in A alone; at most so many in both. Null where matching is none. */
  readonly newAtLeast: number | null;
  readonly fixedAtLeast: number | null;
  readonly recurringAtMost: number | null;
  /** The columns that rows were matched by. */
  readonly columns: readonly string[];
  /** Rows by these columns whose number differs. */
  readonly changes: readonly RowChange[];
}

interface RowChange {
  readonly values: readonly (string | null)[];
  readonly a: number;
  readonly b: number;
}

/** Compares the exceptions of a control in two reports; null is a report without it. */
export function compareExceptions(a: ComparableControl | null, b: ComparableControl | null): ExceptionsDiff {
  const [inA, inB] = [a?.exceptions.count ?? null, b?.exceptions.count ?? null];
  const counts = { a: inA, b: inB, columns: [], changes: [] };
  if (inA === null || inB === null || a === null || b === null) {
    return { ...counts, matching: 'none', newAtLeast: null, fixedAtLeast: null, recurringAtMost: null };
  }
  const open = openColumns(a, b);
  if (open.length === 0 || !isWhole(a) || !isWhole(b)) {
    return { ...counts, matching: 'counts', ...boundsOf([{ a: inA, b: inB }]) };
  }
  const rows = countRows(a, b, open);
  const isExact = a.exceptions.columns.length === open.length;
  return {
    a: inA,
    b: inB,
    matching: isExact ? 'rows' : 'columns',
    ...boundsOf(rows),
    columns: open,
    changes: rows.filter((row) => row.a !== row.b),
  };
}

/** The columns that are no pseudonyms; none where the reports do not have the same columns. */
function openColumns(a: ComparableControl, b: ComparableControl): string[] {
  const names = ({ exceptions }: ComparableControl) =>
    exceptions.columns.map(({ name, kind }) => `${name} ${kind}`).join();
  if (names(a) !== names(b)) return [];
  return a.exceptions.columns.filter(({ kind }) => kind !== 'pseudonym').map(({ name }) => name);
}

/** A model holds the first exceptions only. */
function isWhole({ exceptions }: ComparableControl): boolean {
  return exceptions.rows.length === exceptions.count;
}

function countRows(a: ComparableControl, b: ComparableControl, open: readonly string[]): RowChange[] {
  const found = new Map<string, { readonly values: (string | null)[]; a: number; b: number }>();
  for (const [side, { exceptions }] of [
    ['a', a],
    ['b', b],
  ] as const) {
    for (const row of exceptions.rows) {
      const values = open.map((name) => row[exceptions.columns.findIndex((column) => column.name === name)] ?? null);
      const key = JSON.stringify(values);
      const entry = found.get(key) ?? { values, a: 0, b: 0 };
      entry[side] += 1;
      found.set(key, entry);
    }
  }
  return [...found].sort(([one], [other]) => (one < other ? -1 : 1)).map(([, entry]) => entry);
}

function boundsOf(groups: readonly { readonly a: number; readonly b: number }[]) {
  const sum = (figure: (group: { readonly a: number; readonly b: number }) => number) =>
    groups.reduce((total, group) => total + figure(group), 0);
  return {
    newAtLeast: sum(({ a, b }) => Math.max(0, b - a)),
    fixedAtLeast: sum(({ a, b }) => Math.max(0, a - b)),
    recurringAtMost: sum(({ a, b }) => Math.min(a, b)),
  };
}
