/** The one function that quotes SQL identifiers. Names come from the catalog or from our constants, never from users. */
import pg from 'pg';

/** `schema.name` or `name`, each part quoted. */
export function quoteIdentifier(...parts: readonly string[]): string {
  return parts.map((part) => pg.escapeIdentifier(part)).join('.');
}
