/**
 * Evidence as CSV (RFC 4180): UTF-8, CRLF, a header line, every text in quotes, an unknown value as nothing between commas. Pure.
 * A spreadsheet takes a cell that begins with = + - @ for a formula (OWASP, CSV injection), so such a text is written with an
 * apostrophe in front. So is one that begins with an apostrophe: whoever removes one leading apostrophe of a cell has its value.
 */
import type { ColumnKind } from '../template/template.ts';

export interface CsvColumn {
  readonly name: string;
  readonly kind: ColumnKind;
}

/** What spreadsheets take for the beginning of a formula, the full-width forms too, white space before it, and the apostrophe. */
const RISKY = /^['=+\-@\t\r\n\uFF1D\uFF0B\uFF0D\uFF20]/;
const INTEGER = /^-?\d+$/;

/** The names of the columns, as the first line. */
export function csvHeader(columns: readonly CsvColumn[]): string {
  return `${columns.map(({ name }) => name).join(',')}\r\n`;
}

/** One row as a line. A number in a column of numbers stays as it is: it is no formula. */
export function csvLine(columns: readonly CsvColumn[], row: readonly (string | null)[]): string {
  const cells = columns.map(({ kind }, index) => {
    const value = row[index] ?? null;
    if (value === null) return '';
    if (kind === 'integer' && INTEGER.test(value)) return value;
    return `"${neutralize(value).replaceAll('"', '""')}"`;
  });
  return `${cells.join(',')}\r\n`;
}

function neutralize(text: string): string {
  return RISKY.test(text) ? `'${text}` : text;
}
