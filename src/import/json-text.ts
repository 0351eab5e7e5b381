/**
 * JSON records from outside: parsed without losing a digit, and refused where PostgreSQL's jsonb or text could not hold
 * them, since one such value would fail its whole batch.
 */
import { RecordRejected } from './rejection.ts';

/** jsonb and JSON.stringify are recursive; their limit is far above this, real records far below. */
const MAX_DEPTH = 64;
/** numeric holds 131,072 digits before the point, but 1e131071 as text is 128 KiB: nothing measured needs that. */
const MAX_NUMBER_DIGITS = 1000;

/** A number token whose JavaScript value could differ from its text: 16 digits or more, a fraction or an exponent. */
const DELICATE_NUMBER = /(?:"\s*:|[[,])\s*-?(?:\d{16}|\d+[.eE])/;
const DELICATE_ESCAPE = /\\u(?:0000|[dD][89a-fA-F])/;

// ES2025 proposal "JSON.parse source text access", in Node 22 and later; TypeScript's es2024 library lacks it.
interface SourceTextJson {
  parse(
    text: string,
    reviver: (key: string, value: unknown, context: { readonly source?: string }) => unknown,
  ): unknown;
  rawJSON(text: string): unknown;
  isRawJSON(value: unknown): value is { readonly rawJSON: string };
}
const sourceJson = JSON as unknown as SourceTextJson;

export type JsonObject = { readonly [key: string]: unknown };

/**
 * Parses one record, which must be a JSON object. A number that JavaScript cannot hold exactly stays its own text
 * (JSON.rawJSON), so that jsonText() gives it back digit by digit.
 * @throws RecordRejected JSON_INVALID, JSON_TOO_DEEP, NUMBER_RANGE, TEXT_NUL, TEXT_SURROGATE
 */
export function parseRecord(text: string): JsonObject {
  if (depthOf(text) > MAX_DEPTH) throw new RecordRejected('JSON_TOO_DEEP');
  let value: unknown;
  try {
    value = DELICATE_NUMBER.test(text) ? sourceJson.parse(text, keepNumber) : JSON.parse(text);
  } catch (error) {
    if (error instanceof RecordRejected) throw error;
    throw new RecordRejected('JSON_INVALID');
  }
  if (DELICATE_ESCAPE.test(text)) refuseTexts(value);
  if (!isObject(value)) throw new RecordRejected('JSON_INVALID');
  return value;
}

/** The JSON text of a value from parseRecord, for a jsonb column; null for null and for no value. */
export function jsonText(value: unknown): string | null {
  if (value === null || value === undefined) return null;
  return JSON.stringify(value);
}

/** Whether a value is a JSON object: no array, no number kept as text. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !sourceJson.isRawJSON(value);
}

/** The digits of a JSON integer or of a text of digits, exact; null for anything else. */
export function integerText(value: unknown): string | null {
  if (typeof value === 'number') return Number.isSafeInteger(value) ? String(value) : null;
  const text = sourceJson.isRawJSON(value) ? value.rawJSON : value;
  return typeof text === 'string' && /^-?\d{1,80}$/.test(text) ? text : null;
}

function keepNumber(_key: string, value: unknown, context: { readonly source?: string }): unknown {
  if (typeof value !== 'number' || context.source === undefined) return value;
  const exponent = /[eE]([+-]?\d+)$/.exec(context.source)?.[1] ?? '0';
  if (context.source.length > MAX_NUMBER_DIGITS || Math.abs(Number(exponent)) > MAX_NUMBER_DIGITS) {
    throw new RecordRejected('NUMBER_RANGE');
  }
  return sourceJson.rawJSON(context.source);
}

/** Deepest nesting of arrays and objects; brackets inside strings do not count. */
function depthOf(text: string): number {
  let depth = 0;
  let deepest = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x22) i = endOfString(text, i);
    else if (code === 0x7b || code === 0x5b) deepest = Math.max(deepest, ++depth);
    else if (code === 0x7d || code === 0x5d) depth--;
  }
  return deepest;
}

/** Index of the quote that closes the string opened at start, or the end of the text. */
function endOfString(text: string, start: number): number {
  let end = text.indexOf('"', start + 1);
  while (end > 0 && isEscaped(text, end)) end = text.indexOf('"', end + 1);
  return end < 0 ? text.length : end;
}

function isEscaped(text: string, index: number): boolean {
  let backslashes = 0;
  while (text.charCodeAt(index - 1 - backslashes) === 0x5c) backslashes++;
  return backslashes % 2 === 1;
}

/** @throws RecordRejected for a string, or a key, that PostgreSQL cannot store. */
function refuseTexts(value: unknown): void {
  if (typeof value === 'string') refuseText(value);
  else if (Array.isArray(value)) value.forEach(refuseTexts);
  else if (isObject(value)) {
    for (const [key, item] of Object.entries(value)) {
      refuseText(key);
      refuseTexts(item);
    }
  }
}

/** @throws RecordRejected TEXT_NUL, TEXT_SURROGATE */
export function refuseText(text: string): void {
  if (text.includes('\0')) throw new RecordRejected('TEXT_NUL');
  if (!text.isWellFormed()) throw new RecordRejected('TEXT_SURROGATE');
}
