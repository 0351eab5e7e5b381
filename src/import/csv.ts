/** CSV rows (RFC 4180) that lie on one line each: quoted fields, doubled quotes; a line break inside a field is refused. */
import { RecordRejected } from './rejection.ts';

/** The fields of one line, without its line break. @throws RecordRejected CSV_INVALID */
export function parseCsvLine(line: string): string[] {
  const text = line.endsWith('\r') ? line.slice(0, -1) : line;
  if (!text.includes('"')) return text.split(',');
  const fields: string[] = [];
  let at = 0;
  for (;;) {
    const field = text[at] === '"' ? quotedField(text, at) : plainField(text, at);
    fields.push(field.value);
    if (field.end === text.length) return fields;
    if (text[field.end] !== ',') throw new RecordRejected('CSV_INVALID');
    at = field.end + 1;
  }
}

interface Field {
  readonly value: string;
  /** Index of the comma after the field, or the length of the line. */
  readonly end: number;
}

function plainField(text: string, start: number): Field {
  const comma = text.indexOf(',', start);
  const end = comma < 0 ? text.length : comma;
  const value = text.slice(start, end);
  if (value.includes('"')) throw new RecordRejected('CSV_INVALID');
  return { value, end };
}

function quotedField(text: string, start: number): Field {
  let value = '';
  let at = start + 1;
  for (;;) {
    const quote = text.indexOf('"', at);
    if (quote < 0) throw new RecordRejected('CSV_INVALID');
    value += text.slice(at, quote);
    if (text[quote + 1] !== '"') return { value, end: quote + 1 };
    value += '"';
    at = quote + 2;
  }
}
