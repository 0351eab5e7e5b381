/** RFC 8785 (JCS) canonical JSON: the bytes that are hashed and signed. The npm package canonicalize does the work. */
import canonicalize from 'canonicalize';
import { AuditkeepError } from './errors.ts';

export type JsonValue = null | boolean | number | string | readonly JsonValue[] | { readonly [key: string]: JsonValue };

/**
 * The canonical JSON text of a value.
 * @throws JSON_NOT_CANONICAL for NaN, Infinity, lone surrogates, cycles and values JSON cannot carry.
 */
export function canonicalJson(value: JsonValue): string {
  let text: string | undefined;
  try {
    text = canonicalize(value);
  } catch (cause) {
    throw notCanonical(cause);
  }
  if (text === undefined) throw notCanonical(undefined);
  return text;
}

function notCanonical(cause: unknown): AuditkeepError {
  return new AuditkeepError('JSON_NOT_CANONICAL', {
    message: `the value has no canonical JSON form${cause instanceof Error ? `: ${cause.message}` : ''}`,
    hint: 'use finite numbers and well-formed Unicode strings only',
    cause,
  });
}
