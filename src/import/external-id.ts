/** Ids for records of systems that have no UUIDs: UUIDv5 (RFC 9562 section 5.5), so that importing twice adds nothing. */
import { hash } from 'node:crypto';

/** The namespace of all imported ids. It can never change: the ids of everything imported hang on it. */
const NAMESPACE = Buffer.from('a3f4ae1c7c2f5d0c9b6f1f0f5a6d7e21', 'hex');

/**
 * The id of an external record. The name is the source, a NUL and the external id; neither may hold a NUL, so no two
 * pairs share a name.
 */
export function externalEventId(source: string, externalId: string): string {
  return uuidV5(NAMESPACE, `${source}\0${externalId}`);
}

/** UUIDv5 of a name in a namespace (16 bytes). */
export function uuidV5(namespace: Buffer, name: string): string {
  const digest = hash('sha1', Buffer.concat([namespace, Buffer.from(name, 'utf8')]), 'buffer');
  digest.writeUInt8((digest.readUInt8(6) & 0x0f) | 0x50, 6);
  digest.writeUInt8((digest.readUInt8(8) & 0x3f) | 0x80, 8);
  const hex = digest.toString('hex', 0, 16);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
