/** Ids for records of systems that have no UUIDs: UUIDv5 (RFC 9562 section 5.5), so that importing twice adds nothing. */
import { uuidV5 } from '../uuid-v5.ts';

/** The namespace of all imported ids. It can never change: the ids of everything imported hang on it. */
const NAMESPACE = Buffer.from('a3f4ae1c7c2f5d0c9b6f1f0f5a6d7e21', 'hex');

/**
 * The id of an external record. The name is the source, a NUL and the external id; neither may hold a NUL, so no two
 * pairs share a name.
 */
export function externalEventId(source: string, externalId: string): string {
  return uuidV5(NAMESPACE, `${source}\0${externalId}`);
}
